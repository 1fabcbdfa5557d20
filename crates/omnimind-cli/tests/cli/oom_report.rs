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

#[test]
fn a_page_for_people_says_what_the_tables_say_and_fetches_nothing() {
    let sandbox = sandbox();
    let output = sandbox.run("oom-report before.log --html report.html --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json["first_ooms"].as_array().unwrap().len(),
        10,
        "the page asks for more, the answer does not"
    );
    let page = fs::read_to_string(sandbox.path("report.html")).unwrap();
    for part in [
        "<dt>out of memory</dt><dd>30</dd>",
        "<h2>What to do</h2>",
        "<h2>Why</h2>",
        "<h2>30 out of memory</h2>",
        "<h2>By test file</h2>",
        "<h2>By what was asked for</h2>",
        "<h2>Known errors</h2>",
        "tests/agents/test_0.py::test_case_6",
        "Memory in use on card 0 at each error",
        "CUDA out of memory. Tried to allocate",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for fetched in ["src=", "href=", "url(", "://", "@import"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    assert_eq!(
        page.matches("class=\"dot main\"").count(),
        1 + 25,
        "a dot for each error that says what was free"
    );

    sandbox.run("oom-report --compare before.log after.log --html compared.html");
    let page = fs::read_to_string(sandbox.path("compared.html")).unwrap();
    assert!(page.contains("<h2>All targets are met</h2>") && page.contains("<dd>3</dd>"), "{page}");
}

#[test]
fn what_a_log_says_stays_text_in_a_page() {
    let sandbox = Sandbox::new();
    let evil = "tests/test_a.py::test[</td><script>alert(1)</script><img src=x onerror=alert(2)>]";
    let log = format!(
        "{evil} FAILED [100%]\n\
         E   torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 3.81 GiB of \
         which 3.50 GiB is free. <script>alert(3)</script>\n\
         FAILED {evil} - torch.OutOfMemoryError: CUDA out of memory.\n\
         ============== 1 failed in 0.52s ===============\n"
    );
    sandbox.write("<script>.log", log);
    let output = sandbox.run("oom-report <script>.log --html out.html");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = fs::read_to_string(sandbox.path("out.html")).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(3)") && page.contains("&lt;script&gt;.log"), "{page}");
    assert_eq!(
        (page.matches("<script").count(), page.matches("<img").count()),
        (1, 0),
        "only the page's own"
    );
}

#[test]
fn targets_thresholds_and_patterns_can_be_set_and_flags_go_before() {
    let sandbox = sandbox();
    sandbox
        .write("mine.toml", "[[pattern]]\nname = 'mine'\nliteral = '_embedding_model'\nseverity = 'low'\n");
    sandbox.write(
        "set.toml",
        "[oom_report]\npatterns = 'mine.toml'\n[oom_report.targets]\nooms_below = 3\n\
         [oom_report.thresholds]\nothers_share = 1\n",
    );
    let json = sandbox.json("--config set.toml oom-report before.log");
    assert_eq!(
        (&json["patterns"][0]["name"], &json["patterns"][1]),
        (&"mine".into(), &serde_json::Value::Null)
    );
    let causes = json["by_cause"].to_string();
    assert!(!causes.contains("competing_processes"), "nobody holds all of the card: {causes}");
    let met = |line: &str| sandbox.json(line)["verdicts"][0]["met"].clone();
    assert_eq!(met("--config set.toml oom-report --compare before.log after.log"), false);
    assert_eq!(met("--config set.toml oom-report --compare before.log after.log --ooms-below 4"), true);
    let seen = sandbox.see("--config set.toml config");
    assert!(seen.contains("oom_report.targets.errors_below") && seen.contains("mine.toml"), "{seen}");
}
