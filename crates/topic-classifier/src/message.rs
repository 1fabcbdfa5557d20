//! Which errors a text reports: a log, a traceback, an exception's message (R13).
//!
//! What counts is a *message* that a program prints when it fails, not the topic: `CUDA out of memory` is one, while
//! `test_handles_oom_gracefully PASSED`, `ZOOM`, `memory-mapped`, `SIGSEGV handler installed` and
//! `avoids running out of memory` are not. So `_` is part of a word here, a bare `oom` says nothing, a name of an
//! exception counts where it was raised and not where a line of code mentions it, and a phrase that ordinary prose
//! uses too counts only where a message would have it. When in doubt the text is believed to report
//! nothing: a caller that knows better has the error type.
//!
//! Reading takes one pass, time linear in the text and no memory: a log of megabytes is fine.

use crate::kind::ErrorKind;
use crate::pattern::{Underscore, contains, is_denied_or_only_mentioned, is_one_of, word_before};

/// An error that a text reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding<'t> {
    /// Its class.
    pub kind: ErrorKind,
    /// The words that report it, as they stand in the text.
    pub evidence: &'t str,
    /// Where they start, in bytes.
    pub offset: usize,
}

/// When a phrase counts.
#[derive(Debug, Clone, Copy)]
enum Only {
    /// Wherever it stands: nobody writes it but a program that failed.
    Always,
    /// Where it is the name of an exception that was raised, not one that a line of code catches or imports.
    Raised,
    /// Where a message would have `out of memory`: after a device, after an error's name, or on its own; and
    /// [`Only::Serious`].
    Announced,
    /// Where one of these words comes soon after: the same code also reports quotas and full disks.
    Before(&'static [&'static str]),
    /// Where one of these words stands before.
    After(&'static [&'static str]),
    /// Where what follows does not call it harmless.
    Serious,
}

struct Pattern {
    kind: ErrorKind,
    words: &'static [&'static str],
    only: Only,
}

const fn oom(words: &'static [&'static str], only: Only) -> Pattern {
    Pattern { kind: ErrorKind::OutOfMemory, words, only }
}

const fn crash(words: &'static [&'static str], only: Only) -> Pattern {
    Pattern { kind: ErrorKind::Crash, words, only }
}

const ABOUT_MEMORY: Only = Only::Before(&["memory", "alloc"]);

