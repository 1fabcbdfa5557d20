//! What the configuration means, and what is said of one that is wrong.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use test_groups::config::CommandTest;
use test_groups::{Concurrency, Config, Error, Group, OnOutOfMemory, Runner};

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/somewhere/test-groups.toml")).unwrap()
}

fn problems(text: &str) -> String {
    match Config::parse(text, Path::new("t.toml")) {
        Err(Error::Config { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn every_key_reaches_its_group() {
    let config = parse(
        r#"
        sample_every = "20ms"

        [[group]]
        name = "mcp"
        question = "Do several processes get along?"
        runner = "nextest"
        packages = ["end-to-end"]
        binaries = ["group_mcp"]
        filter = "test(many)"
        runner_arguments = ["--release"]
        program = ["cargo-1.95"]
        directory = "sub"
        environment = { RUST_LOG = "debug" }
        concurrency = { parallel = 4 }
        fail_fast = true
        timeout = "5m"
        group_timeout = "1h 30m"
        retries = 2
        gpu = { device = 1, budget = "3 GiB" }
        on_out_of_memory = "retry_on_cpu"
        cpu_environment = { DEVICE = "cpu" }

        [[group]]
        name = "agents"
        runner = "command"
        [[group.command]]
        name = "one"
        run = ["true", "-x"]
        [[group.command]]
        name = "two"
        run = ["false"]
        "#,
    );
    assert_eq!(config.sample_every, Duration::from_millis(20));
    assert_eq!(config.root, PathBuf::from("/somewhere"));
    let environment = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let mcp = Group {
        name: "mcp".to_owned(),
        question: "Do several processes get along?".to_owned(),
        runner: Runner::Nextest,
        packages: texts(&["end-to-end"]),
        binaries: texts(&["group_mcp"]),
        filter: Some("test(many)".to_owned()),
        paths: vec![],
        commands: vec![],
        runner_arguments: texts(&["--release"]),
        program: texts(&["cargo-1.95"]),
        directory: PathBuf::from("sub"),
        environment: environment("RUST_LOG", "debug"),
        concurrency: Concurrency::Parallel(4),
        fail_fast: true,
        timeout: Some(Duration::from_mins(5)),
        group_timeout: Some(Duration::from_mins(90)),
        retries: 2,
        device: 1,
        gpu_budget_bytes: Some(3 << 30),
        on_out_of_memory: OnOutOfMemory::RetryOnCpu,
        cpu_environment: environment("DEVICE", "cpu"),
    };
    let agents = Group {
        name: "agents".to_owned(),
        question: String::new(),
        runner: Runner::Command,
        packages: vec![],
        binaries: vec![],
        filter: None,
        paths: vec![],
        commands: vec![
            CommandTest { name: "one".to_owned(), run: texts(&["true", "-x"]) },
            CommandTest { name: "two".to_owned(), run: texts(&["false"]) },
        ],
        runner_arguments: vec![],
        program: vec![],
        directory: PathBuf::from("."),
        environment: BTreeMap::new(),
        concurrency: Concurrency::Sequential,
        fail_fast: false,
        timeout: None,
        group_timeout: None,
        retries: 0,
        device: 0,
        gpu_budget_bytes: None,
        on_out_of_memory: OnOutOfMemory::Fail,
        cpu_environment: environment("CUDA_VISIBLE_DEVICES", ""),
    };
    assert_eq!(config.groups, [mcp, agents]);
}

#[test]
fn defaults_hold_where_a_group_says_nothing() {
    let config = parse(
        r#"
        [defaults]
        environment = { A = "1", B = "1" }
        concurrency = "adaptive"
        fail_fast = true
        timeout = "1m"
        group_timeout = "2m"
        retries = 3
        gpu = { device = 2, budget = 1000 }
        on_out_of_memory = "retry_on_cpu"
        cpu_environment = { C = "" }

        [[group]]
        name = "says-nothing"
        runner = "pytest"

        [[group]]
        name = "says_otherwise"
        runner = "pytest"
        environment = { B = "2" }
        concurrency = "isolated"
        fail_fast = false
        timeout = "none"
        retries = 0
        gpu = { device = 0 }
        on_out_of_memory = "fail"
        cpu_environment = {}
        "#,
    );
    let [nothing, otherwise] = &config.groups[..] else { panic!("{config:?}") };
    assert_eq!((nothing.concurrency, nothing.fail_fast, nothing.retries), (Concurrency::Adaptive, true, 3));
    assert_eq!((nothing.timeout, nothing.device), (Some(Duration::from_mins(1)), 2));
    assert_eq!(nothing.cpu_environment.keys().collect::<Vec<_>>(), ["C"]);
    assert_eq!(
        (otherwise.concurrency, otherwise.fail_fast, otherwise.retries),
        (Concurrency::Isolated, false, 0)
    );
    assert_eq!((otherwise.timeout, otherwise.group_timeout), (None, Some(Duration::from_mins(2))));
    assert_eq!((otherwise.device, otherwise.gpu_budget_bytes), (0, Some(1000)));
    assert_eq!(otherwise.on_out_of_memory, OnOutOfMemory::Fail);
    assert!(otherwise.cpu_environment.is_empty());
    let environment: Vec<_> = otherwise.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(environment, [("A", "1"), ("B", "2")]);
}

/// A group of pytest named `a`, and one line that is wrong: line 4.
fn with(line: &str) -> String {
    problems(&format!("[[group]]\nname = 'a'\nrunner = 'pytest'\n{line}\n"))
}

/// A line in a group of pytest, and the beginning of what is said of it.
const WRONG: &[(&str, &str)] = &[
    (
        "concurency = 'adaptive'",
        "line 4, column 1: unknown key `concurency` in group \"a\"; did you mean `concurrency`?",
    ),
    (
        "fail-fast = true",
        "line 4, column 1: unknown key `fail-fast` in group \"a\"; did you mean `fail_fast`?",
    ),
    (
        "gpu = { size = 1 }",
        "line 4, column 9: unknown key `size` in `gpu` of group \"a\"; there are `device`, `budget`",
    ),
    (
        "concurrency = 'adaptative'",
        "line 4, column 15: unknown value \"adaptative\"; did you mean \"adaptive\"?",
    ),
    (
        "concurrency = 'x'",
        "line 4, column 15: unknown value \"x\"; it is one of \"isolated\", \"sequential\", \"adaptive\"",
    ),
    ("concurrency = 'parallel'", "line 4, column 15: \"parallel\" needs a number: { parallel = 4 }"),
    ("concurrency = { parallel = 0 }", "line 4, column 15: parallel = 0 runs nothing; the least is 1"),
    ("concurrency = {}", "line 4, column 15: how many at once is missing: { parallel = 4 }"),
    (
        "gpu = { budget = 'much' }",
        "line 4, column 18: \"much\" is no amount of memory; write \"3 GiB\", \"512 MiB\" (of 1024) or \"4 GB\" (of 1000)",
    ),
    (
        "gpu = { budget = 0 }",
        "line 4, column 18: invalid value: integer `0`, expected an amount of memory such as \"3 GiB\", or a number of bytes",
    ),
    ("timeout = '5 parsecs'", "line 4, column 11: \"5 parsecs\" is no time: unknown time unit \"parsecs\""),
    ("timeout = '0s'", "line 4, column 11: \"0s\" is no time at all"),
    (
        "timeout = '400d'",
        "line 4, column 11: \"400d\" is more than a year; for no limit leave it out, or say \"none\"",
    ),
    (
        "timeout = 5",
        "line 4, column 11: invalid type: integer `5`, expected a time such as \"5m\" or \"1h 30m\", or \"none\"",
    ),
    (
        "on_out_of_memory = 'retry-on-cpu'",
        "line 4, column 20: unknown value \"retry-on-cpu\"; did you mean \"retry_on_cpu\"?",
    ),
    (
        "packages = ['a']",
        "line 4, column 1: group \"a\": `packages` is for the runner \"nextest\", \"cargo-test\", and means nothing to \"pytest\"",
    ),
    ("paths = ['']", "line 4, column 1: group \"a\": `paths` holds an empty text"),
    ("paths = ['-x']", "line 4, column 1: group \"a\": \"-x\" in `paths` would be read as an option"),
    (
        "filter = \"a\\u0000\"",
        "line 4, column 1: group \"a\": `filter` holds a zero byte, which no program can be given",
    ),
    ("environment = { 'A=B' = '' }", "line 4, column 1: `A=B` in `environment` of group \"a\" cannot be set"),
    ("[[group]]\nname = 'a'\nrunner = 'pytest'", "line 5, column 1: there is another group \"a\" before"),
    ("[[group]]\nname = ''\nrunner = 'pytest'", "line 5, column 1: group 2: the name is empty"),
    (
        "[[group]]\nname = 'a b'\nrunner = 'pytest'",
        "line 5, column 1: group \"a b\": the name holds ' ', and may hold letters from a to z",
    ),
    ("[[group]]\nname = 'b'", "line 4, column 1: missing field `runner`"),
    (
        "[[group]]\nname = 'b'\nrunner = 'pytests'",
        "line 6, column 10: unknown value \"pytests\"; did you mean \"pytest\"?",
    ),
    (
        "[[group]]\nname = 'b'\nrunner = 'command'",
        "line 6, column 1: group \"b\": there is no command; add [[group.command]] with `name` and `run`",
    ),
    (
        "[[group]]\nname = 'b'\nrunner = 'command'\nfilter = 'x'\n[[group.command]]\nname = 'c'\nrun = ['x']",
        "line 7, column 1: group \"b\": `filter` is for the runner \"nextest\", \"cargo-test\", \"pytest\", and means nothing to \"command\"",
    ),
    (
        "[[group]]\nname = 'b'\nrunner = 'command'\n[[group.command]]\nname = 'c'\nrun = []",
        "line 7, column 1: group \"b\": the command \"c\" has no program: run = [\"program\", \"argument\"]",
    ),
    (
        "[[group]]\nname = 'b'\nrunner = 'command'\ncommand = [{ name = 'c', run = ['x'] }, { name = 'c', run = ['x'] }]",
        "line 7, column 41: group \"b\": there is another command \"c\" before",
    ),
    ("[default]", "line 4, column 2: unknown key `default`; did you mean `defaults`?"),
    (
        "[defaults]\npaths = []",
        "line 5, column 1: unknown key `paths` in [defaults]; it has no default, and belongs in a [[group]]",
    ),
    ("paths = [", "line 4, column 10: unclosed array, expected `]`"),
];

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_would_be_right() {
    for (line, said) in WRONG {
        let problems = with(line);
        assert!(problems.starts_with(said), "{line}\n{problems}\nexpected {said}");
        assert!(!problems.contains('\n'), "{line}: one thing is wrong, and said once: {problems}");
    }
    assert_eq!(problems(""), "line 1, column 1: there is no group; begin one with [[group]]");
    assert_eq!(
        problems("timeout = '1m'"),
        "line 1, column 1: unknown key `timeout`; it belongs in [defaults] or in a [[group]]"
    );
    let every = "sample_every = '2h'\n[[group]]\nname = 'a'\nrunner = 'pytest'";
    assert_eq!(problems(every), "line 1, column 1: sample_every is from \"1ms\" to \"1m\"");
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    let many: Vec<String> = (0..30).map(|at| format!("key{at} = 1")).collect();
    let said = with(&many.join("\n"));
    assert_eq!(said.lines().count(), 21);
    assert!(said.starts_with("line 4,") && said.ends_with("\nand 10 more"), "{said}");
}

#[test]
fn a_file_that_is_missing_too_large_or_no_text_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test-groups.toml");
    assert!(matches!(Config::read(&path), Err(Error::File { .. })));
    std::fs::write(&path, b"# \xff").unwrap();
    assert!(Config::read(&path).unwrap_err().to_string().contains("no UTF-8 text"));
    std::fs::write(&path, "#".repeat((4 << 20) + 1)).unwrap();
    assert!(Config::read(&path).unwrap_err().to_string().contains("larger than 4 MiB"));
    std::fs::write(&path, "[[group]]\nname = 'a'\nrunner = 'pytest'").unwrap();
    assert_eq!(Config::read(&path).unwrap().root, directory.path());
}
