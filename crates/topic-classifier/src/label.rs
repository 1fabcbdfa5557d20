//! What short labels mean: an error type such as `OOM` or `structural_failure`, a severity, an impact.
//!
//! Labels are typed by people and programs in every spelling, so they are read word by word, in any case, and
//! spaces, `_`, `-` and `.` are the same: `torch.cuda.OutOfMemoryError`, `CUDA_OOM` and `Out of memory` are one
//! kind. A word that is not in the tables means nothing, and a denied one (`non-fatal`, `not critical`) neither.
//! This module knows nothing of logs: that is [`message`](crate::message).

use crate::kind::ErrorKind;
use crate::pattern::{Underscore, contains, is_denied_or_only_mentioned};

/// Phrases that name an error's kind. The longer come first, so that the evidence is the whole of it.
const ERROR_PHRASES: &[(ErrorKind, &[&str])] = &[
    (ErrorKind::OutOfMemory, &["out", "of", "memory"]),
    (ErrorKind::OutOfMemory, &["resource", "exhausted"]),
    (ErrorKind::OutOfMemory, &["bad", "alloc"]),
    (ErrorKind::OutOfMemory, &["badalloc"]),
    (ErrorKind::OutOfMemory, &["oom"]),
    (ErrorKind::OutOfMemory, &["oomerror"]),
    (ErrorKind::OutOfMemory, &["oomkill"]),
    (ErrorKind::OutOfMemory, &["oomkilled"]),
    (ErrorKind::OutOfMemory, &["cudaoom"]),
    (ErrorKind::OutOfMemory, &["gpuoom"]),
    (ErrorKind::OutOfMemory, &["hipoom"]),
    (ErrorKind::OutOfMemory, &["memoryerror"]),
    (ErrorKind::OutOfMemory, &["arraymemoryerror"]),
    (ErrorKind::Crash, &["illegal", "memory", "access"]),
    (ErrorKind::Crash, &["illegal", "address"]),
    (ErrorKind::Crash, &["segmentation", "fault"]),
    (ErrorKind::Crash, &["segmentation", "violation"]),
    (ErrorKind::Crash, &["core", "dumped"]),
    (ErrorKind::Crash, &["illegalmemoryaccess"]),
    (ErrorKind::Crash, &["segmentationfault"]),
    (ErrorKind::Crash, &["segfault"]),
    (ErrorKind::Crash, &["segv"]),
    (ErrorKind::Crash, &["sigsegv"]),
    (ErrorKind::Crash, &["sigabrt"]),
    (ErrorKind::Crash, &["sigbus"]),
    (ErrorKind::Crash, &["sigill"]),
    (ErrorKind::Crash, &["sigfpe"]),
    (ErrorKind::Crash, &["fatal"]),
    (ErrorKind::Crash, &["fatalerror"]),
    (ErrorKind::Crash, &["panic"]),
    (ErrorKind::Crash, &["crash"]),
    (ErrorKind::Crash, &["crashed"]),
    (ErrorKind::Crash, &["crashes"]),
    (ErrorKind::Crash, &["crasherror"]),
    (ErrorKind::Crash, &["systemcrash"]),
    (ErrorKind::StructuralFailure, &["structural", "failure"]),
    (ErrorKind::StructuralFailure, &["structure", "failure"]),
    (ErrorKind::StructuralFailure, &["structural"]),
];

/// Parts that name an error's kind wherever they stand in a word: `XlaOutOfMemoryError`.
const ERROR_PARTS: &[(ErrorKind, &str)] = &[
    (ErrorKind::OutOfMemory, "outofmemory"),
    (ErrorKind::OutOfMemory, "resourceexhausted"),
    (ErrorKind::StructuralFailure, "structuralfailure"),
];

/// How grave a severity label is. Only what weighs has a grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    Medium,
    High,
}

const SEVERITIES: &[(Grade, &[&str])] =
    &[(Grade::High, &["high"]), (Grade::High, &["critical"]), (Grade::Medium, &["medium"])];

const IMPACTS: &[((), &[&str])] = &[((), &["system", "wide"]), ((), &["systemwide"]), ((), &["high"])];

/// Every phrase of `table` that `label` holds and does not deny, with the words that say it.
fn matches<'t, T: Copy>(
    label: &'t str,
    table: &'static [(T, &'static [&'static str])],
) -> impl Iterator<Item = (T, &'t str)> {
    Underscore::Separates.words(label).filter_map(move |(start, _)| {
        let (meaning, end) = table.iter().find_map(|(meaning, phrase)| {
            Underscore::Separates.phrase_end(label, start, phrase).map(|end| (*meaning, end))
        })?;
        (!is_denied_or_only_mentioned(label, start, end)).then(|| (meaning, &label[start..end]))
    })
}

