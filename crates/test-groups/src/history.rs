//! What tests needed in earlier runs: a JSON file that may be deleted at any time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::report::{GroupReport, Outcome, TestReport, VramOf};

/// The version of the file. One of another version is not read.
const SCHEMA: u32 = 1;
/// The need of a test is the largest of so many runs.
const RUNS: usize = 5;
/// A test that was not seen in so many runs of its group is forgotten.
const FORGOTTEN_AFTER: u64 = 20;
/// A file beyond this is none of ours.
const MOST_BYTES: u64 = 256 << 20;

/// What is known from earlier runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    schema: u32,
    groups: BTreeMap<String, GroupHistory>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct GroupHistory {
    runs: u64,
    tests: BTreeMap<String, TestHistory>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TestHistory {
    /// The last ones, oldest first.
    peak_bytes: VecDeque<u64>,
    duration_ms: Option<u64>,
    ooms: u64,
    last_run: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { schema: SCHEMA, groups: BTreeMap::new() }
    }
}

impl History {
    /// Where it is kept if nothing else was said: `target/test-groups/history.json` below the directory of the configuration.
    #[must_use]
    pub fn default_path(root: &Path) -> PathBuf {
        root.join("target/test-groups/history.json")
    }

    /// What the file says, and a note if it says nothing because it is damaged, too large or of another version. A file that is
    /// not there is an empty history.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if it is there and cannot be read.
    pub fn read(path: &Path) -> Result<(Self, Option<String>)> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Self::default(), None)),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        let unread = |why: String| {
            let note = format!(
                "{}: {why}; what tests needed before is not known, and is learned anew",
                path.display()
            );
            Ok((Self::default(), Some(note)))
        };
        if bytes.len() as u64 > MOST_BYTES {
            return unread(format!("it is larger than {} MiB", MOST_BYTES >> 20));
        }
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(history) if history.schema == SCHEMA => Ok((history, None)),
            Ok(history) => unread(format!("its version is {}, not {SCHEMA}", history.schema)),
            Err(error) => unread(format!("it is damaged: {error}")),
        }
    }

    /// Saves it whole or not at all: into a file beside it, which then takes its place. Makes the directory.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if that fails.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = PathBuf::from(beside);
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let saved = File::create(&beside)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, path));
        saved.map_err(|error| {
            // What is half there is of no use; that it stays is not worth a second error.
            let _ = fs::remove_file(&beside);
            failed(error)
        })
    }

    /// What a test needs of the card, in bytes: the most of its last five runs. `None` if it was never seen.
    #[must_use]
    pub fn need_bytes(&self, group: &str, test: &str) -> Option<u64> {
        self.test(group, test)?.peak_bytes.iter().copied().max()
    }

    /// How long a test took when it last ended by itself, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self, group: &str, test: &str) -> Option<u64> {
        self.test(group, test)?.duration_ms
    }

    /// In how many runs a test ran out of device memory.
    #[must_use]
    pub fn ooms(&self, group: &str, test: &str) -> u64 {
        self.test(group, test).map_or(0, |test| test.ooms)
    }

    /// Learns from a group that ran, and forgets tests that were not seen in 20 runs of it.
    ///
    /// What a test held counts where it was its own: as its processes held it, or on a card of which nobody says who holds
    /// what, if no other test ran at the time. A test that ran out needs what it asked for on top.
    pub fn learn(&mut self, report: &GroupReport) {
        let group = self.groups.entry(report.name.clone()).or_default();
        group.runs = group.runs.saturating_add(1);
        let alone = alone(&report.tests);
        for (test, alone) in report.tests.iter().zip(alone) {
            if matches!(test.outcome, Outcome::Skipped | Outcome::NotRun) {
                continue;
            }
            let known = group.tests.entry(test.id.clone()).or_default();
            known.last_run = group.runs;
            if let Some(need) = need_bytes(test, alone) {
                known.peak_bytes.push_back(need);
                while known.peak_bytes.len() > RUNS {
                    known.peak_bytes.pop_front();
                }
            }
            if test.outcome != Outcome::TimedOut {
                known.duration_ms = Some(test.duration_ms);
            }
            known.ooms = known.ooms.saturating_add(u64::from(test.out_of_memory.is_some()));
        }
        let runs = group.runs;
        group.tests.retain(|_, test| runs.saturating_sub(test.last_run) < FORGOTTEN_AFTER);
    }

    fn test(&self, group: &str, test: &str) -> Option<&TestHistory> {
        self.groups.get(group)?.tests.get(test)
    }
}

/// What a test needs by what it held in one run, in bytes.
fn need_bytes(test: &TestReport, alone: bool) -> Option<u64> {
    let vram = test.vram?;
    let held = match vram.of {
        VramOf::Processes => vram.peak_bytes,
        VramOf::Card if alone => vram.peak_bytes.saturating_sub(vram.before_bytes),
        VramOf::Card => return None,
    };
    match &test.out_of_memory {
        None => Some(held),
        // With the processor it held nothing: that is not what it needs.
        Some(out) => Some(held.saturating_add(out.requested_bytes.unwrap_or(0))).filter(|need| *need > 0),
    }
}

/// For each test whether no other ran while it did.
fn alone(tests: &[TestReport]) -> Vec<bool> {
    let end = |test: &TestReport| test.started_ms.saturating_add(test.duration_ms);
    let mut by_start: Vec<usize> = (0..tests.len())
        .filter(|at| !matches!(tests[*at].outcome, Outcome::Skipped | Outcome::NotRun))
        .collect();
    by_start.sort_by_key(|at| tests[*at].started_ms);
    let mut alone = vec![true; tests.len()];
    // The one that ends last of those before.
    let mut longest: Option<usize> = None;
    for at in by_start {
        match longest {
            Some(before) if end(&tests[before]) > tests[at].started_ms => {
                (alone[before], alone[at]) = (false, false);
                if end(&tests[at]) > end(&tests[before]) {
                    longest = Some(at);
                }
            }
            _ => longest = Some(at),
        }
    }
    alone
}