/// What failing programs print, lower-case; of phrases that begin alike the longest comes first.
const PATTERNS: &[Pattern] = &[
    // The kernel, systemd and Kubernetes. The kernel wrote "Kill process" up to 5.1.
    oom(&["out", "of", "memory", "killed", "process"], Only::Always),
    oom(&["out", "of", "memory", "kill", "process"], Only::Always),
    oom(&["out", "of", "memory", "and", "no", "killable", "processes"], Only::Always),
    oom(&["oom", "kill", "constraint"], Only::Always),
    oom(&["oom_reaper", "reaped", "process"], Only::Always),
    oom(&["invoked", "oom", "killer"], Only::Always),
    oom(&["killed", "by", "the", "oom", "killer"], Only::Always),
    oom(&["result", "oom", "kill"], Only::Always),
    oom(&["oomkilled"], Only::Always),
    // XLA, TensorFlow's allocator, CuPy, and whoever else continues the phrase like this.
    oom(&["out", "of", "memory", "while", "trying", "to", "allocate"], Only::Always),
    oom(&["out", "of", "memory", "trying", "to", "allocate"], Only::Serious),
    oom(&["out", "of", "memory", "when", "allocating"], Only::Always),
    oom(&["out", "of", "memory", "allocating"], Only::Always),
    oom(&["out", "of", "memory", "to", "allocate"], Only::Always),
    // PyTorch on CUDA, HIP, XPU and MPS; the CUDA runtime; malloc's callers.
    oom(&["out", "of", "memory"], Only::Announced),
    oom(&["out_of_memory"], Only::Announced),
    oom(&["defaultcpuallocator", "can", "t", "allocate", "memory"], Only::Always),
    oom(&["defaultcpuallocator", "not", "enough", "memory"], Only::Always),
    oom(&["cannot", "allocate", "memory"], Only::Always),
    oom(&["bad_alloc"], Only::Always),
    oom(&["outofmemoryerror"], Only::Raised),
    oom(&["memoryerror"], Only::Raised),
    oom(&["_arraymemoryerror"], Only::Raised),
    // JAX and TensorFlow, by absl's status names.
    oom(&["resource_exhausted"], ABOUT_MEMORY),
    oom(&["resourceexhaustederror"], ABOUT_MEMORY),
    oom(&["resource", "exhausted"], ABOUT_MEMORY),
    oom(&["oom", "when", "allocating"], Only::Always),
    // Status codes of CUDA, HIP and their libraries.
    oom(&["cuda_error_out_of_memory"], Only::Always),
    oom(&["cudaerrormemoryallocation"], Only::Always),
    oom(&["cudnn_status_alloc_failed"], Only::Always),
    oom(&["cudnn_status_internal_error_device_allocation_failed"], Only::Always),
    oom(&["cudnn_status_internal_error_host_allocation_failed"], Only::Always),
    oom(&["cublas_status_alloc_failed"], Only::Always),
    oom(&["cusolver_status_alloc_failed"], Only::Always),
    oom(&["cusparse_status_alloc_failed"], Only::Always),
    oom(&["curand_status_allocation_failed"], Only::Always),
    oom(&["cufft_alloc_failed"], Only::Always),
    oom(&["hiperroroutofmemory"], Only::Always),
    oom(&["hiperrormemoryallocation"], Only::Always),
    oom(&["hipblas_status_alloc_failed"], Only::Always),
    oom(&["rocblas_status_memory_error"], Only::Always),
    oom(&["miopenstatusallocfailed"], Only::Always),
    // Signals.
    crash(&["sigsegv"], Only::Always),
    crash(&["sigabrt"], Only::Always),
    crash(&["sigbus"], Only::Always),
    crash(&["sigill"], Only::Always),
    crash(&["segmentation", "fault"], Only::Always),
    crash(&["segmentation", "violation"], Only::Always),
    crash(&["segfault"], Only::Always),
    crash(&["general", "protection", "fault"], Only::Always),
    crash(&["signal", "11"], Only::After(&["by", "on", "with", "caught", "received", "fatal"])),
    crash(&["exit", "code", "139"], Only::Always),
    crash(&["core", "dumped"], Only::Always),
    crash(&["fatal", "python", "error"], Only::Always),
    crash(&["terminate", "called", "after", "throwing"], Only::Always),
    crash(&["kernel", "panic", "not", "syncing"], Only::Always),
    // Faults on the device, after which its context is lost.
    crash(&["illegal", "memory", "access"], Only::Always),
    crash(&["cuda_error_illegal_address"], Only::Always),
    crash(&["cudaerrorillegaladdress"], Only::Always),
    crash(&["hiperrorillegaladdress"], Only::Always),
    crash(&["memory", "access", "fault", "by", "gpu"], Only::Always),
    crash(&["device", "side", "assert", "triggered"], Only::Always),
];

/// What the first word of a pattern looks like, by its first letter: the lengths it may have, and which patterns these
/// are, as bits. Almost every word of a log is dismissed by it without a comparison.
#[derive(Clone, Copy)]
struct Candidates {
    lengths: u64,
    patterns: u128,
}

const CANDIDATES: [Candidates; 128] = {
    let mut candidates = [Candidates { lengths: 0, patterns: 0 }; 128];
    let mut i = 0;
    while i < PATTERNS.len() {
        let word = PATTERNS[i].words[0].as_bytes();
        let letter = &mut candidates[word[0] as usize];
        letter.lengths |= 1 << word.len();
        letter.patterns |= 1 << i;
        i += 1;
    }
    candidates
};

