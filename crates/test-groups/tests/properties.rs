//! What holds for every input: of the configuration, of the line for the card, of slopes and of histories.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use test_groups::admission::{Admission, Capacity, MOST_PASSES, Why, with_margin};
use test_groups::config::CommandTest;
use test_groups::report::Accumulation;
use test_groups::{Concurrency, Config, Group, History, OnOutOfMemory, Runner};

fn parse(text: &str) -> test_groups::Result<Config> {
    Config::parse(text, Path::new("root/test-groups.toml"))
}

/// What means something, nearly does, or breaks naive readers.
const FRAGMENTS: &[&str] = &[
    "[[group]]\n",
    "[group]\n",
    "[defaults]\n",
    "[[group.command]]\n",
    "name = ",
    "name = 'a'\n",
    "runner = ",
    "runner = 'command'\n",
    "run = ",
    "concurrency = ",
    "parallel",
    "gpu = ",
    "budget",
    "device",
    "timeout = ",
    "environment.",
    "paths",
    "packages",
    "nam",
    "'a'",
    "\"\\u0000\"",
    "\"\"",
    "'5m'",
    "'none'",
    "'99999999999999999999y'",
    "'-1s'",
    "'1e400 GiB'",
    "18446744073709551616",
    "-1",
    "1e999",
    "nan",
    "1979-05-27T07:32:00Z",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "=",
    ",",
    ".",
    "\n",
    "\r\n",
    "#",
    "é",
    "\u{1F600}",
    "\u{feff}",
    "'",
    "\"",
    "\"\"\"",
];

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z '\"\\\\é\n]{1,6}", 0..3)
}

fn environment() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[A-Za-z_ .\"é]{1,6}", "[a-z '\"\\\\é\n]{0,6}", 0..3)
}

fn concurrency() -> impl Strategy<Value = Concurrency> {
    prop_oneof![
        Just(Concurrency::Isolated),
        Just(Concurrency::Sequential),
        Just(Concurrency::Adaptive),
        (1_usize..1_000_000).prop_map(Concurrency::Parallel),
    ]
}

fn limit() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((1_u64..30_000_000_000).prop_map(Duration::from_millis))
}

