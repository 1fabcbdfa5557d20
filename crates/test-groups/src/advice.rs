//! What to do about a group, from what was seen of it. Every number in a sentence is one that was measured.

use crate::conclude::GroupRun;
use crate::report::Accumulation;

/// Sentences, most useful first.
pub(crate) fn of(run: &GroupRun, accumulation: Option<&Accumulation>) -> Vec<String> {
    let _ = run;
    accumulation
        .filter(|found| found.grows)
        .map(|found| format!("Memory in use grows by {:.0} bytes with each test.", found.bytes_per_test))
        .into_iter()
        .collect()
}