/// The patterns that may begin with a word, in their order.
fn candidates(word: &[u8]) -> impl Iterator<Item = &'static Pattern> {
    let letter = CANDIDATES.get(usize::from(word[0].to_ascii_lowercase()));
    let letter = letter.filter(|letter| word.len() < 64 && letter.lengths >> word.len() & 1 == 1);
    let mut left = letter.map_or(0, |letter| letter.patterns);
    let len = word.len();
    std::iter::from_fn(move || {
        let next = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        PATTERNS.get(next)
    })
    .filter(move |pattern| pattern.words[0].len() == len)
}

/// Every error that `text` reports, in the order in which it does.
///
/// ```
/// use topic_classifier::{ErrorKind, findings};
///
/// let log = "step 7\nRuntimeError: CUDA error: an illegal memory access was encountered\n";
/// let found: Vec<_> = findings(log).map(|f| (f.kind, f.evidence, f.offset)).collect();
/// assert_eq!(found, [(ErrorKind::Crash, "illegal memory access", 36)]);
/// ```
pub fn findings(text: &str) -> impl Iterator<Item = Finding<'_>> {
    let mut consumed = 0;
    Underscore::Joins.words(text).filter_map(move |(start, end)| {
        if start < consumed {
            return None;
        }
        candidates(&text.as_bytes()[start..end]).find_map(|pattern| {
            let end = Underscore::Joins.phrase_end(text, start, pattern.words)?;
            let start = counts_from(text, start, end, pattern.only)?;
            if is_denied_or_only_mentioned(text, start, end) {
                return None;
            }
            consumed = end;
            Some(Finding { kind: pattern.kind, evidence: &text[start..end], offset: start })
        })
    })
}

/// Where the evidence begins if the phrase at `start..end` counts.
fn counts_from(text: &str, start: usize, end: usize, only: Only) -> Option<usize> {
    match only {
        Only::Always => Some(start),
        Only::Raised => raised_from(text, start),
        Only::Announced => announced_from(text, start, end),
        Only::Before(words) => {
            words.iter().any(|word| contains(soon_after(text, end), word)).then_some(start)
        }
        Only::After(words) => {
            let (at, word) = word_before(text, start, b" \t")?;
            is_one_of(word, words).then_some(at)
        }
        Only::Serious => (!is_called_harmless(text, end)).then_some(start),
    }
}

/// The text in which a message continues. A status code and its explanation are at most this far apart.
fn soon_after(text: &str, end: usize) -> &[u8] {
    let rest = &text.as_bytes()[end..];
    &rest[..rest.len().min(256)]
}

/// An exception's name with its module path, unless a line of code merely mentions it.
fn raised_from(text: &str, start: usize) -> Option<usize> {
    const CODE: &[&str] =
        &["except", "catch", "import", "from", "class", "def", "with", "assert", "if", "elif"];
    let before = &text.as_bytes()[..start];
    // Further away it is no line of code.
    let line = before.iter().rev().take(256).take_while(|b| !b"\r\n".contains(b)).count();
    let mut words =
        before[start - line..].split(|b| !b.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    // Pytest marks the lines of a failure with an E.
    let first = words.find(|word| !word.eq_ignore_ascii_case(b"E")).unwrap_or_default();
    if CODE.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(first)) {
        return None;
    }
    let path = before.iter().rev().take(96);
    let path = path.take_while(|b| b.is_ascii_alphanumeric() || b"._".contains(b)).count();
    // A path ends in a dot, or else what was walked over is no path.
    Some(if before.ends_with(b".") { start - path } else { start })
}

