//! From the file to groups: defaults, and what keys mean together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::file::{Defaults, File, GroupTable};
use super::keys::{Problem, command_at, group_at, group_name, key_at};
use super::value::{RUNNERS, Time, short, word};
use super::{CommandTest, Concurrency, Config, Group, OnOutOfMemory, Runner};

const SAMPLE_EVERY: Duration = Duration::from_millis(50);
const SAMPLE_LEAST: Duration = Duration::from_millis(1);
const SAMPLE_MOST: Duration = Duration::from_mins(1);
/// Logs are named after groups, and names of files have an end.
const LONGEST_NAME: usize = 100;

/// The configuration, with whatever is wrong added to `problems`.
pub(super) fn config(file: File, root: &DeTable<'_>, path: &Path, problems: &mut Vec<Problem>) -> Config {
    let File { sample_every, defaults, group } = file;
    let sample_every = sample_every.map_or(SAMPLE_EVERY, |Time(time)| time);
    if !(SAMPLE_LEAST..=SAMPLE_MOST).contains(&sample_every) {
        let at = root.get_key_value("sample_every").map_or(0, |(key, _)| key.span().start);
        problems.push(Problem { at, text: "sample_every is from \"1ms\" to \"1m\"".to_owned() });
    }
    if group.is_empty() {
        problems.push(Problem { at: 0, text: "there is no group; begin one with [[group]]".to_owned() });
    }
    let mut names = BTreeSet::new();
    let mut groups = Vec::new();
    environment_problems(&defaults.environment, "`environment` of [defaults]", 0, problems);
    for (place, table) in group.into_iter().enumerate() {
        let at = key_at(root, place, "name").unwrap_or_else(|| group_at(root, place));
        if !names.insert(table.name.clone()) {
            problems.push(Problem {
                at,
                text: format!("there is another group \"{}\" before", short(&table.name)),
            });
        }
        Checked { root, place, problems }.group(&table);
        groups.push(resolved(table, &defaults));
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    Config { sample_every, groups, root: directory.unwrap_or(Path::new(".")).to_owned() }
}

fn resolved(table: GroupTable, defaults: &Defaults) -> Group {
    let mut environment = defaults.environment.clone();
    environment.extend(table.environment);
    let cpu_environment = table.cpu_environment.or_else(|| defaults.cpu_environment.clone());
    Group {
        name: table.name,
        question: table.question,
        runner: table.runner,
        packages: table.packages,
        binaries: table.binaries,
        filter: table.filter,
        paths: table.paths,
        commands: table
            .command
            .into_iter()
            .map(|test| CommandTest { name: test.name, run: test.run })
            .collect(),
        runner_arguments: table.runner_arguments,
        program: table.program,
        directory: PathBuf::from(table.directory.unwrap_or_else(|| ".".to_owned())),
        environment,
        concurrency: table.concurrency.or(defaults.concurrency).unwrap_or(Concurrency::Sequential),
        fail_fast: table.fail_fast.or(defaults.fail_fast).unwrap_or(false),
        timeout: table.timeout.or(defaults.timeout).and_then(|limit| limit.0),
        group_timeout: table.group_timeout.or(defaults.group_timeout).and_then(|limit| limit.0),
        retries: table.retries.or(defaults.retries).unwrap_or(0),
        device: table.gpu.device.or(defaults.gpu.device).unwrap_or(0),
        gpu_budget_bytes: table.gpu.budget.or(defaults.gpu.budget).map(|size| size.0),
        on_out_of_memory: table.on_out_of_memory.or(defaults.on_out_of_memory).unwrap_or(OnOutOfMemory::Fail),
        cpu_environment: cpu_environment
            .unwrap_or_else(|| BTreeMap::from([("CUDA_VISIBLE_DEVICES".to_owned(), String::new())])),
    }
}

/// Looks at one group.
struct Checked<'c, 'i> {
    root: &'c DeTable<'i>,
    place: usize,
    problems: &'c mut Vec<Problem>,
}

impl Checked<'_, '_> {
    fn problem(&mut self, key: &str, text: &str) {
        let at = key_at(self.root, self.place, key).unwrap_or_else(|| group_at(self.root, self.place));
        let text = format!("{}: {text}", group_name(self.root, self.place));
        self.problems.push(Problem { at, text });
    }

    fn group(&mut self, table: &GroupTable) {
        let name = &table.name;
        if name.is_empty() {
            self.problem("name", "the name is empty");
        } else if name.len() > LONGEST_NAME {
            self.problem("name", &format!("the name is longer than {LONGEST_NAME} letters"));
        } else if let Some(wrong) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_".contains(*c)) {
            let reason = format!(
                "the name holds {wrong:?}, and may hold letters from a to z, digits, \"-\" and \"_\""
            );
            self.problem("name", &reason);
        }
        self.belonging(table.runner);
        for (key, texts) in [
            ("packages", &table.packages),
            ("binaries", &table.binaries),
            ("paths", &table.paths),
            ("program", &table.program),
        ] {
            for text in texts {
                if text.is_empty() {
                    self.problem(key, &format!("`{key}` holds an empty text"));
                } else if text.starts_with('-') && (key != "program" || texts.first() == Some(text)) {
                    self.problem(key, &format!("\"{}\" in `{key}` would be read as an option", short(text)));
                }
            }
        }
        let directory = table.directory.iter();
        for (key, texts) in [
            ("packages", table.packages.iter().collect::<Vec<_>>()),
            ("binaries", table.binaries.iter().collect()),
            ("paths", table.paths.iter().collect()),
            ("program", table.program.iter().collect()),
            ("runner_arguments", table.runner_arguments.iter().collect()),
            ("filter", table.filter.iter().collect()),
            ("directory", directory.collect()),
        ] {
            if texts.iter().any(|text| text.contains('\0')) {
                self.problem(key, &format!("`{key}` holds a zero byte, which no program can be given"));
            }
        }
        for (key, environment) in
            [("environment", Some(&table.environment)), ("cpu_environment", table.cpu_environment.as_ref())]
        {
            let at = key_at(self.root, self.place, key).unwrap_or_else(|| group_at(self.root, self.place));
            let named = format!("`{key}` of {}", group_name(self.root, self.place));
            environment_problems(environment.unwrap_or(&BTreeMap::new()), &named, at, self.problems);
        }
        self.commands(table);
    }

    /// Keys that the runner has no use for.
    fn belonging(&mut self, runner: Runner) {
        use Runner::{CargoTest, Command, Nextest, Pytest};
        for (key, runners) in [
            ("packages", &[Nextest, CargoTest][..]),
            ("binaries", &[Nextest, CargoTest]),
            ("filter", &[Nextest, CargoTest, Pytest]),
            ("paths", &[Pytest]),
            ("command", &[Command]),
            ("runner_arguments", &[Nextest, CargoTest, Pytest]),
            ("program", &[Nextest, CargoTest, Pytest]),
        ] {
            if !runners.contains(&runner) && key_at(self.root, self.place, key).is_some() {
                let known: Vec<&str> = runners.iter().map(|runner| word(&RUNNERS, runner)).collect();
                let known = known.join("\", \"");
                let runner = word(&RUNNERS, &runner);
                let text =
                    format!("`{key}` is for the runner \"{known}\", and means nothing to \"{runner}\"");
                self.problem(key, &text);
            }
        }
    }

    fn commands(&mut self, table: &GroupTable) {
        if table.runner == Runner::Command && table.command.is_empty() {
            self.problem("runner", "there is no command; add [[group.command]] with `name` and `run`");
        }
        let mut names = BTreeSet::new();
        for (at, command) in table.command.iter().enumerate() {
            let name = short(&command.name);
            let wrong = if command.name.trim().is_empty() {
                "the name of a command is empty".to_owned()
            } else if !names.insert(&command.name) {
                format!("there is another command \"{name}\" before")
            } else if command.run.first().is_none_or(String::is_empty) {
                format!("the command \"{name}\" has no program: run = [\"program\", \"argument\"]")
            } else if command.run.iter().any(|text| text.contains('\0')) {
                format!("the command \"{name}\" holds a zero byte, which no program can be given")
            } else {
                continue;
            };
            let text = format!("{}: {wrong}", group_name(self.root, self.place));
            self.problems.push(Problem { at: command_at(self.root, self.place, at), text });
        }
    }
}

fn environment_problems(
    environment: &BTreeMap<String, String>,
    named: &str,
    at: usize,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in environment {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            let text = format!(
                "`{}` in {named} cannot be set: a name is not empty and holds no \"=\", and nothing holds a zero byte",
                short(key)
            );
            problems.push(Problem { at, text });
        }
    }
}
