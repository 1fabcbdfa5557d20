//! `python -m pytest` with our plugin: it lists the tests, runs one, or works through many as it is told.

use std::fs;
use std::process::Command;
use std::sync::mpsc::channel;

use serde::Deserialize;
use serde_json::Value;

use super::Listed;
use crate::error::{Error, Result};
use crate::run::{Context, Halt, Incoming, Socket};
use crate::vram::OutOfMemory;

/// The plugin, as it is written beside the run.
const PLUGIN: &str = include_str!("../pytest_plugin.py");
const MODULE: &str = "omnimind_test_groups";
/// Tests that cannot be listed in this many bytes of anything else are not.
const MOST_BYTES: u64 = 1 << 20;
/// Nothing shorter says that memory ran out.
const LEAST_WORDS_BYTES: usize = 8;
/// The first version with the hooks that the plugin takes.
const LEAST_VERSION: u32 = 7;

/// What was collected.
#[derive(Debug, Default)]
pub(crate) struct Suite {
    ids: Vec<String>,
    root: String,
    ini: Option<String>,
    /// Files that could not be collected, and why.
    pub(crate) errors: Vec<(String, String)>,
    /// pytest was asked to go on in spite of these.
    goes_on: bool,
}

/// What a process does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    List,
    Run(usize),
    Worker(u32),
}

/// What the plugin says of a test that it ran.
#[derive(Debug, Deserialize)]
pub(crate) struct Finished {
    pub(crate) id: String,
    pub(crate) outcome: String,
    pub(crate) short: Option<String>,
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) output: String,
    torch_before: Option<TorchMemory>,
    torch_after: Option<TorchMemory>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct TorchMemory {
    allocated: u64,
    reserved: u64,
}

impl Finished {
    /// Whether it, what pytest kept of its output, or what was `printed` past that says that a device ran out of memory.
    pub(crate) fn out_of_memory(&self, printed: &[u8], context: &Context<'_>) -> Option<OutOfMemory> {
        let texts = [self.error.as_bytes(), self.output.as_bytes(), printed].join(&b'\n');
        // Of most tests all that is printed is a dot, and looking costs more than they take.
        if texts.trim_ascii().len() < LEAST_WORDS_BYTES {
            return None;
        }
        context.forensics.out_of_memory(&mut texts.as_slice())
    }

    /// What it says of itself in the report.
    pub(crate) fn message(&self) -> Option<String> {
        let short = self.short.as_deref().and_then(crate::run::last_words);
        short.or_else(|| crate::run::last_words(&self.error))
    }

    /// What the allocator of `PyTorch` held before and after, in words.
    pub(crate) fn torch(&self) -> Option<String> {
        let after = self.torch_after?;
        let before = self.torch_before.unwrap_or(TorchMemory { allocated: 0, reserved: 0 });
        Some(format!(
            "{}: PyTorch had {} bytes allocated and {} reserved before, {} and {} after",
            self.id, before.allocated, before.reserved, after.allocated, after.reserved
        ))
    }
}

pub(super) fn check(context: &Context<'_>) -> Result<(), Halt> {
    let python = context.program(&["python3"]);
    let missing = |reason: String, next_step: &str| Error::RunnerMissing {
        group: context.group.name.clone(),
        program: python.join(" "),
        reason,
        next_step: next_step.to_owned(),
    };
    let mut words = python.clone();
    // Importing all of it takes ten times as long.
    words.extend(["-c", "from _pytest import __version__; print(__version__)"].map(str::to_owned));
    let install = "`pip install pytest`, or set `program` of the group to a Python that has it";
    let (errand, output) = match context.errand_output(&words, |_| {}, MOST_BYTES) {
        Ok(ran) => ran,
        Err(Halt::Broken(Error::RunnerMissing { reason, .. })) => {
            return Err(missing(reason, "install Python, or set `program` of the group").into());
        }
        Err(halt) => return Err(halt),
    };
    if !errand.ended.success() {
        return Err(missing("it cannot import pytest".to_owned(), install).into());
    }
    let version = String::from_utf8_lossy(&output).trim().to_owned();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < LEAST_VERSION) {
        let reason = format!("its pytest is {version}, and {LEAST_VERSION} is needed");
        return Err(missing(reason, "`pip install --upgrade pytest`").into());
    }
    Ok(())
}