fn group() -> impl Strategy<Value = Group> {
    let runner =
        prop::sample::select(vec![Runner::Nextest, Runner::CargoTest, Runner::Pytest, Runner::Command]);
    let names = ("[A-Za-z0-9_-]{1,100}", "[a-z?'\"é\n]{0,9}", runner, prop::option::of("[a-z \"]{0,6}"));
    let lists = (words(), words(), words(), words(), prop::collection::vec("[a-z\"é]{1,4}", 1..4));
    let how = (concurrency(), any::<bool>(), limit(), limit(), any::<u32>(), any::<bool>());
    let card = (
        any::<u32>(),
        prop::option::of(1_u64..=i64::MAX as u64),
        environment(),
        environment(),
        "[a-z/.]{0,6}",
    );
    (names, lists, how, card).prop_map(|(names, lists, how, card)| {
        let (name, question, runner, filter) = names;
        let (packages, binaries, paths, runner_arguments, commands) = lists;
        let (concurrency, fail_fast, timeout, group_timeout, retries, retry_on_cpu) = how;
        let (device, gpu_budget_bytes, environment, cpu_environment, directory) = card;
        let cargo = matches!(runner, Runner::Nextest | Runner::CargoTest);
        let only = |is: bool, texts: Vec<String>| if is { texts } else { Vec::new() };
        let commands: BTreeSet<String> = commands.into_iter().filter(|_| runner == Runner::Command).collect();
        Group {
            name,
            question,
            runner,
            packages: only(cargo, packages),
            binaries: only(cargo, binaries),
            filter: filter.filter(|_| runner != Runner::Command),
            paths: only(runner == Runner::Pytest, paths),
            commands: commands
                .into_iter()
                .map(|name| CommandTest { run: vec![name.clone(), "é\"".to_owned()], name })
                .collect(),
            program: only(runner != Runner::Command, runner_arguments.clone()),
            runner_arguments: only(runner != Runner::Command, runner_arguments),
            directory: PathBuf::from(directory),
            environment,
            concurrency,
            fail_fast,
            timeout,
            group_timeout,
            retries,
            device,
            gpu_budget_bytes,
            on_out_of_memory: if retry_on_cpu { OnOutOfMemory::RetryOnCpu } else { OnOutOfMemory::Fail },
            cpu_environment,
        }
    })
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

fn table(texts: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        texts.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn printed(group: &Group) -> String {
    let mut text = "[[group]]\n".to_owned();
    let mut line = |key: &str, value: String| writeln!(text, "{key} = {value}").unwrap();
    line("name", quoted(&group.name));
    line("question", quoted(&group.question));
    let runner = match group.runner {
        Runner::Nextest => "nextest",
        Runner::CargoTest => "cargo-test",
        Runner::Pytest => "pytest",
        Runner::Command => "command",
    };
    line("runner", quoted(runner));
    for (key, texts) in [
        ("packages", &group.packages),
        ("binaries", &group.binaries),
        ("paths", &group.paths),
        ("runner_arguments", &group.runner_arguments),
        ("program", &group.program),
    ] {
        if !texts.is_empty() {
            line(key, list(texts));
        }
    }
    if let Some(filter) = &group.filter {
        line("filter", quoted(filter));
    }
    line("directory", quoted(group.directory.to_str().unwrap()));
    line("environment", table(&group.environment));
    line("cpu_environment", table(&group.cpu_environment));
    let concurrency = match group.concurrency {
        Concurrency::Isolated => "'isolated'".to_owned(),
        Concurrency::Sequential => "'sequential'".to_owned(),
        Concurrency::Adaptive => "'adaptive'".to_owned(),
        Concurrency::Parallel(tests) => format!("{{ parallel = {tests} }}"),
    };
    line("concurrency", concurrency);
    line("fail_fast", group.fail_fast.to_string());
    let limit = |limit: Option<Duration>| {
        limit.map_or("'none'".to_owned(), |limit| format!("'{}'", humantime::format_duration(limit)))
    };
    line("timeout", limit(group.timeout));
    line("group_timeout", limit(group.group_timeout));
    line("retries", group.retries.to_string());
    let budget = group.gpu_budget_bytes.map(|bytes| format!(", budget = '{bytes} B'")).unwrap_or_default();
    line("gpu", format!("{{ device = {}{budget} }}", group.device));
    let retry = group.on_out_of_memory == OnOutOfMemory::RetryOnCpu;
    line("on_out_of_memory", quoted(if retry { "retry_on_cpu" } else { "fail" }));
    for command in &group.commands {
        write!(text, "[[group.command]]\nname = {}\nrun = {}\n", quoted(&command.name), list(&command.run))
            .unwrap();
    }
    text
}

/// What a run of tests in line for the card did.
struct Played {
    /// In the order in which they started, and why.
    started: Vec<(usize, Why)>,
    /// The most that was held at once while only tests ran that fit.
    most_bytes: u64,
    most_at_once: usize,
}

/// Runs tests of which each holds what it really needs; which one ends next is chosen by `ends`.
fn play(capacity: Capacity, most: usize, tests: &[(Option<u64>, u64)], ends: &[usize]) -> Played {
    let mut admission = Admission::new(capacity, most);
    for (test, (known, _)) in tests.iter().enumerate() {
        admission.wait(test, *known);
    }
    let mut running: Vec<(usize, Why)> = Vec::new();
    let mut played = Played { started: Vec::new(), most_bytes: 0, most_at_once: 0 };
    let mut ends = ends.iter().cycle();
    while admission.waiting() + admission.running() > 0 {
        while let Some(start) = admission.start() {
            running.push((start.test, start.why));
            played.started.push((start.test, start.why));
            admission.saw(start.test, tests[start.test].1);
        }
        if running.iter().all(|(_, why)| *why == Why::Fits) {
            let held: u64 = running.iter().map(|(test, _)| tests[*test].1).sum();
            played.most_bytes = played.most_bytes.max(held);
        }
        played.most_at_once = played.most_at_once.max(running.len());
        assert!(!running.is_empty(), "{} wait, nothing runs and nothing starts", admission.waiting());
        let next = ends.next().unwrap() % running.len();
        let (test, _) = running.swap_remove(next);
        admission.ended(test, Some(tests[test].1));
    }
    played
}

const MIB: u64 = 1 << 20;

fn capacity() -> impl Strategy<Value = Capacity> {
    (0..8_192 * MIB, 0..4_096 * MIB, prop::option::of(0..8_192 * MIB)).prop_map(|(card, others, budget)| {
        Capacity { card_bytes: card, used_by_others_bytes: others, budget_bytes: budget }
    })
}

fn need() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 6 => 0..2_048 * MIB, 1 => 0..10_000 * MIB]
}

