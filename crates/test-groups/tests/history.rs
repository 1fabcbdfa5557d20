//! What is remembered of tests from run to run, and how it is kept.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::path::Path;
use std::time::Duration;

use test_groups::report::{Outcome, TestReport, TestVram, VramOf};
use test_groups::{Attempt, Config, GroupReport, GroupRun, History, OutOfMemory, Ran, conclude};

fn test(id: &str, started_ms: u64, duration_ms: u64, peak_bytes: u64, of: VramOf) -> TestReport {
    TestReport {
        id: id.to_owned(),
        outcome: Outcome::Passed,
        attempts: 1,
        started_ms,
        duration_ms,
        waited_ms: 0,
        vram: Some(TestVram { before_bytes: 100, after_bytes: 100, peak_bytes, of }),
        out_of_memory: None,
        cpu_fallback: None,
        consolidations: 0,
        consolidated_bytes: 0,
        message: None,
        left_processes: 0,
    }
}

fn own(id: &str, peak_bytes: u64) -> TestReport {
    test(id, 0, 10, peak_bytes, VramOf::Processes)
}

fn group(tests: Vec<TestReport>) -> GroupReport {
    let text = "[[group]]\nname = 'g'\nrunner = 'pytest'";
    let group = Config::parse(text, Path::new("t.toml")).unwrap().groups.remove(0);
    let ran = |report: TestReport| {
        let (started_ms, ended_ms) = (report.started_ms, report.started_ms + report.duration_ms);
        Ran { report, attempts: vec![Attempt { started_ms, ended_ms, out_of_memory: false }], process: None }
    };
    conclude(GroupRun {
        group,
        tests: tests.into_iter().map(ran).collect(),
        samples: vec![],
        wall: Duration::ZERO,
        stopped: None,
        notes: vec![],
        card_bytes: None,
        before_bytes: None,
        peak_gpu_processes: 0,
        log: None,
    })
}

#[test]
fn the_need_is_the_most_of_the_last_five_runs() {
    let mut history = History::default();
    for peak in [900, 100, 500, 300, 200] {
        history.learn(&group(vec![own("a", peak)]));
    }
    assert_eq!(history.need_bytes("g", "a"), Some(900));
    history.learn(&group(vec![own("a", 50)]));
    assert_eq!(history.need_bytes("g", "a"), Some(500), "the one of 900 was six runs ago");
    assert_eq!(history.duration_ms("g", "a"), Some(10));
    assert_eq!((history.need_bytes("g", "b"), history.need_bytes("h", "a")), (None, None));
}

#[test]
fn a_test_that_ran_out_needs_what_it_asked_for_on_top() {
    let out = |peak: u64, requested_bytes: Option<u64>| {
        let mut test = own("a", peak);
        test.out_of_memory = Some(OutOfMemory { message: String::new(), cause: None, requested_bytes });
        group(vec![test])
    };
    let mut history = History::default();
    history.learn(&out(700, Some(300)));
    assert_eq!((history.need_bytes("g", "a"), history.ooms("g", "a")), (Some(1_000), 1));
    let mut history = History::default();
    history.learn(&out(0, None));
    assert_eq!(history.need_bytes("g", "a"), None, "nothing is known of what it would have needed");
    assert_eq!(history.ooms("g", "a"), 1);
}

#[test]
fn what_the_whole_card_held_counts_only_for_a_test_that_ran_alone() {
    let card =
        |id: &str, started_ms: u64, duration_ms: u64| test(id, started_ms, duration_ms, 600, VramOf::Card);
    let mut history = History::default();
    history.learn(&group(vec![
        card("long", 0, 100),
        card("in it", 20, 10),
        card("at its end", 90, 50),
        card("alone", 140, 9),
    ]));
    for (id, need) in [("long", None), ("in it", None), ("at its end", None), ("alone", Some(500))] {
        assert_eq!(history.need_bytes("g", id), need, "{id}");
    }
}

#[test]
fn what_did_not_run_teaches_nothing_and_a_timeout_no_duration() {
    let mut history = History::default();
    let with = |outcome: Outcome| {
        let mut test = own("a", 7);
        test.outcome = outcome;
        group(vec![test])
    };
    history.learn(&with(Outcome::NotRun));
    history.learn(&with(Outcome::Skipped));
    assert_eq!(history.need_bytes("g", "a"), None);
    history.learn(&with(Outcome::TimedOut));
    assert_eq!((history.need_bytes("g", "a"), history.duration_ms("g", "a")), (Some(7), None));
}

#[test]
fn a_test_that_was_not_seen_in_twenty_runs_is_forgotten() {
    let mut history = History::default();
    history.learn(&group(vec![own("gone", 7), own("stays", 7)]));
    for run in 0..20 {
        assert_eq!(history.need_bytes("g", "gone"), Some(7), "after {run}");
        history.learn(&group(vec![own("stays", 7)]));
    }
    assert_eq!((history.need_bytes("g", "gone"), history.need_bytes("g", "stays")), (None, Some(7)));
}

#[test]
fn it_is_kept_in_a_file_that_is_replaced_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = History::default_path(directory.path());
    assert!(path.ends_with("target/test-groups/history.json"));
    assert_eq!(History::read(&path).unwrap(), (History::default(), None));
    let mut history = History::default();
    history.learn(&group(vec![own("a \" é\n", u64::MAX)]));
    history.write(&path).unwrap();
    history.learn(&group(vec![own("b", 1)]));
    history.write(&path).unwrap();
    assert_eq!(History::read(&path).unwrap(), (history.clone(), None));
    let beside: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing is left beside it: {beside:?}");

    std::fs::write(&path, b"{\"schema\":99,\"groups\":{}}").unwrap();
    let (read, note) = History::read(&path).unwrap();
    assert_eq!(read, History::default());
    assert!(note.unwrap().contains("its version is 99, not 1"));
    // What is in the way is an error, and not overwritten.
    assert!(History::read(directory.path()).is_err());
    assert!(history.write(directory.path()).is_err());
}