/// Collects in a process that does nothing else. Tests that cannot be collected are no reason to fail here.
pub(super) fn list(context: &Context<'_>) -> Result<(Suite, Vec<Listed>), Halt> {
    let (said, heard) = channel();
    write_plugin(context)?;
    let directory = context.private.join("list");
    let file = |source| Error::File { path: directory.clone(), source };
    fs::create_dir_all(&directory).map_err(file)?;
    let socket = Socket::listen(&directory, move |incoming| {
        let Incoming::Line(peer, line) = incoming else { return };
        let complete = line["event"] == "all_collected";
        // Nobody listens only once the program has ended.
        let _ = said.send(line);
        if complete {
            peer.answer(&Value::Null);
        }
    })
    .map_err(file)?;
    let words = arguments(context, &context.group.paths);
    let environment = |command: &mut Command| set_up(context, command, &socket, Role::List);
    let (errand, output) = context.errand_output(&words, environment, MOST_BYTES)?;
    context.log.write("pytest", &output);
    drop(socket);
    let mut suite = Suite::default();
    let mut complete = false;
    for line in heard.try_iter() {
        complete |= suite.heard(&line);
    }
    if !complete {
        let said = String::from_utf8_lossy(&output);
        let words = crate::run::last_words(&said).unwrap_or_default();
        return Err(context.failed(&format!("pytest, while it collected\n{words}\n"), &errand).into());
    }
    let tests = suite.listed();
    Ok((suite, tests))
}

/// Where every pytest of the group finds it.
pub(crate) fn write_plugin(context: &Context<'_>) -> Result<()> {
    let path = context.private.join(format!("{MODULE}.py"));
    fs::write(&path, PLUGIN).map_err(|source| Error::File { path, source })
}

impl Suite {
    /// What was collected, in its order.
    pub(crate) fn listed(&self) -> Vec<Listed> {
        self.ids.iter().map(|id| Listed { id: id.clone(), skipped: false }).collect()
    }

    /// Returns whether that was all.
    pub(crate) fn heard(&mut self, line: &Value) -> bool {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        match line["event"].as_str() {
            Some("collected") => {
                let ids = line["ids"].as_array().into_iter().flatten();
                self.ids.extend(ids.filter_map(|id| id.as_str().map(str::to_owned)));
            }
            Some("collect_error") => {
                self.errors.push((text("id").unwrap_or_default(), text("message").unwrap_or_default()));
            }
            Some("all_collected") => {
                self.root = text("rootdir").unwrap_or_default();
                self.ini = text("inipath");
                self.goes_on = line["goes_on"].as_bool().unwrap_or(false);
                return true;
            }
            _ => {}
        }
        false
    }

    /// Whether tests do not run because some could not be collected.
    pub(crate) fn stops(&self) -> bool {
        !self.errors.is_empty() && !self.goes_on
    }

    /// One test: only its file is collected, with the same root, so that it is called the same.
    pub(super) fn one(&self, context: &Context<'_>, test: usize) -> Command {
        let id = &self.ids[test];
        let file = id.split("::").next().unwrap_or(id);
        let mut words = vec!["--rootdir".to_owned(), self.root.clone()];
        words.extend(self.ini.iter().flat_map(|ini| ["-c".to_owned(), ini.clone()]));
        words.push(format!("{}/{file}", self.root));
        let mut command = context.command(&arguments(context, &words));
        command.env("OMNIMIND_TEST_ONLY", id);
        command
    }
}

/// A worker, which works through what it is told.
pub(crate) fn worker(context: &Context<'_>) -> Command {
    context.command(&arguments(context, &context.group.paths))
}

/// Loads the plugin and tells it what to do.
pub(crate) fn set_up(context: &Context<'_>, command: &mut Command, socket: &Socket, role: Role) {
    let mut paths = vec![context.private.to_owned()];
    let inherited = context.group.environment.get("PYTHONPATH").map(Into::into);
    if let Some(inherited) = inherited.or_else(|| std::env::var_os("PYTHONPATH")) {
        paths.extend(std::env::split_paths(&inherited));
    }
    let role = match role {
        Role::List => "list".to_owned(),
        Role::Run(test) => format!("run:{test}"),
        Role::Worker(worker) => format!("worker:{worker}"),
    };
    command
        // A private directory has no `:` in its name.
        .env("PYTHONPATH", std::env::join_paths(paths).unwrap_or_else(|_| context.private.into()))
        .env("OMNIMIND_TEST_SOCKET", socket.path())
        .env("OMNIMIND_TEST_ROLE", role)
        .env("PYTHONUNBUFFERED", "1");
}

fn arguments(context: &Context<'_>, paths: &[String]) -> Vec<String> {
    let group = context.group;
    let mut words = context.program(&["python3"]);
    words.extend(["-m", "pytest", "-p", MODULE].map(str::to_owned));
    words.extend(group.filter.iter().flat_map(|filter| ["-k".to_owned(), filter.clone()]));
    words.extend(group.runner_arguments.iter().cloned());
    words.extend(paths.iter().cloned());
    words
}
