//! What a log says, ready to be printed or saved.

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::error::{Error, Result};
use crate::growth::Growth;
use crate::oom::{Numbers, Source};
use crate::patterns::Severity;

/// The version of [`Report`] as it is saved. It changes when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// Everything that was concluded from one or several logs of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The logs that were read.
    pub logs: Vec<Log>,
    /// Tests that ran: all but the skipped ones.
    pub tests_run: u64,
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that ended in an error outside themselves: in setup, teardown, or while they were collected.
    pub errors: u64,
    /// Tests that were skipped.
    pub skipped: u64,
    /// Tests that were expected to fail, and did.
    pub expected_failures: u64,
    /// Tests that were expected to fail, and did not.
    pub unexpected_passes: u64,
    /// Passed, or failed as expected, of those that ran: from 0 to 1. `None` if none ran.
    pub success_rate: Option<f64>,
    /// Where the numbers of tests come from.
    pub counted_from: CountedFrom,
    /// How long the runs took together, in seconds, where the log says so.
    pub duration_s: Option<f64>,
    /// Out-of-memory errors. However often a test prints them, it has one.
    pub oom_total: u64,
    /// How many of them stand at a test that is known.
    pub oom_in_tests: u64,
    /// The first of them, in the order of the log.
    pub first_ooms: Vec<Oom>,
    /// By the file of the test, most first; at most a thousand.
    pub by_file: Vec<FileCount>,
    /// By root cause, most first.
    pub by_cause: Vec<CauseCount>,
    /// By who reported it, most first.
    pub by_source: Vec<SourceCount>,
    /// By what was asked for, in powers of four.
    pub by_size: Vec<SizeBucket>,
    /// How many do not say what was asked for.
    pub size_unknown: u64,
    /// Processes that held the card beside the one that failed, most seen first; at most a hundred.
    pub processes: Vec<Process>,
    /// How memory in use grew over the run.
    pub growth: Option<Growth>,
    /// Known errors, the most severe first.
    pub patterns: Vec<PatternCount>,
    /// What to do, most useful first.
    pub advice: Vec<String>,
    /// What was too much to be remembered, or could not be read.
    pub notes: Vec<String>,
}

/// Where the numbers of tests come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CountedFrom {
    /// There are none.
    Nothing,
    /// The last lines of the runners.
    Totals,
    /// The results one by one, because a last line is missing: the run was killed, or the log is cut.
    Results,
    /// Both: of several runs, some have no last line.
    Both,
}

/// A log that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Log {
    /// What it is called.
    pub name: String,
    /// How it was packed.
    pub format: Format,
    /// Its size in bytes, unpacked.
    pub bytes: u64,
    /// Its lines.
    pub lines: u64,
}

/// How a log is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Not at all.
    #[default]
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quote {
    /// The name of the log.
    pub log: String,
    /// The line, from 1.
    pub line: u64,
    /// The line itself, without colours, shortened to 400 bytes.
    pub text: String,
}

/// One out-of-memory error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Oom {
    /// The test, with its file where that is known.
    pub test: Option<String>,
    /// Which of the tests it was, in the order in which the log shows them, from 1.
    pub position: Option<u64>,
    /// Where its message stands first.
    pub at: Quote,
    /// Who reported it.
    pub source: Source,
    /// Every number of the message, in bytes.
    pub numbers: Numbers,
    /// Its root cause.
    pub cause: Cause,
    /// How that was concluded.
    pub reason: String,
}

/// Out-of-memory errors of a test file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileCount {
    /// The file, or with Rust the binary; `None` where no test is known.
    pub file: Option<String>,
    /// How many.
    pub ooms: u64,
}

/// Out-of-memory errors of a root cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CauseCount {
    /// The cause.
    pub cause: Cause,
    /// How many.
    pub ooms: u64,
    /// How the first of them was concluded.
    pub reason: String,
    /// The lines that the first of them were concluded from.
    pub evidence: Vec<Quote>,
}

/// Out-of-memory errors that were reported by someone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SourceCount {
    /// Who.
    pub source: Source,
    /// How many.
    pub ooms: u64,
}

/// Out-of-memory errors by what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SizeBucket {
    /// From so many bytes on.
    pub from_bytes: u64,
    /// Below so many; `None` for the last.
    pub below_bytes: Option<u64>,
    /// How many.
    pub ooms: u64,
}

/// A process that held the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, if a message has it.
    pub name: Option<String>,
    /// The most that it held, in bytes.
    pub most_bytes: Option<u64>,
    /// In how many out-of-memory errors it is named.
    pub seen: u64,
}

/// A known error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PatternCount {
    /// What it is called.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// How often it happened: once per test, however often the test prints it; outside of tests, once per line.
    pub count: u64,
    /// On how many lines it stands.
    pub lines: u64,
    /// Where it stands first.
    pub evidence: Option<Quote>,
}

impl Report {
    /// # Errors
    ///
    /// If it is of another version than [`SCHEMA`].
    pub fn validated(self) -> Result<Self> {
        if self.schema != SCHEMA {
            return Err(Error::Schema { found: self.schema, known: SCHEMA });
        }
        Ok(self)
    }
}
