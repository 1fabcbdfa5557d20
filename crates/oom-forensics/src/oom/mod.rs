//! Which out-of-memory message a line is, with every number in it.
//!
//! What counts is the *message* that a program prints when it fails. A line of code that raises, catches or looks for one
//! says nothing, and a bare `out of memory` in prose does not, either.

mod code;
mod frameworks;
mod host;
mod pytorch;

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use serde::{Deserialize, Serialize};

use code::is_code_before;

/// Who said that memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// `PyTorch` on CUDA, in its old or new wording.
    PyTorch,
    /// `PyTorch` on another device: HIP, XPU, MPS.
    PyTorchOther,
    /// JAX, or XLA under something else.
    Jax,
    /// TensorFlow.
    TensorFlow,
    /// `CuPy`.
    CuPy,
    /// cuDNN, cuBLAS, their sisters, and those of `ROCm`.
    GpuLibrary,
    /// vLLM, which asks for a share of the card at its start.
    Vllm,
    /// ONNX Runtime.
    OnnxRuntime,
    /// The CUDA or HIP runtime or driver itself.
    Driver,
    /// The crate gpu-probe of this family.
    GpuProbe,
    /// The kernel, which killed a process.
    Kernel,
    /// An allocator of main memory.
    HostAllocator,
}

impl Source {
    /// Whether it was main memory that ran out, not that of a card.
    #[must_use]
    pub fn is_host(self) -> bool {
        matches!(self, Self::Kernel | Self::HostAllocator)
    }
}

/// A process that held memory of the card, as a message names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessUse {
    /// Its number.
    pub pid: u32,
    /// Its name, if the message has one.
    pub name: Option<String>,
    /// What it held, in bytes, if the message says so.
    pub bytes: Option<u64>,
}

/// What a message says in numbers. All amounts are in bytes; what it does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Numbers {
    /// Index of the card.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<u32>,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_bytes: Option<u64>,
    /// Capacity of the card, or of what may be used of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total_bytes: Option<u64>,
    /// What was free on it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub free_bytes: Option<u64>,
    /// The largest piece of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub largest_free_bytes: Option<u64>,
    /// What the process itself had in use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allocated_bytes: Option<u64>,
    /// What its allocator held for it, used or not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reserved_bytes: Option<u64>,
    /// What its allocator held and did not use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reserved_unallocated_bytes: Option<u64>,
    /// What the process held with everything, such as its context on the card.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub this_process_bytes: Option<u64>,
    /// The other processes on the card, at most [`MOST_PROCESSES`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub others: Vec<ProcessUse>,
}

/// So many processes of one message are kept.
pub const MOST_PROCESSES: usize = 64;

impl Numbers {
    /// Whether there is more than what was asked for.
    #[must_use]
    pub fn tell_the_state(&self) -> bool {
        self.total_bytes.is_some() || self.free_bytes.is_some() || self.allocated_bytes.is_some()
    }
}

/// An out-of-memory message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    /// Who said it.
    pub source: Source,
    /// Everything in it that is a number.
    pub numbers: Numbers,
    /// Whether it calls memory fragmented by itself.
    pub says_fragmented: bool,
}

impl Message {
    fn new(source: Source, numbers: Numbers) -> Self {
        Self { source, numbers, says_fragmented: false }
    }
}

/// The message that a line is, if it is one. The line comes without colours; the time it takes is linear in its length.
///
/// ```
/// use oom_forensics::oom::{Source, recognise};
///
/// let line = "E   torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of \
///             3.81 GiB of which 17.94 MiB is free. Process 4242 has 1.20 GiB memory in use. Including non-PyTorch memory, \
///             this process has 2.58 GiB memory in use. Of the allocated memory 2.10 GiB is allocated by PyTorch, and \
///             12.00 MiB is reserved by PyTorch but unallocated.";
/// let message = recognise(line).unwrap();
/// assert_eq!(message.source, Source::PyTorch);
/// assert_eq!(message.numbers.requested_bytes, Some(20 << 20));
/// assert_eq!(message.numbers.others[0].pid, 4242);
///
/// assert_eq!(recognise("    except torch.cuda.OutOfMemoryError:"), None);
/// ```
#[must_use]
pub fn recognise(line: &str) -> Option<Message> {
    if !has_mark(line) {
        return None;
    }
    read(line)
}

fn read(line: &str) -> Option<Message> {
    host::killed(line)
        .or_else(|| pytorch::read(line))
        .or_else(|| frameworks::read(line))
        .or_else(|| host::allocator(line))
        .or_else(|| bare(line))
}

/// Every message has one of these. Most lines have none, also of those that talk of memory, and are not looked at twenty times.
fn has_mark(line: &str) -> bool {
    const MARKS: &[&str] = &[
        "CUDA out of memory",
        "HIP out of memory",
        "XPU out of memory",
        "backend out of memory",
        "rror: out of memory",
        "failure 2: out of memory",
        "Out of memory allocating",
        "ut of memory trying",
        "ut of memory while trying",
        "ut of memory: Kill",
        "Tried to allocate ",
        "MemoryError",
        "MemoryAllocation",
        "OutOfMemory",
        "OUT_OF_MEMORY",
        "_ALLOC",
        "_memory_error",
        "RESOURCE_EXHAUSTED",
        "OOM when",
        "OOM killer",
        "oom-kill:",
        "requested b",
        "GPU memory util",
        "KV cache",
        "cache blocks",
        "CPUAllocator",
        "bad_alloc",
    ];
    static SEARCH: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(MARKS));
    match SEARCH.as_ref() {
        Some(search) => search.find(line).is_some(),
        None => MARKS.iter().any(|mark| line.contains(mark)),
    }
}

/// What names the failure and says nothing more.
fn bare(line: &str) -> Option<Message> {
    const PHRASES: &[(&str, Source)] = &[
        ("CUDA out of memory", Source::PyTorch),
        ("HIP out of memory", Source::PyTorchOther),
        ("XPU out of memory", Source::PyTorchOther),
        ("MPS backend out of memory", Source::PyTorchOther),
        ("CUDA error: out of memory", Source::Driver),
        ("HIP error: out of memory", Source::Driver),
        ("CUDA_ERROR_OUT_OF_MEMORY", Source::Driver),
        ("hipErrorOutOfMemory", Source::Driver),
        ("cudaErrorMemoryAllocation", Source::Driver),
        ("Error: out of memory", Source::Driver),
        ("OutOfMemoryError", Source::PyTorch),
    ];
    PHRASES.iter().find_map(|(phrase, source)| {
        let at = line.find(phrase)?;
        let counts = match *phrase {
            "OutOfMemoryError" => is_raised(line, at, phrase.len()),
            _ => !is_code_before(line, at) && !is_denied(line, at) && !line[at..].contains("allocate {"),
        };
        counts.then(|| Message::new(*source, Numbers::default()))
    })
}

/// Whether the name of an exception stands where it was raised: at the end of a line, or before its message.
fn is_raised(line: &str, at: usize, len: usize) -> bool {
    let after = &line[at + len..];
    (after.trim().is_empty() || after.starts_with(": ")) && !is_code_before(line, at)
}

/// Whether the words just before say that it did not happen.
fn is_denied(line: &str, at: usize) -> bool {
    let word = line[..at].trim_end().rsplit(' ').next().unwrap_or_default();
    ["no", "not", "without", "avoid", "avoids", "prevent", "prevents", "handles", "simulated"]
        .contains(&word.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests;
