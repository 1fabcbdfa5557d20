//! `cargo nextest run`: which tests there are, what it says of those that it ran, and the gate before each.
//!
//! Retries are ours, so that a test that ran out of memory is not tried again on a full card: `nextest` is told not to. What a
//! test printed is known if it failed; of one that passed `nextest` does not tell. If its profile ends slow tests
//! (`terminate-after`), waiting at the gate for room on the card counts as slow.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::{Listed, cargo};
use crate::error::Result;
use crate::gate::{CHAIN_VARIABLE, chain};
use crate::run::{Capture, Context, Halt};

/// What was listed.
#[derive(Debug)]
pub(crate) struct Suite {
    /// Binary id and name of each test.
    tests: Vec<(String, String)>,
    /// By what `nextest` calls it in its messages: `package::binary$test`. A library and a program may share a name.
    by_message: HashMap<String, Vec<usize>>,
    by_id: HashMap<(String, String), usize>,
    /// What it builds for: `x86_64-unknown-linux-gnu`.
    triples: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct List {
    rust_build_meta: BuildMeta,
    rust_suites: BTreeMap<String, ListedBinary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BuildMeta {
    #[serde(default)]
    target_platforms: Vec<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    triple: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListedBinary {
    package_name: String,
    binary_id: String,
    binary_name: String,
    #[serde(default)]
    testcases: BTreeMap<String, ListedTest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListedTest {
    ignored: bool,
    filter_match: FilterMatch,
}

#[derive(Deserialize)]
struct FilterMatch {
    status: String,
}

/// What `nextest` says of a test that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// `package::binary$test`.
    pub(crate) name: String,
    pub(crate) passed: bool,
    /// It was not run.
    pub(crate) ignored: bool,
    /// What it printed, if it failed: beginning and end.
    pub(crate) output: Vec<u8>,
}

#[derive(Deserialize)]
struct Line {
    r#type: String,
    event: String,
    name: Option<String>,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    reason: String,
}

pub(super) fn list(context: &Context<'_>) -> Result<(Suite, Vec<Listed>), Halt> {
    let mut words = arguments(context, "list");
    words.extend(["--message-format", "json"].map(str::to_owned));
    // Else nothing tells those that are ignored and were asked for from those that were not asked for.
    let runs_ignored = context.group.runner_arguments.iter().any(|word| word.starts_with("--run-ignored"));
    if !runs_ignored {
        words.extend(["--run-ignored", "all"].map(str::to_owned));
    }
    let (errand, output) = context.errand_output(&words, |_| {}, cargo::MOST_BYTES)?;
    if !errand.ended.success() {
        return Err(context.failed("cargo nextest list", &errand).into());
    }
    let list: List = serde_json::from_slice(&output).map_err(|error| {
        context.broken("cargo nextest list", format!("its output is not as expected: {error}"))
    })?;
    let mut suite = Suite {
        tests: Vec::new(),
        by_message: HashMap::new(),
        by_id: HashMap::new(),
        triples: list.rust_build_meta.target_platforms.into_iter().map(|platform| platform.triple).collect(),
    };
    let mut listed = Vec::new();
    for binary in list.rust_suites.into_values() {
        for (name, test) in binary.testcases {
            if test.filter_match.status != "matches" {
                continue;
            }
            let ignored = test.ignored && !runs_ignored;
            let number = suite.tests.len();
            let message = format!("{}::{}${name}", binary.package_name, binary.binary_name);
            suite.by_message.entry(message).or_default().push(number);
            suite.by_id.insert((binary.binary_id.clone(), name.clone()), number);
            listed.push(Listed { id: format!("{} {name}", binary.binary_id), skipped: ignored });
            suite.tests.push((binary.binary_id.clone(), name));
        }
    }
    Ok((suite, listed))
}

impl Suite {
    /// All tests, so many at once, each of which asks at the gate.
    pub(crate) fn all(&self, context: &Context<'_>, threads: usize, socket: &Path, gate: &Path) -> Command {
        let mut words = arguments(context, "run");
        words.extend(
            ["--message-format", "libtest-json-plus", "--no-fail-fast", "--retries", "0"].map(str::to_owned),
        );
        words.extend(["--test-threads".to_owned(), threads.to_string()]);
        let mut command = context.command(&words);
        command.env("NEXTEST_EXPERIMENTAL_LIBTEST_JSON", "1");
        let mut before = Vec::new();
        for triple in &self.triples {
            let variable = runner_variable(triple);
            let set =
                context.group.environment.get(&variable).cloned().or_else(|| std::env::var(&variable).ok());
            let set = set.map(|words| words.split_whitespace().map(str::to_owned).collect());
            before = set.or_else(|| configured_runner(&context.directory, triple)).unwrap_or(before);
            command.env(variable, gate_words(gate, socket));
        }
        if !before.is_empty() {
            command.env(CHAIN_VARIABLE, chain(&before));
        }
        command
    }

    /// One test, with its output as it comes.
    pub(super) fn one(&self, context: &Context<'_>, test: usize) -> Command {
        let (binary, name) = &self.tests[test];
        let mut words = arguments(context, "run");
        words.extend(["--no-capture", "--retries", "0", "-E"].map(str::to_owned));
        words.push(format!("binary_id(={}) & test(={})", quoted(binary), quoted(name)));
        context.command(&words)
    }

    /// The test that asks at the gate.
    pub(crate) fn by_id(&self, binary: &str, name: &str) -> Option<usize> {
        self.by_id.get(&(binary.to_owned(), name.to_owned())).copied()
    }

    /// The tests that a message may be about.
    pub(crate) fn by_message(&self, name: &str) -> &[usize] {
        self.by_message.get(name).map_or(&[], Vec::as_slice)
    }
}

fn arguments(context: &Context<'_>, verb: &str) -> Vec<String> {
    let group = context.group;
    let mut words = cargo::program(context);
    words.extend(["nextest", verb].map(str::to_owned));
    words.extend(cargo::selection(group));
    words.extend(group.filter.iter().flat_map(|filter| ["-E".to_owned(), filter.clone()]));
    words.extend(group.runner_arguments.iter().cloned());
    words
}

/// A name inside a matcher of a filterset: these characters mean something there.
fn quoted(name: &str) -> String {
    let mut quoted = String::new();
    for character in name.chars() {
        if matches!(character, '\\' | ')' | ',' | '(') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted
}

fn runner_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", triple.to_uppercase().replace(['-', '.'], "_"))
}

/// `nextest` splits this at spaces, so neither path may hold one: both are in the private directory.
fn gate_words(gate: &Path, socket: &Path) -> String {
    format!("{} test-groups --gate {} --", gate.display(), socket.display())
}

/// The runner that a project's own `.cargo/config.toml` sets for a target, in the directory or above it. One that is set for a
/// `cfg(…)` is not looked for.
fn configured_runner(directory: &Path, triple: &str) -> Option<Vec<String>> {
    let mut files = directory
        .ancestors()
        .flat_map(|above| ["config.toml", "config"].map(|name| above.join(".cargo").join(name)));
    files.find_map(|file| runner_in(&std::fs::read_to_string(file).ok()?, triple))
}

fn runner_in(config: &str, triple: &str) -> Option<Vec<String>> {
    let config: toml::Table = config.parse().ok()?;
    match config.get("target")?.get(triple)?.get("runner")? {
        toml::Value::String(words) => Some(words.split_whitespace().map(str::to_owned).collect()),
        toml::Value::Array(words) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// Reads the messages of `cargo nextest run`, in bounded memory however long a line is.
pub(crate) fn read(output: &mut dyn Read, mut heard: impl FnMut(Report)) {
    let mut line = Capture::default();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = output.read(&mut buffer) {
        for piece in buffer[..bytes].split_inclusive(|byte| *byte == b'\n') {
            line.push(piece);
            if piece.ends_with(b"\n")
                && let Some(report) = parse(&std::mem::take(&mut line))
            {
                heard(report);
            }
        }
    }
}

fn parse(line: &Capture) -> Option<Report> {
    let said = match line.whole() {
        Some(bytes) => serde_json::from_slice(&bytes).ok()?,
        None => parse_long(&line.bytes())?,
    };
    let Line { r#type, event, name, stdout, reason } = said;
    if r#type != "test" || !matches!(event.as_str(), "ok" | "failed" | "timeout" | "ignored") {
        return None;
    }
    let why = if reason.is_empty() { String::new() } else { format!("\n[{reason}]") };
    let output = (stdout + &why).into_bytes();
    Some(Report { name: name?, passed: event == "ok", ignored: event == "ignored", output })
}

/// A line whose middle is missing: what is before the output is whole, and the output is a text with `\` before what is special.
fn parse_long(bytes: &[u8]) -> Option<Line> {
    const OUTPUT: &[u8] = b",\"stdout\":\"";
    let at = bytes.windows(OUTPUT.len()).position(|window| window == OUTPUT)?;
    let mut head = bytes[..at].to_vec();
    head.push(b'}');
    let mut line: Line = serde_json::from_slice(&head).ok()?;
    line.stdout = unescaped(&bytes[at + OUTPUT.len()..]);
    Some(line)
}

/// The text between quotes, as far as it can be told.
fn unescaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('r') => plain.push('\r'),
                // Colours and the like: four digits.
                Some('u') => {
                    let digits: String = characters.clone().take(4).collect();
                    if let Some(other) = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                        plain.push(other);
                    }
                    characters.by_ref().take(4).for_each(drop);
                }
                Some(other) => plain.push(other),
                None => break,
            },
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reports(bytes: &[u8]) -> Vec<Report> {
        let mut reports = Vec::new();
        read(&mut &*bytes, |report| reports.push(report));
        reports
    }

    #[test]
    fn a_failure_with_a_hundred_megabytes_keeps_its_beginning_and_its_end() {
        let head = r#"{"type":"test","event":"failed","name":"p::b$t","exec_time":0.1,"stdout":"first\n"#;
        let mut line = head.as_bytes().to_vec();
        line.extend(r"loud \u001b[31m\n".bytes().cycle().take(100 << 20));
        line.extend(
            b"\\nCUDA out of memory\\n\"}\n{\"type\":\"test\",\"event\":\"ok\",\"name\":\"p::b$u\"}\n",
        );
        let reports = reports(&line);
        assert_eq!(reports.len(), 2);
        assert_eq!((reports[0].name.as_str(), reports[0].passed), ("p::b$t", false));
        assert!(reports[0].output.starts_with(b"first\n"));
        assert!(reports[0].output.ends_with(b"\nCUDA out of memory\n"));
        assert!(reports[0].output.len() < 300 << 10);
        assert!(reports[1].passed);
    }

    #[test]
    fn messages_about_suites_and_starts_say_nothing_new() {
        assert_eq!(reports(b"{\"type\":\"suite\",\"event\":\"failed\"}\nno json\n\xff\n"), []);
        assert_eq!(reports(b"{\"type\":\"test\",\"event\":\"started\",\"name\":\"a\"}\n"), []);
        assert!(reports(b"{\"type\":\"test\",\"event\":\"ignored\",\"name\":\"a\"}\n")[0].ignored);
    }

    #[test]
    fn the_runner_of_a_project_is_found_in_either_form() {
        let triple = "x86_64-unknown-linux-gnu";
        let text = |runner: &str| format!("[target.{triple}]\nrunner = {runner}\n");
        assert_eq!(runner_in(&text("\"a b\""), triple), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(runner_in(&text("[\"a b\"]"), triple), Some(vec!["a b".to_owned()]));
        assert_eq!(runner_in(&text("[\"a b\"]"), "other"), None);
        assert_eq!(runner_variable(triple), "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER");
    }

    proptest! {
        #[test]
        fn whatever_is_said_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            reports(&bytes);
            parse_long(&bytes);
            unescaped(&bytes);
        }

        #[test]
        fn a_text_comes_out_of_its_quotes_as_it_went_in(text in "[ -~\\n\\t\\u{1}é]*") {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(unescaped(&quoted.as_bytes()[1..]), text);
        }
    }
}
