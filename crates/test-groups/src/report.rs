//! What a run was like, ready to be printed or saved.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::vram::OutOfMemory;

/// The version of [`Report`] as it is saved. It changes when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// A run of all groups that were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What was looked at: `"cuda"`, `"simulated"`, `"none"`.
    pub vram_source: String,
    /// The groups, in the order in which they ran.
    pub groups: Vec<GroupReport>,
}

/// A group that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// The question that it answers.
    pub question: String,
    /// What ran it: `"nextest"`, `"cargo-test"`, `"pytest"`, `"command"`.
    pub runner: String,
    /// How many at once: `"isolated"`, `"sequential"`, `"parallel 4"`, `"adaptive"`.
    pub concurrency: String,
    /// Why not all of it ran, if not all of it ran: a failed build, a timeout of the group, an interruption, the first failure.
    pub stopped: Option<String>,
    /// How long it took, in seconds.
    pub wall_s: f64,
    /// Tests that ran to an end, one way or another, as [`Outcome`] counts them.
    pub passed: u64,
    /// Passed with the processor, after they had run out of device memory.
    pub passed_on_cpu: u64,
    /// Failed for whatever reason, timeouts among them.
    pub failed: u64,
    /// Of these, ended because they took too long.
    pub timed_out: u64,
    /// Skipped by the runner, or not run any more.
    pub skipped: u64,
    /// Tests that ran out of device memory, whatever became of them.
    pub ooms: u64,
    /// Memories consolidated while it ran.
    pub consolidations: u64,
    /// The size of the card in bytes; `None` where nothing was seen.
    pub card_bytes: Option<u64>,
    /// In use on the card before the first test, in bytes.
    pub before_bytes: Option<u64>,
    /// The most that was in use at once above that, in bytes: what the group needs as it was run.
    pub peak_bytes: Option<u64>,
    /// The sum of what each test needed at most: what it would need if all ran at once.
    pub sum_of_peaks_bytes: Option<u64>,
    /// The most that one test needed: what it would need one by one.
    pub largest_peak_bytes: Option<u64>,
    /// Processes of the group's tests that held memory of the card in the same sample, at most.
    pub peak_gpu_processes: u64,
    /// The id of the first test that failed.
    pub first_failure: Option<String>,
    /// Whether memory in use grows from test to test.
    pub accumulation: Option<Accumulation>,
    /// What to do, most useful first.
    pub advice: Vec<String>,
    /// What was not seen, cut, or left behind.
    pub notes: Vec<String>,
    /// Its tests, in the order in which they began.
    pub tests: Vec<TestReport>,
    /// What was in use over time; thinned to at most 2,000, each the highest of its stretch.
    pub samples: Vec<Sample>,
    /// Where all that was printed is kept.
    pub log: Option<PathBuf>,
}

/// Memory in use that grows from test to test: the median slope (Theil–Sen) with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Accumulation {
    /// Bytes per test.
    pub bytes_per_test: f64,
    /// The lower end of the 95 % interval.
    pub low_bytes_per_test: f64,
    /// The upper end.
    pub high_bytes_per_test: f64,
    /// Over so many tests.
    pub tests: u64,
    /// Whether it surely grows: the interval lies above zero, and what was gained over the group is more than noise.
    pub grows: bool,
}

/// A test that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestReport {
    /// What its runner calls it: `tests/test_a.py::test_b`, `end-to-end::group_mcp many_processes`.
    pub id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How often it was started.
    pub attempts: u32,
    /// When its last attempt began, in milliseconds since the group began.
    pub started_ms: u64,
    /// How long that took, in milliseconds, without waiting for room on the card.
    pub duration_ms: u64,
    /// How long it waited for room on the card, in milliseconds.
    pub waited_ms: u64,
    /// What it held of the card; `None` where nothing was seen while it ran.
    pub vram: Option<TestVram>,
    /// That it ran out of device memory, in whichever attempt.
    pub out_of_memory: Option<OutOfMemory>,
    /// That it went on with the processor: by being run again, or by itself, as it said.
    pub cpu_fallback: Option<String>,
    /// Memories that its processes consolidated.
    pub consolidations: u64,
    /// Bytes of device memory that these gave back.
    pub consolidated_bytes: u64,
    /// What it said last, if it failed; shortened.
    pub message: Option<String>,
    /// What it left behind that had to be ended: processes of its own.
    pub left_processes: u64,
}

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It ran out of device memory, and passed with the processor.
    PassedOnCpu,
    /// It failed.
    Failed,
    /// It took too long and was ended.
    TimedOut,
    /// It was skipped by its runner.
    Skipped,
    /// It was to run, and did not: the group had ended.
    NotRun,
}

/// What a test held of the card, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TestVram {
    /// When it began.
    pub before_bytes: u64,
    /// When it ended.
    pub after_bytes: u64,
    /// At most.
    pub peak_bytes: u64,
    /// Whose bytes these are.
    pub of: VramOf,
}

/// Whose bytes were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum VramOf {
    /// Those of the processes of the test.
    Processes,
    /// Those of the whole card, because the driver does not say who holds what.
    Card,
}

/// A look at the card while a group ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sample {
    /// Milliseconds since the group began.
    pub at_ms: u64,
    /// In use on the card, by whomever, in bytes.
    pub used_bytes: u64,
    /// Of these, by tests of the group; `None` where the driver does not tell.
    pub group_bytes: Option<u64>,
    /// Tests that ran.
    pub running: u32,
}
