//! Reports as `JUnit` XML: what build servers read of them, and that any name can be read.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use proptest::prelude::*;
use quick_junit::{Report as Junit, TestCaseStatus};
use test_groups::report::{GroupReport, Outcome, Report, TestReport, TestVram, VramOf};
use test_groups::{OutOfMemory, junit};

fn test(id: &str, outcome: Outcome) -> TestReport {
    TestReport {
        id: id.to_owned(),
        outcome,
        attempts: 1,
        started_ms: 0,
        duration_ms: 1_500,
        waited_ms: 0,
        vram: Some(TestVram { before_bytes: 1, after_bytes: 2, peak_bytes: 3 << 30, of: VramOf::Processes }),
        out_of_memory: None,
        cpu_fallback: None,
        consolidations: 0,
        consolidated_bytes: 0,
        message: None,
        left_processes: 0,
    }
}

fn report(name: &str, tests: Vec<TestReport>) -> Report {
    let group = GroupReport {
        name: name.to_owned(),
        question: "q?".to_owned(),
        runner: "pytest".to_owned(),
        concurrency: "adaptive".to_owned(),
        stopped: Some("the first failure".to_owned()),
        wall_s: 2.5,
        passed: 0,
        passed_on_cpu: 0,
        failed: 0,
        timed_out: 0,
        skipped: 0,
        ooms: 1,
        consolidations: 0,
        card_bytes: Some(4 << 30),
        before_bytes: None,
        peak_bytes: Some(5),
        sum_of_peaks_bytes: None,
        largest_peak_bytes: None,
        peak_gpu_processes: 0,
        first_failure: None,
        accumulation: None,
        advice: vec!["advice".to_owned()],
        notes: vec![],
        tests,
        samples: vec![],
        log: None,
    };
    Report { schema: 1, started_unix_ms: 0, vram_source: "none".to_owned(), groups: vec![group] }
}

fn written(report: &Report) -> String {
    let mut xml = Vec::new();
    junit(report, &mut xml).unwrap();
    String::from_utf8(xml).unwrap()
}

#[test]
fn each_outcome_is_what_a_build_server_knows() {
    let mut out = test("out", Outcome::Failed);
    out.out_of_memory = Some(OutOfMemory {
        message: "CUDA out of memory".to_owned(),
        cause: None,
        requested_bytes: Some(77),
    });
    out.message = Some("\nassert <a> & b\nmore".to_owned());
    let mut failed = test("failed", Outcome::Failed);
    failed.message.clone_from(&out.message);
    let tests = vec![
        test("passed", Outcome::Passed),
        test("cpu", Outcome::PassedOnCpu),
        out,
        failed,
        test("late", Outcome::TimedOut),
        test("skipped", Outcome::Skipped),
        test("not run", Outcome::NotRun),
    ];
    let xml = written(&report("mcp", tests));
    for part in [
        "<testsuite name=\"mcp\" tests=\"7\" skipped=\"2\" errors=\"0\" failures=\"3\" time=\"2.500\">",
        "<testcase name=\"passed\" classname=\"mcp\" time=\"1.500\">",
        "<property name=\"vram_peak_bytes\" value=\"3221225472\"/>",
        "<property name=\"vram_of\" value=\"processes\"/>",
        "<property name=\"card_bytes\" value=\"4294967296\"/>",
        "<property name=\"stopped\" value=\"the first failure\"/>",
        "<property name=\"out_of_memory_requested_bytes\" value=\"77\"/>",
        "<failure message=\"CUDA out of memory\" type=\"out_of_memory\">",
        "<failure message=\"assert &lt;a&gt; &amp; b\" type=\"failure\">",
        "<failure message=\"ended after 1.5 s: it took too long\" type=\"timeout\"/>",
        "<skipped message=\"not run: the first failure\"/>",
        "<system-out>advice</system-out>",
    ] {
        assert!(xml.contains(part), "{part} is missing from {xml}");
    }
}

proptest! {
    #[test]
    fn any_name_and_message_is_read_by_a_parser(name in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let message = String::from_utf8_lossy(&bytes).into_owned();
        let mut failed = test(&format!("{name}\u{ffff}\u{1b}[31m]]>"), Outcome::Failed);
        failed.message = Some(message.clone());
        failed.cpu_fallback = Some(name.clone());
        let mut report = report(&name, vec![failed]);
        report.groups[0].notes.push(message);
        let xml = written(&report);
        let read = Junit::deserialize_from_str(&xml).map_err(|error| TestCaseError::fail(format!("{error}\n{xml}")))?;
        prop_assert_eq!(read.test_suites.len(), 1);
        let status = &read.test_suites[0].test_cases[0].status;
        let failed = matches!(status, TestCaseStatus::NonSuccess { .. });
        prop_assert!(failed);
        // What XML 1.0 may hold; the parser does not look.
        let wrong = xml.chars().find(|c| !matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..));
        prop_assert_eq!(wrong, None);
    }
}
