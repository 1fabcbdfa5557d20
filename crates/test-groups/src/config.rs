//! `test-groups.toml`: the groups, in the order in which they run, and how each is to be run.
//!
//! ```toml
//! [[group]]
//! name = "embeddings"
//! question = "Do real weights come back as they were?"
//! runner = "pytest"
//! paths = ["tests/embeddings"]
//! concurrency = "adaptive"                  # or "isolated", "sequential", { parallel = 4 }
//! timeout = "5m"
//! on_out_of_memory = "retry_on_cpu"
//! gpu = { device = 0, budget = "3 GiB" }
//! ```

mod check;
pub(crate) mod file;
mod keys;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::de::DeTable;

use crate::error::{Error, Result};

/// A file beyond this is no configuration.
const MOST_BYTES: u64 = 4 << 20;
/// More than so many problems are only counted.
const MOST_PROBLEMS: usize = 20;

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The time between two looks at the card; 50 ms.
    pub sample_every: Duration,
    /// The groups, in the order of the file.
    pub groups: Vec<Group>,
    /// The directory of the file: relative paths in it start here.
    pub root: PathBuf,
}

impl Config {
    /// The configuration in a file. Its directory becomes [`Config::root`].
    ///
    /// # Errors
    ///
    /// [`Error::File`] if it cannot be read; [`Error::Config`] with all that is wrong, line by line.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        let refused = |reason: String| Error::Config { path: path.to_owned(), reason };
        if bytes.len() as u64 > MOST_BYTES {
            return Err(refused(format!("it is larger than {} MiB: no configuration", MOST_BYTES >> 20)));
        }
        let text =
            String::from_utf8(bytes).map_err(|error| refused(format!("it is no UTF-8 text: {error}")))?;
        Self::parse(&text, path)
    }

    /// The configuration in a text. `path` is where it comes from: for errors, and for [`Config::root`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with all that is wrong, line by line, and the nearest that would be right.
    ///
    /// ```
    /// use std::path::Path;
    /// use test_groups::Config;
    ///
    /// let text = "[[group]]\nname = 'agents'\nrunner = 'pytest'\nconcurency = 'adaptive'";
    /// let error = Config::parse(text, Path::new("test-groups.toml")).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "test-groups.toml: line 4, column 1: unknown key `concurency` in group \"agents\"; did you mean `concurrency`?",
    /// );
    /// ```
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut problems = Vec::new();
        let config = Self::with_problems(text, path, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => {
                problems.sort_by_key(|problem| problem.at);
                let said = problems.iter().take(MOST_PROBLEMS);
                let mut said: Vec<String> = said
                    .map(|problem| format!("{}: {}", keys::position(text, problem.at), problem.text))
                    .collect();
                if problems.len() > MOST_PROBLEMS {
                    said.push(format!("and {} more", problems.len() - MOST_PROBLEMS));
                }
                Err(Error::Config { path: path.to_owned(), reason: said.join("\n") })
            }
        }
    }

    fn with_problems(text: &str, path: &Path, problems: &mut Vec<keys::Problem>) -> Option<Self> {
        let mut failed = |error: toml::de::Error| {
            problems.push(keys::Problem { at: keys::start(error.span()), text: error.message().to_owned() });
        };
        let root = DeTable::parse(text).map_err(&mut failed).ok()?;
        let reader = toml::Deserializer::parse(text).map_err(&mut failed).ok()?;
        keys::unknown(root.get_ref(), problems);
        if !problems.is_empty() {
            return None;
        }
        match file::File::deserialize(reader) {
            Ok(file) => Some(check::config(file, root.get_ref(), path, problems)),
            Err(error) => {
                problems
                    .push(keys::Problem { at: keys::start(error.span()), text: error.message().to_owned() });
                None
            }
        }
    }
}

/// One group of tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name: letters, digits, `-` and `_`; unique.
    pub name: String,
    /// The question that it answers.
    pub question: String,
    /// What runs it.
    pub runner: Runner,
    /// Cargo packages (`-p`); empty means all of the workspace. For `nextest` and `cargo-test`.
    pub packages: Vec<String>,
    /// Test binaries (`--test`); empty means all. For `nextest` and `cargo-test`.
    pub binaries: Vec<String>,
    /// Which tests: a filterset (`nextest`), a part of the name (`cargo-test`), an expression of `-k` (`pytest`).
    pub filter: Option<String>,
    /// Files and directories of tests. For `pytest`; empty means what its own configuration says.
    pub paths: Vec<String>,
    /// Program and arguments. For `command`; each is one test, named after [`CommandTest::name`].
    pub commands: Vec<CommandTest>,
    /// What the runner gets in addition, before its own separator: `["--release"]`.
    pub runner_arguments: Vec<String>,
    /// The program instead of `cargo` or `python3`: `["/venv/bin/python"]`, `["uv", "run", "python"]`.
    pub program: Vec<String>,
    /// Where it runs, relative to the file's own directory.
    pub directory: PathBuf,
    /// In addition to the environment that it inherits.
    pub environment: BTreeMap<String, String>,
    /// How many at once.
    pub concurrency: Concurrency,
    /// Whether the first failure ends the group.
    pub fail_fast: bool,
    /// How long one test may take; `None` for as long as it wants.
    pub timeout: Option<Duration>,
    /// How long the group may take.
    pub group_timeout: Option<Duration>,
    /// How often a test that failed, not for lack of memory, is tried again.
    pub retries: u32,
    /// The card that is watched.
    pub device: u32,
    /// What the group may hold of it at once, in bytes; `None` for all that is free.
    pub gpu_budget_bytes: Option<u64>,
    /// What becomes of a test that ran out of device memory.
    pub on_out_of_memory: OnOutOfMemory,
    /// What makes a test use the processor: `CUDA_VISIBLE_DEVICES=""` by default.
    pub cpu_environment: BTreeMap<String, String>,
}

/// One test of the runner `command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTest {
    /// What it is called.
    pub name: String,
    /// Program and arguments; no shell.
    pub run: Vec<String>,
}

/// What runs a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runner {
    /// `cargo nextest run`, a process per test.
    Nextest,
    /// The test binaries that `cargo test --no-run` builds; each test in a process of its own.
    CargoTest,
    /// `python -m pytest`, with our plugin.
    Pytest,
    /// Any commands; each is a test, passed if it exits with 0.
    Command,
}

/// How many tests at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// One at a time, each in a process of its own: nothing of one test is left for the next.
    Isolated,
    /// One at a time, in order, in one process where the runner has one: what tests leave behind adds up, and is seen.
    Sequential,
    /// So many at once.
    Parallel(usize),
    /// As many at once as the card has room for, by what each test needed last time.
    Adaptive,
}

/// What becomes of a test that ran out of device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOutOfMemory {
    /// It failed.
    Fail,
    /// It runs again with [`Group::cpu_environment`], and counts as passed on the processor if it passes.
    RetryOnCpu,
}
