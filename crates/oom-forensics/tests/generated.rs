//! A log made to order, and every number of its report.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::collections::BTreeMap;

use oom_forensics::generate::{Expected, Plan, bytes};
use oom_forensics::report::CountedFrom;
use oom_forensics::{Analyzer, Config, Report};

fn analyzed(log: &[u8]) -> Report {
    let mut analyzer = Analyzer::new(Config::standard().unwrap());
    analyzer.read("pytest.log", log).unwrap();
    analyzer.finish()
}

fn assert_all_found(report: &Report, expected: &Expected, plan: &Plan) {
    let tests = (report.tests_run, report.passed, report.failed, report.errors, report.skipped);
    assert_eq!(
        tests,
        (expected.tests_run, expected.passed, expected.failed, expected.errors, expected.skipped)
    );
    assert_eq!(report.counted_from, CountedFrom::Totals);
    assert_eq!(report.duration_s, Some(1234.56));
    assert_eq!((report.oom_total, report.oom_in_tests), (plan.ooms, plan.ooms));
    let first: Vec<_> = report
        .first_ooms
        .iter()
        .map(|oom| (oom.test.clone().unwrap(), oom.position.unwrap(), oom.at.line))
        .collect();
    assert_eq!(first, expected.ooms[..expected.ooms.len().min(10)]);
    let by_file: BTreeMap<String, u64> =
        report.by_file.iter().map(|file| (file.file.clone().unwrap(), file.ooms)).collect();
    assert_eq!(by_file, expected.by_file);
    let by_cause: BTreeMap<_, u64> = report.by_cause.iter().map(|found| (found.cause, found.ooms)).collect();
    assert_eq!(by_cause, expected.by_cause);
    let processes: BTreeMap<u32, u64> =
        report.processes.iter().map(|process| (process.pid, process.seen)).collect();
    assert_eq!(processes, expected.processes);
    let sized: u64 = report.by_size.iter().map(|bucket| bucket.ooms).sum();
    assert_eq!(sized + report.size_unknown, plan.ooms);
    let count = |name: &str| report.patterns.iter().find(|pattern| pattern.name == name).unwrap().count;
    assert_eq!(count("embedding_model_missing"), plan.setup_errors);
    assert_eq!(count("wrong_model_name"), plan.wrong_models);
    assert_eq!((report.logs[0].bytes, report.logs[0].lines), (expected.bytes, expected.lines));
    assert!(report.by_cause.iter().all(|found| !found.evidence.is_empty() && !found.reason.is_empty()));
}

#[test]
fn every_number_of_a_run_like_the_one_it_was_made_for_is_found() {
    let plan = Plan::default();
    let (log, expected) = bytes(&plan);
    assert_all_found(&analyzed(&log), &expected, &plan);
}

#[test]
fn neither_colours_nor_line_ends_nor_filling_nor_the_seed_change_what_is_found() {
    for (seed, colours, line_end, lines) in
        [(2, false, "\n", 0), (3, true, "\r\n", 20_000), (4, false, "\r\n", 9_000)]
    {
        let plan = Plan { seed, colours, line_end, lines, bytes: lines * 300, ..Plan::default() };
        let (log, expected) = bytes(&plan);
        assert!(expected.lines >= lines && expected.bytes >= plan.bytes);
        assert_all_found(&analyzed(&log), &expected, &plan);
    }
}
