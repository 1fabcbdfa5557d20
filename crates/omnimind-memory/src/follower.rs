//! An index that follows what all processes do to a store: it begins where a snapshot ends, or from nothing, and applies
//! what happened since.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use activation_index::{ActivationIndex, CompactOptions, Entry, IndexConfig, IndexError, Opening};
use memory_store::{Change, MemorySummary, Store, Trace};

use crate::Result;

/// What an index is derived from, and how it is made.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) store: Store,
    pub(crate) config: IndexConfig,
    pub(crate) options: CompactOptions,
}

impl Source {
    /// Where the index is kept. Each metric has a directory of its own, so that processes with different settings do not
    /// replace each other's snapshots for ever.
    pub(crate) fn dir(&self) -> Option<PathBuf> {
        Some(self.store.index_dir()?.join(self.config.metric.to_string()))
    }

    /// The same, with connections of its own: long reading through it does not hold up searches.
    pub(crate) fn another(&self) -> Result<Self> {
        Ok(Self { store: self.store.another()?, ..self.clone() })
    }
}

/// Something about an answer, the index or a card that is no error, and that somebody may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The snapshot was damaged or of something else, and the index has been filled again from the store.
    Rebuilt {
        /// What was wrong with the snapshot.
        reason: String,
    },
    /// The index cannot be kept, and is made in memory by each process anew.
    InMemory {
        /// Why not.
        reason: String,
    },
    /// Sealed memories are missing among the answers, or some of them.
    WithoutInfluence {
        /// Why: no keyholder answers, or budgets are used up.
        reason: String,
    },
    /// Kernels failed on a card that goes on working otherwise; the processor did their work, from copies. Results are the same.
    WithoutKernels {
        /// Index of the card.
        device: u32,
        /// What the card answered.
        reason: String,
    },
    /// What happens to memory is not said to whoever watches; see [`witness`](crate::witness). This is told once.
    WithoutWitness {
        /// Why the file could not be written.
        reason: String,
    },
    /// A new snapshot could not be made in the background. It will be tried again; answers are right without it.
    NotCompacted {
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rebuilt { reason } => {
                write!(
                    f,
                    "the index snapshot was of no use ({reason}); the index has been rebuilt from the store"
                )
            }
            Self::InMemory { reason } => {
                write!(
                    f,
                    "the index is made in memory, anew in each process, because it cannot be kept: {reason}"
                )
            }
            Self::WithoutInfluence { reason } => {
                write!(f, "what is sealed does not take part in the answer: {reason}")
            }
            Self::WithoutKernels { device, reason } => {
                write!(f, "the processor did what kernels of GPU {device} failed to do: {reason}")
            }
            Self::WithoutWitness { reason } => {
                write!(f, "the file that OMNIMIND_WITNESS names could not be written: {reason}")
            }
            Self::NotCompacted { reason } => {
                write!(f, "the index goes on as it is, because it could not be compacted: {reason}")
            }
        }
    }
}

/// An index and what is known of where it came from.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) index: ActivationIndex,
    /// False until it is first needed: most verbs ask the index nothing.
    pub(crate) opened: bool,
    /// Whether it is kept in a directory.
    pub(crate) kept: bool,
    /// Whether the snapshot was found to be damaged after it had been opened.
    pub(crate) distrusts_snapshot: bool,
}

impl Follower {
    /// Knows nothing, and is never current.
    pub(crate) fn unopened(config: IndexConfig) -> Result<Self> {
        let index = ActivationIndex::new(config)?;
        Ok(Self { index, opened: false, kept: false, distrusts_snapshot: false })
    }

    /// With what the snapshot holds, if there is one that is of use. Where none can be kept it begins from nothing.
    pub(crate) fn open(source: &Source) -> Result<(Self, Option<Notice>)> {
        let in_memory = |reason: Option<String>| {
            let index = ActivationIndex::new(source.config)?;
            let follower = Self { index, opened: true, kept: false, distrusts_snapshot: false };
            Ok((follower, reason.map(|reason| Notice::InMemory { reason })))
        };
        let Some(dir) = source.dir() else { return in_memory(None) };
        let Some(identity) = source.store.identity() else {
            return in_memory(Some("the store has no identity and none can be written into it".to_owned()));
        };
        let (index, opening) = match ActivationIndex::open(&dir, identity, source.config) {
            Err(error @ IndexError::Io { .. }) => return in_memory(Some(error.to_string())),
            opened => opened?,
        };
        let notice = match opening {
            Opening::Unusable { reason } => Some(Notice::Rebuilt { reason }),
            _ => None,
        };
        Ok((Self { index, opened: true, kept: true, distrusts_snapshot: false }, notice))
    }

    /// Whether nothing happened that it does not know of. Takes microseconds.
    pub(crate) fn is_current(&self, store: &Store) -> Result<bool> {
        Ok(self.opened && !self.index.is_outdated() && store.last_change()? == self.index.position())
    }

    /// Applies what happened since the last time. A change that cannot be applied is asked for again the next time.
    pub(crate) fn catch_up(&mut self, store: &Store) -> Result<()> {
        let (changes, last) = store.changes_since(self.index.position())?;
        for change in changes {
            self.apply(change)?;
        }
        self.index.set_position(last);
        Ok(())
    }

    /// Begins anew from the store.
    pub(crate) fn refill(&mut self, store: &Store) -> Result<()> {
        self.index.clear();
        self.distrusts_snapshot = true;
        self.catch_up(store)
    }

    pub(crate) fn apply(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Added { memory, signature, traces } => self.add(&memory, signature, traces),
            Change::Traced { content_hash, trace } => {
                match self.index.add_trace(content_hash.as_bytes(), &trace.context) {
                    // Forgotten since; the change that says so follows.
                    Ok(_) | Err(IndexError::UnknownMemory { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Change::Forgotten { content_hash } => {
                self.index.remove(content_hash.as_bytes());
                Ok(())
            }
            Change::Reset => {
                self.index.clear();
                Ok(())
            }
            // Nothing that this version knows of happens otherwise.
            _ => Ok(()),
        }
    }

    fn add(&mut self, memory: &MemorySummary, signature: Option<Vec<f32>>, traces: Vec<Trace>) -> Result<()> {
        let mut entry = Entry {
            recallable: !memory.sealed,
            contexts: traces.into_iter().map(|trace| trace.context).collect(),
            signature,
            ..Entry::new(
                *memory.content_hash.as_bytes(),
                &memory.kind,
                UNIX_EPOCH + Duration::from_millis(memory.stored_at),
            )
        };
        // A signature that this metric cannot compare was stored under another one: the memory then takes part in traces only.
        if self.index.insert(entry.clone()).is_err() {
            entry.signature = None;
            self.index.insert(entry)?;
        }
        Ok(())
    }
}