/// As `play` wants them: `None` for about `unknown` in ten.
fn tests(unknown: u32) -> impl Strategy<Value = Vec<(Option<u64>, u64)>> {
    let test = (need(), 0_u32..10).prop_map(move |(need, draw)| ((draw >= unknown).then_some(need), need));
    prop::collection::vec(test, 0..60)
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_of_configurations_panic(
        parts in prop::collection::vec(prop_oneof![9 => prop::sample::select(FRAGMENTS).prop_map(str::to_owned), 1 => any::<String>()], 0..30),
    ) {
        let _ = parse(&parts.concat());
    }

    #[test]
    fn a_configuration_that_is_printed_is_read_as_it_was(
        groups in prop::collection::vec(group(), 1..4),
        sample_ms in 1_u64..60_000,
    ) {
        let mut groups = groups;
        let mut names = BTreeSet::new();
        groups.retain(|group| names.insert(group.name.clone()));
        let config = Config { sample_every: Duration::from_millis(sample_ms), groups, root: PathBuf::from("root") };
        let mut text = format!("sample_every = '{sample_ms}ms'\n");
        config.groups.iter().for_each(|group| text.push_str(&printed(group)));
        prop_assert_eq!(parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?, config);
    }

    #[test]
    fn tests_whose_needs_are_known_never_hold_more_than_there_is(
        capacity in capacity(), most in 0_usize..12, tests in tests(0), ends in prop::collection::vec(any::<usize>(), 1..40),
    ) {
        let played = play(capacity, most, &tests, &ends);
        prop_assert!(played.most_bytes <= capacity.for_group_bytes());
        prop_assert!(played.most_at_once <= most.max(1));
        for (test, why) in &played.started {
            let too_large = with_margin(tests[*test].1) > capacity.for_group_bytes();
            prop_assert_eq!(*why != Why::Fits, too_large, "only what never fits runs without room");
        }
    }

    #[test]
    fn every_test_starts_once_and_none_is_passed_too_often(
        capacity in capacity(), most in 1_usize..12, tests in tests(4), ends in prop::collection::vec(any::<usize>(), 1..40),
    ) {
        let started: Vec<usize> = play(capacity, most, &tests, &ends).started.into_iter().map(|(test, _)| test).collect();
        let mut sorted = started.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..tests.len()).collect::<Vec<_>>());
        for (place, test) in started.iter().enumerate() {
            let passed = started[..place].iter().filter(|before| *before > test).count();
            prop_assert!(passed <= MOST_PASSES as usize, "{passed} passed test {test}");
        }
    }

    #[test]
    fn any_calls_in_any_order_keep_the_books(
        capacity in capacity(),
        calls in prop::collection::vec((0_u8..5, 0_usize..6, prop::option::of(any::<u64>())), 0..80),
    ) {
        let mut admission = Admission::new(capacity, 3);
        for (call, test, bytes) in calls {
            match call {
                0 => admission.wait(test, bytes),
                1 => admission.others_hold(bytes.unwrap_or(0)),
                2 => admission.saw(test, bytes.unwrap_or(0)),
                3 => admission.ended(test, bytes),
                _ => {
                    let (waited, ran) = (admission.waiting(), admission.running());
                    let started = admission.start().is_some();
                    prop_assert!(started || waited == 0 || ran > 0);
                    prop_assert!(admission.waiting() + usize::from(started) == waited);
                }
            }
            prop_assert!(admission.running() <= 3);
        }
    }

    #[test]
    fn a_constant_slope_is_found_exactly_and_a_fifth_of_wild_values_does_not_move_it(
        first in 0_u64..1 << 40, slope in 0_u64..1 << 30, count in 10_usize..200,
        wild in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..1 << 42), 0..40),
    ) {
        let mut after: Vec<(u64, u64)> = (0..count as u64).map(|test| (test, first + slope * test)).collect();
        let found = Accumulation::of(&after).unwrap();
        prop_assert_eq!((found.bytes_per_test, found.low_bytes_per_test, found.high_bytes_per_test), (slope as f64, slope as f64, slope as f64));
        prop_assert_eq!(found.grows, slope * (count as u64 - 1) >= 4 << 20);
        for (place, bytes) in wild.iter().take(count / 5) {
            after[place.index(count)].1 = *bytes;
        }
        // 0.8 * 0.8 of all pairs are untouched, which is more than half: the middle is one of them.
        let found = Accumulation::of(&after).unwrap();
        prop_assert_eq!(found.bytes_per_test.to_bits(), (slope as f64).to_bits());
    }

    #[test]
    fn noise_around_a_constant_does_not_grow(
        level in (1_u64 << 30)..1 << 40, width in 1_u64..1 << 30, noise in prop::collection::vec(any::<u64>(), 30..300),
    ) {
        let after: Vec<(u64, u64)> =
            noise.iter().enumerate().map(|(test, noise)| (test as u64, level + noise % width)).collect();
        let found = Accumulation::of(&after).unwrap();
        prop_assert!(!found.grows, "{found:?}");
        prop_assert!(found.low_bytes_per_test <= found.bytes_per_test && found.bytes_per_test <= found.high_bytes_per_test);
    }

    #[test]
    fn any_values_have_a_slope_or_none(after in prop::collection::vec((any::<u64>(), any::<u64>()), 0..40)) {
        if let Some(found) = Accumulation::of(&after) {
            prop_assert!(found.low_bytes_per_test <= found.bytes_per_test && found.bytes_per_test <= found.high_bytes_per_test);
        }
    }

    #[test]
    fn a_damaged_history_is_a_new_one(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in any::<prop::sample::Index>()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.json");
        let whole = br#"{"schema":1,"groups":{"a":{"runs":1,"tests":{"t":{"peak_bytes":[5],"duration_ms":1,"ooms":0,"last_run":1}}}}}"#;
        let mut damaged = whole[..cut.index(whole.len())].to_vec();
        damaged.extend(bytes);
        std::fs::write(&path, &damaged).unwrap();
        let (history, note) = History::read(&path).unwrap();
        prop_assert_eq!(history == History::default(), note.is_some());
    }
}
