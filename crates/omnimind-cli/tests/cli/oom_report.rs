//! `oom-report`: what is printed, saved, compared and refused.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use oom_forensics::generate::{Plan, bytes};

use crate::sandbox::{Sandbox, assert_seen};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let before =
        Plan { tests: 400, ooms: 30, setup_errors: 60, wrong_models: 2, skipped: 5, ..Plan::default() };
    let after = Plan { seed: 2, ooms: 3, setup_errors: 1, wrong_models: 0, ..before.clone() };
    sandbox.write("before.log", bytes(&before).0);
    sandbox.write("after.log", bytes(&after).0);
    sandbox
}

#[test]
fn a_log_is_told_in_tables_of_eighty_columns() {
    let sandbox = sandbox();
    let seen = sandbox.see("oom-report before.log");
    assert!(seen.lines().all(|line| line.chars().count() <= 80), "{seen}");
    assert_seen!("a_log_is_told", sandbox, seen);
}

#[test]
fn two_runs_are_compared_and_a_gate_fails_where_a_target_is_missed() {
    let sandbox = sandbox();
    assert_eq!(sandbox.run("oom-report before.log --json").status.code(), Some(0));
    let saved = sandbox.run("oom-report before.log --json").stdout;
    sandbox.write("before.json", saved);
    let seen = sandbox.see_all(&[
        "oom-report --compare before.json after.log --gate",
        "oom-report --compare after.log before.json --gate",
        "oom-report --compare after.log before.log --ooms-below 31 --errors-below 61 --success-above 70 --gate",
    ]);
    assert_seen!("two_runs_are_compared", sandbox, seen);
    let json = sandbox.json("oom-report --compare before.json after.log");
    assert_eq!((&json["met"], &json["before"]["oom_total"]), (&true.into(), &30.into()));
    assert_eq!(json["verdicts"][0]["measure"], "ooms");
}

#[test]
fn json_has_every_number_and_junit_what_failed() {
    let sandbox = sandbox();
    let json = sandbox.json("oom-report before.log after.log --junit out.xml");
    assert_eq!((&json["schema"], &json["oom_total"]), (&1.into(), &33.into()));
    assert_eq!(json["logs"][1]["name"], "after.log");
    let xml = fs::read_to_string(sandbox.path("out.xml")).unwrap();
    assert!(
        xml.contains("<testsuite name=\"out of memory\"") && xml.contains("embedding_model_missing"),
        "{xml}"
    );
}

#[test]
fn a_log_may_come_from_stdin() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command.args(["oom-report", "-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"RuntimeError: CUDA error: out of memory\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["oom_total"], &json["logs"][0]["name"]), (&1.into(), &"stdin".into()));
}

#[test]
fn what_cannot_be_read_is_refused_with_the_next_step() {
    let sandbox = sandbox();
    sandbox.write("bad.toml", "[[pattern]]\nname = \"x\"\nregex = \"(\"\nseverity = \"high\"\n");
    sandbox.write("old.json", "{\"schema\": 1}");
    sandbox.write("broken.gz", b"\x1f\x8b\x08\x00 and then nothing that is packed");
    let seen = sandbox.see_all(&[
        "oom-report",
        "oom-report missing.log",
        "oom-report tmp",
        "oom-report broken.gz",
        "oom-report - -",
        "oom-report before.log --gate",
        "oom-report before.log --patterns bad.toml",
        "oom-report --compare old.json before.log",
        "oom-report --compare before.log after.log --success-above 100",
        "oom-report before.log --junit tmp",
    ]);
    assert_seen!("logs_that_cannot_be_read", sandbox, seen);
}
