//! A report as `JUnit` XML, for build servers: a suite for each group, a case for each test, and what it held of the card in
//! properties, in bytes.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use crate::report::{GroupReport, Outcome, Report, TestReport, VramOf};

/// Writes the XML. What no XML may hold, such as control characters in names, is left out.
///
/// # Errors
///
/// Those of the writer.
///
/// ```
/// use test_groups::Report;
///
/// let report = Report { schema: 1, started_unix_ms: 0, vram_source: "none".to_owned(), groups: Vec::new() };
/// let mut xml = Vec::new();
/// test_groups::junit(&report, &mut xml)?;
/// assert!(xml.starts_with(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn junit(report: &Report, out: impl Write) -> io::Result<()> {
    let mut junit = quick_junit::Report::new("test-groups");
    junit.set_time(seconds(report.groups.iter().map(|group| group.wall_s).sum()));
    junit.add_test_suites(report.groups.iter().map(suite));
    junit.serialize(out).map_err(io::Error::other)
}

/// What is no duration is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A text that XML may hold; the writer takes care of control characters, and of these two not.
fn text(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn property(name: &str, value: impl Display) -> Property {
    Property::new(name, text(&value.to_string()))
}

fn suite(group: &GroupReport) -> TestSuite {
    let mut suite = TestSuite::new(text(&group.name));
    suite.set_time(seconds(group.wall_s));
    for (name, value) in
        [("question", &group.question), ("runner", &group.runner), ("concurrency", &group.concurrency)]
    {
        suite.add_property(property(name, value));
    }
    if let Some(stopped) = &group.stopped {
        suite.add_property(property("stopped", stopped));
    }
    for (name, bytes) in [
        ("card_bytes", group.card_bytes),
        ("before_bytes", group.before_bytes),
        ("peak_bytes", group.peak_bytes),
        ("sum_of_peaks_bytes", group.sum_of_peaks_bytes),
        ("largest_peak_bytes", group.largest_peak_bytes),
        ("ooms", Some(group.ooms)),
    ] {
        suite.add_properties(bytes.map(|bytes| property(name, bytes)));
    }
    if let Some(grows) = group.accumulation.filter(|found| found.grows) {
        suite.add_property(property("grows_by_bytes_per_test", grows.bytes_per_test.round()));
    }
    let said: Vec<&str> = group.advice.iter().chain(&group.notes).map(String::as_str).collect();
    if !said.is_empty() {
        suite.set_system_out(text(&said.join("\n")));
    }
    suite.add_test_cases(group.tests.iter().map(|test| case(group, test)));
    suite
}

fn case(group: &GroupReport, test: &TestReport) -> TestCase {
    let mut case = TestCase::new(text(&test.id), status(group, test));
    case.set_classname(text(&group.name)).set_time(Duration::from_millis(test.duration_ms));
    if let Some(vram) = test.vram {
        for (name, bytes) in [
            ("vram_before_bytes", vram.before_bytes),
            ("vram_after_bytes", vram.after_bytes),
            ("vram_peak_bytes", vram.peak_bytes),
        ] {
            case.add_property(property(name, bytes));
        }
        let of = match vram.of {
            VramOf::Processes => "processes",
            VramOf::Card => "card",
        };
        case.add_property(property("vram_of", of));
    }
    if let Some(out) = &test.out_of_memory {
        case.add_property(property("out_of_memory", &out.message));
        case.add_properties(
            out.requested_bytes.map(|bytes| property("out_of_memory_requested_bytes", bytes)),
        );
    }
    case.add_properties(test.cpu_fallback.as_ref().map(|why| property("cpu_fallback", why)));
    if test.attempts > 1 {
        case.add_property(property("attempts", test.attempts));
    }
    case
}

fn status(group: &GroupReport, test: &TestReport) -> TestCaseStatus {
    let failed = |kind: &str, message: String| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type(kind).set_message(text(&message));
        if let Some(said) = &test.message {
            status.set_description(text(said));
        }
        status
    };
    match test.outcome {
        Outcome::Passed | Outcome::PassedOnCpu => TestCaseStatus::success(),
        Outcome::TimedOut => {
            let seconds = Duration::from_millis(test.duration_ms).as_secs_f64();
            failed("timeout", format!("ended after {seconds:.1} s: it took too long"))
        }
        Outcome::Failed => {
            if let Some(out) = &test.out_of_memory {
                return failed("out_of_memory", out.message.clone());
            }
            let mut lines = test.message.as_deref().unwrap_or_default().lines();
            failed("failure", lines.find(|line| !line.trim().is_empty()).unwrap_or("failed").to_owned())
        }
        Outcome::Skipped => TestCaseStatus::skipped(),
        Outcome::NotRun => {
            let mut status = TestCaseStatus::skipped();
            let stopped = group.stopped.as_deref().unwrap_or("the group had ended");
            status.set_message(text(&format!("not run: {stopped}")));
            status
        }
    }
}
