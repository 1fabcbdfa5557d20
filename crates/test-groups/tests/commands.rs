//! Commands as tests: what is said of them, what they held, and what becomes of failures.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Heard, MIB, NoCard, OneSentence, Project, outcomes, scripts, test};
use test_groups::report::{Outcome, VramOf};
use test_groups::{Error, OnOutOfMemory};

/// Holds so many MiB until it has been seen.
fn holds(mib: u64) -> String {
    format!("echo \"$$ {}\" >> $CARD; sleep 0.1", mib * MIB)
}

#[test]
fn tests_pass_fail_and_cannot_be_started_each_by_themselves() {
    let project = Project::new();
    let group = scripts(
        "",
        &[
            ("good", "echo fine"),
            ("bad", "echo first; echo last words >&2; exit 3"),
            ("killed", "kill -9 $$"),
        ],
    );
    let group = format!("{group}[[group.command]]\nname = \"absent\"\nrun = [\"/no/such/program\"]\n");
    let mut heard = Heard::default();
    let report = project.run_heard(&group, &mut heard).unwrap().groups.remove(0);
    assert_eq!((report.passed, report.failed, report.skipped), (1, 3, 0));
    assert_eq!(report.first_failure.as_deref(), Some("bad"));
    let message = |id| test(&report, id).message.clone().unwrap_or_default();
    assert!(
        message("bad").contains("exit code 3") && message("bad").contains("last words"),
        "{}",
        message("bad")
    );
    assert!(message("killed").contains("signal 9"), "{}", message("killed"));
    assert!(message("absent").contains("cannot be started"), "{}", message("absent"));
    assert_eq!(message("good"), "");
    let log = std::fs::read_to_string(report.log.as_ref().unwrap()).unwrap();
    assert!(log.contains("fine") && log.contains("first") && log.contains("last words"));
    assert_eq!(heard.0[..3], ["group g", "listed 4 0", "start good 1 false"]);
    assert_eq!(heard.0.last().map(String::as_str), Some("done g"));
}

#[test]
fn memory_is_that_of_the_test_whose_process_or_child_or_daemon_holds_it() {
    let project = Project::new();
    let child =
        format!("( {} ) & wait; bash -c '{}'", "echo \"$BASHPID 1048576\" >> $CARD; sleep 0.1", holds(30));
    let group = scripts(
        "concurrency = { parallel = 3 }",
        &[("own", &holds(100)), ("child", &child), ("none", "sleep 0.1")],
    );
    let report = project.run(&group);
    let held = |id| test(&report, id).vram.unwrap();
    assert_eq!(
        (held("own").before_bytes, held("own").peak_bytes, held("own").after_bytes),
        (0, 100 * MIB, 0)
    );
    assert_eq!(held("own").of, VramOf::Processes);
    assert_eq!(held("child").peak_bytes, 30 * MIB);
    assert_eq!(held("none").peak_bytes, 0);
    assert_eq!(report.card_bytes, Some(1000 * MIB));
    assert_eq!(report.peak_gpu_processes, 2);
    assert!(report.peak_bytes.unwrap() >= 100 * MIB);
    assert!(report.samples.iter().any(|sample| sample.running == 3));
}

#[test]
fn memory_of_others_belongs_to_no_test() {
    let project = Project::new();
    let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    project.write("card", &format!("{} {}\n", other.id(), 200 * MIB));
    let report = project.run(&scripts("", &[("own", &holds(10))]));
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(test(&report, "own").vram.unwrap().peak_bytes, 10 * MIB);
    assert_eq!(report.before_bytes, Some(200 * MIB));
}

#[test]
fn without_a_card_tests_run_and_it_is_said_that_nothing_was_seen() {
    let project = Project::new();
    let config = project.config(&scripts("concurrency = \"adaptive\"", &[("a", "true"), ("b", "true")]));
    let report =
        test_groups::run(&config, &project.options, Box::new(NoCard), &OneSentence, &mut ()).unwrap();
    let group = &report.groups[0];
    assert_eq!((group.passed, group.card_bytes), (2, None));
    assert_eq!(group.tests[0].vram, None);
    assert!(group.notes.iter().any(|note| note.contains("there is no driver")), "{:?}", group.notes);
}

