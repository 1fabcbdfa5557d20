//! A report as `JUnit` XML, for build servers. Each test file with out-of-memory errors is a failed test case, each known error
//! that happened is one, and each target; what is fine passes.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::compare::{Comparison, Measure};
use crate::error::{Error, Result};
use crate::report::{Quote, Report};

/// The XML.
///
/// # Errors
///
/// None that a report could cause; the writer has one.
pub fn xml(report: &Report, comparison: Option<&Comparison>) -> Result<String> {
    let mut junit = quick_junit::Report::new("oom-forensics");
    if let Some(seconds) = report.duration_s {
        // What is no duration, such as a negative one, is left out.
        junit.time = Duration::try_from_secs_f64(seconds).ok();
    }
    junit.add_test_suite(out_of_memory(report));
    junit.add_test_suite(known_errors(report));
    junit.add_test_suites(comparison.map(targets));
    junit.to_string().map_err(|error| Error::JUnit { message: error.to_string() })
}

fn case(name: &str, class: &str, failure: Option<(String, String)>) -> TestCase {
    let status = failure.map_or_else(TestCaseStatus::success, |(message, text)| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(message).set_description(text);
        status
    });
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    case
}

fn place(at: &Quote) -> String {
    format!("{}:{}: {}", at.log, at.line, at.text)
}

fn out_of_memory(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("out of memory");
    for file in &report.by_file {
        let name = file.file.as_deref().unwrap_or("outside of tests");
        let first: Vec<String> = report
            .first_ooms
            .iter()
            .filter(|oom| match (&oom.test, &file.file) {
                (Some(test), Some(file)) => test.starts_with(file.as_str()),
                (test, file) => test.is_none() && file.is_none(),
            })
            .map(|oom| format!("{}: {}\n{}", oom.cause.words(), oom.reason, place(&oom.at)))
            .collect();
        let message = format!("out of memory: {}", file.ooms);
        suite.add_test_case(case(name, "out_of_memory", Some((message, first.join("\n")))));
    }
    if report.by_file.is_empty() {
        suite.add_test_case(case("no test ran out of memory", "out_of_memory", None));
    }
    suite
}

fn known_errors(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("known errors");
    for pattern in &report.patterns {
        let failure = (pattern.count > 0).then(|| {
            let text = pattern.evidence.as_ref().map(place).unwrap_or_default();
            (format!("happened {} times", pattern.count), text)
        });
        suite.add_test_case(case(&pattern.name, "known_errors", failure));
    }
    suite
}

fn targets(comparison: &Comparison) -> TestSuite {
    let mut suite = TestSuite::new("targets");
    for verdict in &comparison.verdicts {
        let (name, sign) = match verdict.measure {
            Measure::Ooms => ("out of memory", "below"),
            Measure::Errors => ("errors", "below"),
            Measure::SuccessRate => ("success rate", "above"),
        };
        let after = verdict.after.map_or("unknown".to_owned(), |after| after.to_string());
        let failure =
            (!verdict.met).then(|| (format!("{after}, wanted {sign} {}", verdict.wanted), String::new()));
        suite.add_test_case(case(name, "targets", failure));
    }
    suite
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Analyzer, Config, Targets};

    #[test]
    fn what_was_found_fails_and_what_is_fine_passes() {
        let mut analyzer = Analyzer::new(Config::standard().unwrap());
        analyzer
            .feed(b"a.py::t \nRuntimeError: CUDA out of memory. <\x01&>\nFAILED\n== 1 failed in 1.5s ==\n");
        let report = analyzer.finish();
        let comparison = Comparison::new(&report, &report, Targets::default());
        let xml = xml(&report, Some(&comparison)).unwrap();
        for part in [
            "time=\"1.500\"",
            "<testcase name=\"a.py\" classname=\"out_of_memory\">",
            "message=\"out of memory: 1\"",
            "log:2: RuntimeError: CUDA out of memory. &lt;",
            "message=\"0, wanted above 0.98\"",
            "name=\"segmentation_fault\" classname=\"known_errors\"",
        ] {
            assert!(xml.contains(part), "{part} is missing from {xml}");
        }
        assert!(xml.contains("failures=\"2\"") && !xml.contains('\x01'));
    }
}
