//! What a caller says of a run beyond the configuration, and what it hears while the run goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Group;
use crate::report::{GroupReport, Sample, TestReport};

/// What is asked of a run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The names of the groups to run, in the order of the file; empty means all.
    pub groups: Vec<String>,
    /// Where logs and the history of needs are kept; `None` for `target/test-groups` beside the configuration.
    pub output_dir: Option<PathBuf>,
    /// Set it to end the run, from a handler of Ctrl-C for instance: what runs is ended, and the report says so.
    pub interrupted: Arc<AtomicBool>,
    /// The program that `nextest` starts instead of each test, as `GATE test-groups --gate SOCKET -- BINARY ARGUMENTS`; it calls
    /// [`crate::gate::enter`]. `None` for the program that runs now.
    pub gate: Option<PathBuf>,
}

/// Hears what happens, in order, from the thread that called [`crate::run`]. What it takes longer than a few milliseconds for
/// delays tests.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event<'_>);
}

/// Hears nothing.
impl Observer for () {
    fn event(&mut self, _: &Event<'_>) {}
}

/// What happens in a run.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run begins; its logs are in this directory.
    RunStarted {
        /// Where.
        directory: &'a Path,
    },
    /// A group begins: it is built, and its tests are listed.
    GroupStarted {
        /// Which.
        group: &'a Group,
    },
    /// Its tests are known.
    TestsListed {
        /// Which group.
        group: &'a str,
        /// How many will run.
        to_run: usize,
        /// How many its runner skips.
        skipped: usize,
    },
    /// A test begins.
    TestStarted {
        /// Which group.
        group: &'a str,
        /// Which test.
        id: &'a str,
        /// For the how-manieth time, from 1.
        attempt: u32,
        /// Whether it runs with the processor, because it ran out of device memory before.
        on_cpu: bool,
    },
    /// A test is done; it will not be tried again.
    TestFinished {
        /// Which group.
        group: &'a str,
        /// What became of it and what it held.
        test: &'a TestReport,
    },
    /// The card was looked at; told four times a second at most.
    Looked {
        /// Which group runs.
        group: &'a str,
        /// What was seen.
        sample: Sample,
        /// The size of the card in bytes.
        card_bytes: u64,
    },
    /// A group is done.
    GroupFinished {
        /// What it was like.
        report: &'a GroupReport,
    },
}