#[test]
fn out_of_memory_is_tried_with_the_processor_once_and_said_so() {
    let project = Project::new();
    let runs_out = "echo x >> tries; [ \"${CUDA_VISIBLE_DEVICES-unset}\" = \"\" ] || { echo CUDA out of memory; exit 1; }";
    let hopeless = "echo CUDA out of memory; exit 1";
    let settings = "on_out_of_memory = \"retry_on_cpu\"\nretries = 3\nconcurrency = { parallel = 2 }";
    let group = scripts(settings, &[("runs out", runs_out), ("hopeless", hopeless), ("fine", "true")]);
    let config = project.config(&group);
    assert_eq!(config.groups[0].on_out_of_memory, OnOutOfMemory::RetryOnCpu);
    let mut heard = Heard::default();
    let report = project.run_heard(&group, &mut heard).unwrap().groups.remove(0);
    let ran_out = test(&report, "runs out");
    assert_eq!((ran_out.outcome, ran_out.attempts), (Outcome::PassedOnCpu, 2));
    assert!(ran_out.cpu_fallback.as_ref().unwrap().contains("CUDA_VISIBLE_DEVICES"));
    assert!(ran_out.out_of_memory.is_some());
    let hopeless = test(&report, "hopeless");
    assert_eq!((hopeless.outcome, hopeless.attempts), (Outcome::Failed, 2), "not for want of retries");
    assert_eq!((report.ooms, report.passed, report.passed_on_cpu, report.failed), (2, 1, 1, 1));
    assert!(heard.0.contains(&"start runs out 2 true".to_owned()), "{:?}", heard.0);
    let (fine, again) = ("end fine Passed".to_owned(), "start runs out 2 true".to_owned());
    let at = |line| heard.0.iter().position(|heard| *heard == line);
    assert!(at(fine) < at(again), "it runs after the others");
}

#[test]
fn out_of_memory_without_a_retry_is_a_failure_and_with_a_pass_is_recorded() {
    let project = Project::new();
    let group = scripts(
        "retries = 2",
        &[("failed", "echo CUDA out of memory; exit 1"), ("passed", "echo CUDA out of memory")],
    );
    let report = project.run(&group);
    assert_eq!((test(&report, "failed").outcome, test(&report, "failed").attempts), (Outcome::Failed, 1));
    let passed = test(&report, "passed");
    assert_eq!((passed.outcome, passed.cpu_fallback.as_ref()), (Outcome::Passed, None));
    assert_eq!(report.ooms, 2);
}

#[test]
fn a_failure_is_tried_again_as_often_as_asked() {
    let project = Project::new();
    let third = "echo x >> tries; [ $(wc -l < tries) = 3 ]";
    let report = project.run(&scripts("retries = 2", &[("third time", third), ("never", "false")]));
    assert_eq!(
        (test(&report, "third time").outcome, test(&report, "third time").attempts),
        (Outcome::Passed, 3)
    );
    assert_eq!((test(&report, "never").outcome, test(&report, "never").attempts), (Outcome::Failed, 3));
}

#[test]
fn the_first_failure_ends_the_group_after_its_retries() {
    let project = Project::new();
    let group =
        scripts("fail_fast = true\nretries = 1", &[("a", "true"), ("b", "false"), ("c", "touch reached")]);
    let report = project.run(&group);
    assert_eq!(
        outcomes(&report).into_values().collect::<Vec<_>>(),
        [Outcome::Passed, Outcome::Failed, Outcome::NotRun]
    );
    assert_eq!(test(&report, "b").attempts, 2);
    assert!(report.stopped.as_ref().unwrap().contains('b'));
    assert!(!project.path("reached").exists());
}

#[test]
fn adaptive_groups_run_several_at_once_and_never_more_than_the_card_holds() {
    let project = Project::new();
    // A test that finds more than the card on the card says so.
    let careful = |mib: u64| {
        let sum = "awk '{held[$1] = $2} END {for (pid in held) if (system(\"test -d /proc/\" pid) == 0) sum += held[pid]; exit sum > 1048576000}' $CARD";
        format!(
            "echo \"$$ {}\" >> $CARD; sleep 0.15; {sum} || {{ echo CUDA out of memory; exit 1; }}; echo \"$$ 0\" >> $CARD",
            mib * MIB
        )
    };
    let all: Vec<(String, String)> = (0..6).map(|test| (format!("t{test}"), careful(380))).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(name, script)| (name.as_str(), script.as_str())).collect();
    let group = scripts("concurrency = \"adaptive\"", &all);
    let first = project.run(&group);
    assert_eq!(first.failed, 0, "what is not known yet does not run out either");
    let second = project.run(&group);
    assert_eq!((second.passed, second.ooms), (6, 0));
    assert_eq!(second.peak_gpu_processes, 2, "two of 380 MiB fit, three do not");
    assert!(second.samples.iter().all(|sample| sample.used_bytes <= 1000 * MIB));
}