/// `out of memory` as messages have it: `CUDA out of memory`, `Error: out of memory in f`, or between nothing but
/// punctuation. What it ran out on belongs to the evidence.
fn announced_from(text: &str, start: usize, end: usize) -> Option<usize> {
    const WHERE: &[&str] =
        &["cuda", "hip", "rocm", "xpu", "mps", "gpu", "device", "vram", "backend", "cgroup", "ran"];
    const NAMES: &[&str] = &["error:", "exception:", "fatal:", "exhausted:", "allocation:"];
    if is_called_harmless(text, end) {
        return None;
    }
    if let Some((at, word)) = word_before(text, start, b" \t")
        && is_one_of(word, WHERE)
    {
        return Some(at);
    }
    let before = &text.as_bytes()[start.saturating_sub(64)..start];
    let before = &before[..before.len() - before.iter().rev().take_while(|b| b" \t".contains(b)).count()];
    let named = NAMES.iter().any(|name| {
        before
            .len()
            .checked_sub(name.len())
            .is_some_and(|at| before[at..].eq_ignore_ascii_case(name.as_bytes()))
    });
    let begins = before.last().is_none_or(|b| b"\r\n:]\"'`(>=".contains(b));
    let rest = text.as_bytes()[end..].iter().take(64).find(|b| !b" \t".contains(b));
    let ends = rest.is_none_or(|b| b.is_ascii() && !b.is_ascii_alphanumeric() && !b"-_+".contains(b));
    (named || begins && ends).then_some(start)
}

/// TensorFlow's allocator reports attempts that it survives, and says so.
fn is_called_harmless(text: &str, end: usize) -> bool {
    contains(soon_after(text, end), "not a failure")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(ErrorKind, &str)> {
        findings(text).map(|f| (f.kind, f.evidence)).collect()
    }

    #[test]
    fn every_pattern_is_lower_case_short_enough_to_be_found_and_not_hidden_by_an_earlier_one() {
        for (i, pattern) in PATTERNS.iter().enumerate() {
            assert!(pattern.words.iter().all(|w| w.len() < 64 && **w == w.to_ascii_lowercase()));
            for earlier in &PATTERNS[..i] {
                assert!(!pattern.words.starts_with(earlier.words), "{:?}", pattern.words);
            }
        }
    }

    #[test]
    fn evidence_holds_what_ran_out_and_which_exception_it_was() {
        use ErrorKind::OutOfMemory;
        assert_eq!(found("x CUDA out of memory."), [(OutOfMemory, "CUDA out of memory")]);
        assert_eq!(
            found("cupy.cuda.memory.OutOfMemoryError"),
            [(OutOfMemory, "cupy.cuda.memory.OutOfMemoryError")]
        );
        assert_eq!(found("E   MemoryError"), [(OutOfMemory, "MemoryError")]);
    }

    // R13
    #[test]
    fn an_exception_counts_where_it_was_raised_and_not_where_code_names_it() {
        for code in [
            "    except torch.cuda.OutOfMemoryError as e:",
            "from torch.cuda import OutOfMemoryError",
            "with pytest.raises(torch.OutOfMemoryError):",
            "class OutOfMemoryError(RuntimeError):",
            ">       except (RuntimeError, torch.OutOfMemoryError):",
            "} catch (OutOfMemoryError e) {",
        ] {
            assert_eq!(found(code), [], "{code}");
        }
        assert_eq!(found("raise OutOfMemoryError(size)").len(), 1);
        assert_eq!(found("\n\nOutOfMemoryError").len(), 1);
    }

    // R13
    #[test]
    fn out_of_memory_counts_as_a_message_and_not_as_a_topic() {
        for message in [
            "out of memory",
            "Out of memory.",
            "error: out of memory in decode()",
            "fatal: Out of memory, malloc failed",
            "[worker 3] out of memory (tried 5 times)",
            "RuntimeError: CUDA error: out of memory\nCUDA kernel errors",
            "reason=\"out of memory\"",
            "status: out_of_memory",
            "The job ran out of memory at step 3",
            "MPS backend out of memory (MPS allocated: 5 GB)",
        ] {
            assert_eq!(found(message).len(), 1, "{message}");
        }
        for topic in [
            "how to not run out of memory",
            "an out of memory condition",
            "topic: out of memory handling",
            "we never ran out of memory",
            "no CUDA out of memory",
            "room memory",
            "out of memory-mapped files",
            "drawn out of memory",
            "test_out_of_memory PASSED",
        ] {
            assert_eq!(found(topic), [], "{topic}");
        }
    }
}
