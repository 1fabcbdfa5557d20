//! The file as it is written: its tables and keys. What they mean together is for [`super::check`].

use std::collections::BTreeMap;

use serde::Deserialize;

use super::value::{Limit, Size, Time};
use super::{Concurrency, OnOutOfMemory, Runner};

/// Groups of tests, and how each is to be run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(title = "test-groups.toml"))]
pub(crate) struct File {
    /// The time between two looks at the card, from "1ms" to "1m"; "50ms" by default.
    pub(crate) sample_every: Option<Time>,
    /// What holds for every group that does not say otherwise.
    #[serde(default)]
    pub(crate) defaults: Defaults,
    /// The groups, in the order in which they run.
    #[serde(default)]
    pub(crate) group: Vec<GroupTable>,
}

/// What holds for every group that does not say otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Defaults {
    /// For every test, in addition to the environment that it inherits.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// How many tests at once; "sequential" by default.
    pub(crate) concurrency: Option<Concurrency>,
    /// Whether the first failure ends the group; false by default.
    pub(crate) fail_fast: Option<bool>,
    /// How long one test may take; "none" by default.
    pub(crate) timeout: Option<Limit>,
    /// How long the group may take; "none" by default.
    pub(crate) group_timeout: Option<Limit>,
    /// How often a test that failed, not for lack of memory, is tried again; 0 by default.
    pub(crate) retries: Option<u32>,
    /// The card, and what the group may hold of it.
    #[serde(default)]
    pub(crate) gpu: Gpu,
    /// What becomes of a test that ran out of device memory; "fail" by default.
    pub(crate) on_out_of_memory: Option<OnOutOfMemory>,
    /// What makes a test use the processor; { `CUDA_VISIBLE_DEVICES` = "" } by default.
    pub(crate) cpu_environment: Option<BTreeMap<String, String>>,
}

/// One group of tests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct GroupTable {
    /// Its name: letters, digits, "-" and "_"; unique.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,100}$")))]
    pub(crate) name: String,
    /// The question that it answers.
    #[serde(default)]
    pub(crate) question: String,
    /// What runs it.
    pub(crate) runner: Runner,
    /// Cargo packages (-p); all of the workspace by default. For "nextest" and "cargo-test".
    #[serde(default)]
    pub(crate) packages: Vec<String>,
    /// Test binaries (--test); all by default. For "nextest" and "cargo-test".
    #[serde(default)]
    pub(crate) binaries: Vec<String>,
    /// Which tests: a filterset for "nextest", a part of the name for "cargo-test", an expression of -k for "pytest".
    pub(crate) filter: Option<String>,
    /// Files and directories of tests; what its own configuration says by default. For "pytest".
    #[serde(default)]
    pub(crate) paths: Vec<String>,
    /// The tests. For "command".
    #[serde(default)]
    pub(crate) command: Vec<CommandTable>,
    /// What the runner gets in addition. Not for "command".
    #[serde(default)]
    pub(crate) runner_arguments: Vec<String>,
    /// The program instead of "cargo" or "python3", with its first arguments. Not for "command".
    #[serde(default)]
    pub(crate) program: Vec<String>,
    /// Where it runs, relative to the directory of this file, which is the default.
    pub(crate) directory: Option<String>,
    /// For every test, in addition to the environment that it inherits and to that of the defaults.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// How many tests at once; "sequential" by default.
    pub(crate) concurrency: Option<Concurrency>,
    /// Whether the first failure ends the group; false by default.
    pub(crate) fail_fast: Option<bool>,
    /// How long one test may take; "none" by default.
    pub(crate) timeout: Option<Limit>,
    /// How long the group may take; "none" by default.
    pub(crate) group_timeout: Option<Limit>,
    /// How often a test that failed, not for lack of memory, is tried again; 0 by default.
    pub(crate) retries: Option<u32>,
    /// The card, and what the group may hold of it.
    #[serde(default)]
    pub(crate) gpu: Gpu,
    /// What becomes of a test that ran out of device memory; "fail" by default.
    pub(crate) on_out_of_memory: Option<OnOutOfMemory>,
    /// What makes a test use the processor; { `CUDA_VISIBLE_DEVICES` = "" } by default.
    pub(crate) cpu_environment: Option<BTreeMap<String, String>>,
}

/// The card, and what the group may hold of it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Gpu {
    /// Its number, from 0; 0 by default.
    pub(crate) device: Option<u32>,
    /// What the group may hold of it at once, such as "3 GiB"; all that is free by default.
    pub(crate) budget: Option<Size>,
}

/// A test that is a command: passed if it exits with 0.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct CommandTable {
    /// What it is called; unique in its group.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub(crate) name: String,
    /// Program and arguments; no shell.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub(crate) run: Vec<String>,
}
