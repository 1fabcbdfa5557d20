//! When a new snapshot of the index is made, and by whom: in the background by a consolidator that lives long, or when it is
//! asked for. How it is made is the business of `activation-index`.
//!
//! A compaction works on an index of its own, so that searches go on meanwhile, and hands that over when it is done. Dropping
//! the consolidator does not wait for one: it goes on until it is done or the process ends, and what a process leaves half
//! written is never used.

use std::{
    mem,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use activation_index::{CompactReport, IndexError};

use crate::{
    Consolidator, Error, Notice, Result,
    follower::{Follower, Source},
    index::{SharedIndex, lock},
};

/// Who makes new snapshots of the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compaction {
    /// A thread, when one is due after a search: for processes that live long.
    #[default]
    InBackground,
    /// Nobody but [`Consolidator::compact_index`]: for processes that ask and end.
    OnRequest,
}

/// How long to leave it to another process that is at it.
const REST_AFTER_ANOTHER: Duration = Duration::from_secs(10);

/// How long to wait after a failure, such as a full disk.
const REST_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// How often another process may overtake a compaction before it gives up.
const ATTEMPTS: usize = 3;

/// What goes on behind the searches.
#[derive(Debug, Default)]
pub(crate) struct Background {
    state: Mutex<State>,
    /// Held while a snapshot is made: one at a time.
    compacting: Mutex<()>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Idle,
    Running,
    RestingUntil(Instant),
}

impl Background {
    /// Whether it is the caller's turn to run.
    fn begin(&self) -> bool {
        let mut state = lock(&self.state);
        let begins = match *state {
            State::Idle => true,
            State::Running => false,
            State::RestingUntil(when) => Instant::now() >= when,
        };
        if begins {
            *state = State::Running;
        }
        begins
    }

    fn end(&self, rest: Option<Duration>) {
        *lock(&self.state) = rest.map_or(State::Idle, |rest| State::RestingUntil(Instant::now() + rest));
    }
}

/// What a compaction starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The last snapshot, and what came since.
    Snapshot,
    /// The store alone.
    Store,
}

/// Whether an index that cannot be kept is worth compacting in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    Required,
    IfPossible,
}

impl SharedIndex {
    /// Compacts in a thread, if it is time to.
    pub(crate) fn compact_if_due(self: &Arc<Self>) {
        if !self.read().index.is_compaction_due() || !self.background.begin() {
            return;
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("compact-index".to_owned());
        if thread.spawn(move || shared.compact_behind()).is_err() {
            self.background.end(Some(REST_AFTER_FAILURE));
        }
    }

    fn compact_behind(&self) {
        let rest = match self.compact(Basis::Snapshot, Keeping::IfPossible) {
            Ok(_) => None,
            Err(Error::Index(IndexError::Compacting { .. } | IndexError::Superseded { .. })) => {
                Some(REST_AFTER_ANOTHER)
            }
            Err(error) => {
                self.tell(Notice::NotCompacted { reason: error.to_string() });
                Some(REST_AFTER_FAILURE)
            }
        };
        self.background.end(rest);
    }

    /// Makes a new snapshot with an index of its own, which then takes the place of the one that is searched.
    pub(crate) fn compact(&self, basis: Basis, keeping: Keeping) -> Result<CompactReport> {
        let _one_at_a_time = lock(&self.background.compacting);
        let source = self.source.another()?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let mut follower = self.ready(&source, basis, keeping)?;
            match follower.index.compact(&source.options) {
                // Another process was quicker: what it made is the better basis.
                Err(IndexError::Superseded { .. }) if attempts.next().is_some() => {}
                report => {
                    let report = report?;
                    follower.distrusts_snapshot = false;
                    // Dropped when nobody waits for it any more.
                    let _replaced = mem::replace(&mut *self.write(), follower);
                    return Ok(report);
                }
            }
        }
    }

    /// An index of all that the store holds. What is wrong with the snapshot is found here, before it is made part of the next.
    fn ready(&self, source: &Source, basis: Basis, keeping: Keeping) -> Result<Follower> {
        let (mut follower, notice) = Follower::open(source)?;
        let (was_told, distrusts) = {
            let searched = self.read();
            (searched.opened, searched.distrusts_snapshot)
        };
        match notice {
            Some(Notice::InMemory { reason }) if keeping == Keeping::Required => {
                return Err(Error::IndexNotKept { reason });
            }
            Some(notice) if !was_told && basis == Basis::Snapshot => self.tell(notice),
            _ => {}
        }
        if basis == Basis::Store || distrusts {
            follower.refill(&source.store)?;
            return Ok(follower);
        }
        if let Err(IndexError::SnapshotDamaged { what, .. }) = follower.index.verify() {
            self.tell(Notice::Rebuilt { reason: what });
            follower.refill(&source.store)?;
        }
        follower.catch_up(&source.store)?;
        Ok(follower)
    }
}

impl Consolidator {
    /// Makes a new snapshot of the index: what is new is merged into it, and the space of what was forgotten comes back. Searches
    /// go on meanwhile. A consolidator that lives long does so by itself, unless it was built with [`Compaction::OnRequest`].
    ///
    /// # Errors
    /// [`Error::Index`] with [`IndexError::Compacting`] if another process is at it; [`Error::IndexNotKept`] if the store's
    /// directory has no place for it; if the disk is full. Searches are as before then.
    pub fn compact_index(&self) -> Result<CompactReport> {
        self.index.compact(Basis::Snapshot, self.keeping())
    }

    /// [`compact_index`](Self::compact_index) from the store alone, whatever the present snapshot says.
    ///
    /// # Errors
    /// As [`compact_index`](Self::compact_index).
    pub fn rebuild_index(&self) -> Result<CompactReport> {
        self.index.compact(Basis::Store, self.keeping())
    }

    /// Whether so much has changed since the last snapshot of the index that [`compact_index`](Self::compact_index) is worth its
    /// while, as far as the last search knew. Never where no snapshot can be kept.
    #[must_use]
    pub fn is_compaction_due(&self) -> bool {
        let follower = self.index.read();
        follower.kept && follower.index.is_compaction_due()
    }

    /// A store that is composed of other parts has no directory to keep anything in.
    fn keeping(&self) -> Keeping {
        if self.store.index_dir().is_some() { Keeping::Required } else { Keeping::IfPossible }
    }
}