/// The kinds of error that an error type names, with the words that name them; the same kind may come twice.
pub fn error_kinds(error_type: &str) -> impl Iterator<Item = (ErrorKind, &str)> {
    let parts = Underscore::Separates.words(error_type).filter_map(move |(start, end)| {
        let word = &error_type[start..end];
        let (kind, _) = ERROR_PARTS.iter().find(|(_, part)| contains(word.as_bytes(), part))?;
        (!is_denied_or_only_mentioned(error_type, start, end)).then_some((*kind, word))
    });
    matches(error_type, ERROR_PHRASES).chain(parts)
}

/// The gravest grade that a severity names.
pub(crate) fn severity(label: &str) -> Option<(Grade, &str)> {
    // Of equal grades the first, so that evidence does not depend on what follows it.
    matches(label, SEVERITIES).reduce(|best, next| if next.0 > best.0 { next } else { best })
}

/// The words by which an impact is high or system-wide.
pub(crate) fn high_impact(label: &str) -> Option<&str> {
    matches(label, IMPACTS).next().map(|((), words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(label: &str) -> Vec<ErrorKind> {
        let mut kinds: Vec<_> = error_kinds(label).map(|(kind, _)| kind).collect();
        kinds.dedup();
        kinds
    }

    // R12
    #[test]
    fn every_usual_spelling_of_an_error_type_is_understood() {
        for label in [
            "OOM",
            "oom",
            " oom ",
            "CUDA_OOM",
            "gpu-oom",
            "OOMError",
            "OOMKilled",
            "OutOfMemory",
            "out_of_memory",
            "OutOfMemoryError",
            "outofmemoryerror",
            "torch.cuda.OutOfMemoryError",
            "XlaOutOfMemoryError",
            "Out Of Memory",
            "CUDA_OUT_OF_MEMORY",
            "ResourceExhaustedError",
            "RESOURCE_EXHAUSTED",
            "MemoryError",
            "std::bad_alloc",
            "builtins.MemoryError",
        ] {
            assert_eq!(kinds(label), [ErrorKind::OutOfMemory], "{label}");
        }
        for label in [
            "crash",
            "Crash",
            "CRASHED",
            "system_crash",
            "SystemCrash",
            "fatal",
            "FatalError",
            "fatal-error",
            "Fatal Python error",
            "SIGSEGV",
            "segfault",
            "Segmentation fault",
            "SegmentationFault",
            "illegal_memory_access",
            "IllegalMemoryAccess",
            "kernel panic",
        ] {
            assert_eq!(kinds(label), [ErrorKind::Crash], "{label}");
        }
        for label in ["structural_failure", "StructuralFailure", "structural failure", "STRUCTURAL-FAILURE"] {
            assert_eq!(kinds(label), [ErrorKind::StructuralFailure], "{label}");
        }
    }

    // R12
    #[test]
    fn words_that_only_look_alike_or_are_denied_name_no_kind() {
        for label in [
            "",
            "zoom",
            "room",
            "Bloom",
            "ValueError",
            "non-fatal",
            "nonfatal",
            "no_crash",
            "not a crash",
            "None",
            "memory_mapped",
            "out of cheese",
            "crash_handler",
            "constructural",
            "timeout",
            "🦀",
        ] {
            assert_eq!(kinds(label), [], "{label}");
        }
    }

    // R12
    #[test]
    fn a_severity_is_graded_by_its_gravest_word() {
        for label in ["high", "HIGH", "Critical", "severity: high", "medium-high", "high/critical"] {
            assert_eq!(severity(label).map(|(grade, _)| grade), Some(Grade::High), "{label}");
        }
        assert_eq!(severity("Medium"), Some((Grade::Medium, "Medium")));
        for label in ["", "low", "highest", "non-critical", "not high", "info", "hypercritical"] {
            assert_eq!(severity(label), None, "{label}");
        }
    }

    // R12
    #[test]
    fn an_impact_weighs_when_it_is_high_or_system_wide() {
        for label in ["high", "system-wide", "System_Wide", "system wide", "SYSTEMWIDE"] {
            assert!(high_impact(label).is_some(), "{label}");
        }
        for label in ["", "low", "local", "system", "worldwide", "not system-wide"] {
            assert_eq!(high_impact(label), None, "{label}");
        }
    }
}
