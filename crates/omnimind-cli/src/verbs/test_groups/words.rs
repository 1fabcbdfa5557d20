//! What the parts of a report are called, wherever it is shown.

use std::time::Duration;

use test_groups::report::{Accumulation, Outcome};
use test_groups::{GroupReport, Report, TestReport};

use crate::output::html::Tone;
use crate::output::{Bytes, count};

pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::PassedOnCpu => "passed on CPU",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed out",
        Outcome::Skipped => "skipped",
        Outcome::NotRun => "not run",
    }
}

pub(super) fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Passed => Tone::Good,
        Outcome::PassedOnCpu => Tone::Warn,
        Outcome::Failed | Outcome::TimedOut => Tone::Bad,
        Outcome::Skipped | Outcome::NotRun => Tone::Plain,
    }
}

pub(super) fn is_failure(test: &TestReport) -> bool {
    matches!(test.outcome, Outcome::Failed | Outcome::TimedOut)
}

/// Tests of which it is known what became of them, the skipped ones among them.
pub(super) fn tests(group: &GroupReport) -> u64 {
    group.passed + group.passed_on_cpu + group.failed + group.skipped
}

/// Whether memory in use grows from test to test, in a word.
pub(super) fn growth(accumulation: Option<&Accumulation>) -> String {
    match accumulation {
        None => "–".to_owned(),
        Some(growth) if growth.grows => format!("+{}", Bytes(growth.bytes_per_test.max(0.0) as u64)),
        Some(_) => "no".to_owned(),
    }
}

pub(super) fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "–".to_owned(), |bytes| Bytes(bytes).to_string())
}

pub(super) fn duration(duration: Duration) -> String {
    seconds(duration.as_secs_f64())
}

pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.2} s"),
        ..120.0 => format!("{seconds:.1} s"),
        _ => format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), (seconds % 60.0).floor()),
    }
}

/// Why a run is no success, if it is none.
pub(super) fn failure(report: &Report) -> Option<String> {
    let failed: u64 = report.groups.iter().map(|group| group.failed).sum();
    let stopped = report.groups.iter().find_map(|group| Some((&group.name, group.stopped.as_ref()?)));
    match (failed, stopped) {
        (0, None) => None,
        (0, Some((group, why))) => Some(format!("not all of group {group} ran: {why}")),
        (failed, _) => {
            let groups = report.groups.iter().filter(|group| group.failed > 0);
            let groups: Vec<&str> = groups.map(|group| group.name.as_str()).collect();
            Some(format!("{} failed, in {}", count(failed, "test"), groups.join(", ")))
        }
    }
}