#[test]
fn what_programs_say_of_their_memories_is_told_of_their_tests() {
    let project = Project::new();
    let say = |event: &str, bytes: u64| {
        format!(
            "echo '{{\"pid\":'$$',\"at_unix_ms\":'$(date +%s%3N)',\"event\":\"{event}\",\"memory\":\"m\",\"bytes\":{bytes}}}' >> $OMNIMIND_WITNESS;"
        )
    };
    let twice =
        format!("{} echo broken >> $OMNIMIND_WITNESS; {}", say("consolidated", 5), say("consolidated", 6));
    let rescued = format!("echo CUDA out of memory; {} {}", say("rescued", 7), say("cpu_fallback", 0));
    let group = scripts(
        "concurrency = { parallel = 3 }",
        &[("twice", &twice), ("rescued", &rescued), ("silent", "sleep 0.1")],
    );
    let report = project.run(&group);
    let of = |id| (test(&report, id).consolidations, test(&report, id).consolidated_bytes);
    assert_eq!((of("twice"), of("rescued"), of("silent")), ((2, 11), (1, 7), (0, 0)));
    assert!(test(&report, "rescued").cpu_fallback.as_ref().unwrap().contains("processor"));
    assert_eq!(report.consolidations, 3);
}

#[test]
fn an_interruption_ends_what_runs_and_is_in_the_report() {
    let project = Project::new();
    let group = scripts(
        "concurrency = { parallel = 2 }",
        &[("a", "touch there; sleep 600"), ("b", "sleep 600"), ("c", "true")],
    );
    let (interrupted, there) = (project.options.interrupted.clone(), project.path("there"));
    let begun = Instant::now();
    let waiter = std::thread::spawn(move || {
        while !there.exists() && begun.elapsed() < Duration::from_mins(1) {
            std::thread::yield_now();
        }
        interrupted.store(true, Ordering::Relaxed);
    });
    let report = project.run(&group);
    waiter.join().unwrap();
    assert_eq!(report.stopped.as_deref(), Some("interrupted"));
    assert_eq!(outcomes(&report).into_values().collect::<Vec<_>>(), [Outcome::NotRun; 3]);
}

#[test]
fn a_group_that_takes_too_long_is_ended() {
    let project = Project::new();
    let report = project
        .run(&scripts("group_timeout = \"300ms\"", &[("a", "true"), ("b", "sleep 600"), ("c", "true")]));
    assert_eq!(
        outcomes(&report).into_values().collect::<Vec<_>>(),
        [Outcome::Passed, Outcome::NotRun, Outcome::NotRun]
    );
    assert!(report.stopped.as_ref().unwrap().contains("300ms"));
}

#[test]
fn a_group_that_is_not_there_is_refused_with_the_nearest() {
    let mut project = Project::new();
    project.options.groups = vec!["h".to_owned()];
    let error = project.try_run(&scripts("", &[("a", "true")])).unwrap_err();
    assert!(error.to_string().contains("did you mean \"g\"?"), "{error}");
}

#[test]
fn a_missing_runner_is_told_before_anything_runs() {
    let project = Project::new();
    let missing =
        "[[group]]\nname = \"p\"\nquestion = \"?\"\nrunner = \"pytest\"\nprogram = [\"/no/python\"]\n";
    let error = project.try_run(&format!("{}{missing}", scripts("", &[("a", "touch reached")]))).unwrap_err();
    assert!(
        matches!(&error, Error::RunnerMissing { next_step, .. } if next_step.contains("program")),
        "{error}"
    );
    assert!(!project.path("reached").exists());

    // A Python that has no pytest, a cargo that has no nextest.
    let lacks = |runner: &str| {
        let program = project.path("lacks");
        std::fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let group = format!(
            "[[group]]\nname = \"p\"\nquestion = \"?\"\nrunner = {runner:?}\nprogram = [{program:?}]\n"
        );
        project.try_run(&group).unwrap_err().to_string()
    };
    assert!(lacks("pytest").contains("pip install pytest"), "{}", lacks("pytest"));
    assert!(lacks("nextest").contains("cargo install"), "{}", lacks("nextest"));
}
