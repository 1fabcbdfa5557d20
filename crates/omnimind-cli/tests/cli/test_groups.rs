//! `test-groups`: groups of commands on a simulated card, what is printed and saved of them, and what is refused.

use std::fs;

use crate::sandbox::{Sandbox, assert_seen};

const GROUPS: &str = r#"
[[group]]
name = "first"
question = "Does it pass?"
runner = "command"
concurrency = "sequential"
command = [
    { name = "one", run = ["true"] },
    { name = "two", run = ["true"] },
]

[[group]]
name = "second"
runner = "command"
concurrency = "isolated"
fail_fast = true
command = [
    { name = "good", run = ["true"] },
    { name = "oom", run = ["sh", "-c", "cat oom.txt; exit 1"] },
    { name = "<b>later</b>", run = ["true"] },
]
"#;

const OOM: &str = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 3.81 GiB \
                   of which 3.50 GiB is free.\n";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("test-groups.toml", GROUPS);
    sandbox.write("oom.txt", OOM);
    sandbox
}

#[test]
fn groups_are_listed_run_and_told_and_a_failure_is_the_exit_code() {
    let sandbox = sandbox();
    let seen = sandbox.see_all(&[
        "test-groups --list",
        "test-groups --list --json",
        "test-groups first --simulated",
        "test-groups second --simulated -q",
        "test-groups second --simulated --keep-going -v",
    ]);
    assert_seen!("groups_are_run", sandbox, seen);
}

#[test]
fn a_run_can_be_had_in_json_as_a_page_and_for_build_servers() {
    let sandbox = sandbox();
    let output = sandbox.run("test-groups --simulated --keep-going --json --html out.html --junit out.xml");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let [first, second] = json["groups"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!((&json["vram_source"], &first["passed"]), (&"simulated".into(), &2.into()));
    assert_eq!((&second["passed"], &second["failed"], &second["ooms"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(second["first_failure"], "oom");
    assert_eq!(second["tests"][1]["out_of_memory"]["cause"], "one_allocation_too_large");
    let page = fs::read_to_string(sandbox.path("out.html")).unwrap();
    assert!(page.contains("&lt;b&gt;later&lt;/b&gt;") && !page.contains("<b>later"), "{page}");
    assert!(page.contains("<h2>second</h2>") && page.contains("a test failed"), "{page}");
    let xml = fs::read_to_string(sandbox.path("out.xml")).unwrap();
    assert!(xml.contains("<testsuite name=\"second\""), "{xml}");
}

#[test]
fn what_tests_hold_of_the_simulated_card_is_seen() {
    let sandbox = Sandbox::new();
    // What this binary takes of the card is what the test holds.
    let binary = env!("CARGO_BIN_EXE_omnimind");
    sandbox.write(
        "test-groups.toml",
        format!(
            "[[group]]\nname = 'demo'\nrunner = 'command'\nconcurrency = 'isolated'\n\
             command = [{{ name = 'gpu', run = ['{binary}', 'gpu'] }}]\n"
        ),
    );
    let json = sandbox.json("test-groups --simulated");
    let group = &json["groups"][0];
    assert_eq!((&group["passed"], &group["card_bytes"]), (&1.into(), &4_090_955_776_u64.into()), "{json}");
    let log = fs::read_to_string(group["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("Simulated GPU (shared)"), "{log}");
}

#[test]
fn schemas_are_printed_without_running_anything() {
    let sandbox = Sandbox::new();
    for (line, key) in [
        ("oom-report --schema", "oom_total"),
        ("test-groups --schema", "groups"),
        ("test-groups --schema=config", "group"),
    ] {
        let schema = sandbox.json(line);
        assert!(schema["properties"][key].is_object(), "{line}: {schema}");
    }
}

#[test]
fn what_is_wrong_is_refused_before_anything_runs() {
    let sandbox = sandbox();
    sandbox.write("bad.toml", "[[group]]\nname = 'a'\nrunner = 'command'\nconcurency = 'isolated'\n");
    sandbox.write(
        "missing.toml",
        "[[group]]\nname = 'a'\nrunner = 'command'\nconcurrency = 'isolated'\ncommand = [{ name = 'x', run = ['no-such-program'] }]\n",
    );
    let seen = sandbox.see_all(&[
        "test-groups --file nowhere.toml",
        "test-groups --file bad.toml",
        "test-groups frist --simulated",
        "test-groups --schema=all",
        "test-groups --file missing.toml --simulated -q",
        "test-groups first --simulated -q --html tmp",
        "test-groups first -- sh",
        "test-groups --gate nowhere.socket -- true",
    ]);
    assert_seen!("groups_that_cannot_be_run", sandbox, seen);
}
