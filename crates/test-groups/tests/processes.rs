//! Whatever tests start, nothing stays; whatever they print, memory stays bounded.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::fs;
use std::time::Duration;

use common::{Project, lives, outcomes, pids, scripts, test};
use test_groups::report::Outcome;

/// A grandchild in the group, a daemon that left it and lost its parent, and one that hears no SIGTERM.
const BREEDS: &str = "\
    bash -c 'echo $$ >> pids; sleep 600' & \
    ( setsid bash -c 'echo $$ >> pids; sleep 600' & ) ; \
    ( setsid bash -c \"trap '' TERM; echo \\$\\$ >> pids; while :; do sleep 1; done\" & ) ; \
    while [ \"$(wc -l < pids 2>/dev/null || echo 0)\" -lt 3 ]; do sleep 0.01; done;";

#[test]
fn a_test_that_takes_too_long_is_ended_with_all_that_it_started() {
    let project = Project::new();
    let slow = format!("{BREEDS} sleep 600");
    let report = project.run(&scripts("timeout = \"1s\"", &[("slow", &slow), ("next", "true")]));
    assert_eq!(
        (test(&report, "slow").outcome, test(&report, "next").outcome),
        (Outcome::TimedOut, Outcome::Passed)
    );
    assert!(test(&report, "slow").message.as_ref().unwrap().contains("1s"));
    assert_eq!(report.timed_out, 1);
    let pids = pids(&project.path("pids"));
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| !lives(*pid)));
}

#[test]
fn what_a_test_left_behind_is_ended_and_counted() {
    let project = Project::new();
    // Their output is that of the test: it would not end before they do.
    let report = project.run(&scripts("", &[("leaves", BREEDS), ("clean", "sleep 0.05 &")]));
    assert_eq!(outcomes(&report).into_values().collect::<Vec<_>>(), [Outcome::Passed; 2]);
    // Each is a shell and the `sleep` that it waits for.
    assert_eq!((test(&report, "leaves").left_processes, test(&report, "clean").left_processes), (6, 0));
    assert!(pids(&project.path("pids")).iter().all(|pid| !lives(*pid)));
}

#[test]
fn interrupted_runs_and_failed_fast_ones_leave_nothing_either() {
    let project = Project::new();
    let slow = format!("{BREEDS} touch ready; sleep 600");
    let fails = "while [ ! -e ready ]; do sleep 0.01; done; exit 1";
    let settings = "fail_fast = true\nconcurrency = { parallel = 2 }";
    let report = project.run(&scripts(settings, &[("slow", &slow), ("fails", fails)]));
    assert_eq!(
        (test(&report, "slow").outcome, test(&report, "fails").outcome),
        (Outcome::NotRun, Outcome::Failed)
    );
    let pids = pids(&project.path("pids"));
    assert!(pids.len() == 3 && pids.iter().all(|pid| !lives(*pid)));
}

#[test]
fn an_observer_that_panics_leaves_no_test_behind() {
    struct Panics;
    impl test_groups::Observer for Panics {
        fn event(&mut self, event: &test_groups::Event<'_>) {
            assert!(!matches!(event, test_groups::Event::TestFinished { .. }), "heard enough");
        }
    }
    let project = Project::new();
    let slow = format!("{BREEDS} touch ready; sleep 600");
    let ends = "while [ ! -e ready ]; do sleep 0.01; done";
    let group = scripts("concurrency = { parallel = 2 }", &[("slow", &slow), ("ends", ends)]);
    let ran =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| project.run_heard(&group, &mut Panics)));
    assert!(ran.is_err());
    let pids = pids(&project.path("pids"));
    assert!(pids.len() == 3 && pids.iter().all(|pid| !lives(*pid)));
}

#[test]
fn two_hundred_megabytes_without_a_newline_cost_no_memory_and_lose_nothing() {
    let project = Project::new();
    let loud = "printf 'first '; head -c 200000000 /dev/zero | tr '\\0' 'x'; printf '\\377 CUDA out of memory '; head -c 1000000 /dev/zero; printf last; exit 1";
    let before = resident_bytes("VmHWM");
    let report = project.run_heard(&scripts("", &[("loud", loud)]), &mut ()).unwrap().groups.remove(0);
    let grown = resident_bytes("VmHWM") - before;
    assert!(grown < 60 << 20, "{grown} bytes more");
    let loud = test(&report, "loud");
    assert!(loud.out_of_memory.is_some());
    assert!(loud.message.as_ref().unwrap().ends_with("last"));
    assert!(loud.message.as_ref().unwrap().len() < 4096);
    assert!(fs::metadata(report.log.unwrap()).unwrap().len() > 201_000_000);
}

#[test]
fn a_test_that_closes_its_output_and_goes_on_is_waited_for() {
    let project = Project::new();
    let report = project.run(&scripts("", &[("quiet", "exec >&- 2>&-; sleep 0.3; exit 4")]));
    assert!(test(&report, "quiet").message.as_ref().unwrap().contains("exit code 4"));
    assert!(Duration::from_millis(test(&report, "quiet").duration_ms) >= Duration::from_millis(300));
}

fn resident_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
