//! Looking at the index: how much it holds, and whether that is what the store holds.

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use activation_index::{IndexError, IndexStats, MemoryId};
use memory_store::{Change, ContentHash, Trace};
use serde::Serialize;

use crate::{
    Consolidator, Error, Notice, Result,
    follower::{Follower, Source},
};

/// How long to try for a moment at which nobody changes the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// What [`Consolidator::verify_index`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IndexCheck {
    /// Memories of the store that were looked for in the index.
    pub memories: usize,
    /// Bytes of the snapshot that were compared with their check sums; 0 if there is none.
    pub snapshot_bytes: u64,
    /// What is wrong with the snapshot. Its content is then not compared with the store.
    pub damage: Option<String>,
    /// Memories of the store that the index does not know.
    pub missing: Vec<ContentHash>,
    /// Memories that the index knows and the store does not.
    pub unknown: Vec<ContentHash>,
    /// Memories with another trace than in the store.
    pub other_traces: Vec<ContentHash>,
    /// How many memories have another signature, type, age or layer than in the store.
    pub different: usize,
}

impl IndexCheck {
    /// Whether the index is whole and holds exactly what the store holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let named = [&self.missing, &self.unknown, &self.other_traces];
        self.damage.is_none() && self.different == 0 && named.iter().all(|hashes| hashes.is_empty())
    }
}

impl Consolidator {
    /// How much the index holds, and how it is searched.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn index_stats(&self) -> Result<IndexStats> {
        self.index.ask(|index| Ok(index.stats()))
    }

    /// The directory in which the index is kept. None for a store that is composed of other parts.
    #[must_use]
    pub fn index_dir(&self) -> Option<PathBuf> {
        self.index.source.dir()
    }

    /// What happened to the index since this was last asked; each notice is given once.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.index.take_notices()
    }

    /// Compares the snapshot of the index with its check sums, and what the index holds with what the store holds: the same
    /// memories, with the same signatures and traces. Changes nothing; [`rebuild_index`](Self::rebuild_index) does.
    ///
    /// # Errors
    /// If the catalogue cannot be read, or other processes change it without a pause.
    pub fn verify_index(&self) -> Result<IndexCheck> {
        let source = self.index.source.another()?;
        let (follower, notice) = Follower::open(&source)?;
        let snapshot_bytes = follower.index.stats().snapshot_bytes;
        let damage = match (notice, follower.index.verify()) {
            (Some(Notice::Rebuilt { reason }), _) => Some(reason),
            (Some(notice), _) => {
                self.index.tell(notice);
                None
            }
            (None, Err(IndexError::SnapshotDamaged { what, .. })) => Some(what),
            (None, verified) => verified.map(|()| None)?,
        };
        if damage.is_some() {
            return Ok(IndexCheck { snapshot_bytes, damage, ..IndexCheck::default() });
        }
        Ok(IndexCheck { snapshot_bytes, ..compare(follower, &source)? })
    }
}

/// Compares an index, brought up to date, with the store.
fn compare(mut follower: Follower, source: &Source) -> Result<IndexCheck> {
    let all = everything(&mut follower, source)?;
    let mut check = IndexCheck::default();
    let mut known: HashSet<MemoryId> = HashSet::new();
    for change in &all {
        let Change::Added { memory, traces, .. } = change else { continue };
        let id = memory.content_hash.as_bytes();
        known.insert(*id);
        if !follower.index.contains(id) {
            check.missing.push(memory.content_hash);
        } else if !has_trace(&follower, id, traces)? {
            check.other_traces.push(memory.content_hash);
        }
    }
    check.memories = known.len();
    let unknown = follower.index.ids().filter(|id| !known.contains(*id)).copied();
    // One whose row is damaged is not told of, but is there.
    check.unknown = unknown
        .map(ContentHash::from_bytes)
        .filter(|hash| source.store.manifest(hash).is_err_and(|error| error.is_not_found()))
        .collect();
    // Hearing again of what is known changes nothing; what differs is taken out of the snapshot.
    let before = follower.index.stats().fresh;
    for change in all.into_iter().filter(|change| matches!(change, Change::Added { .. })) {
        follower.apply(change)?;
    }
    let differing = follower.index.stats().fresh.saturating_sub(before);
    check.different = differing.saturating_sub(check.missing.len());
    Ok(check)
}

/// All that the store holds, at a moment at which the index knows all that has happened.
fn everything(follower: &mut Follower, source: &Source) -> Result<Vec<Change>> {
    let begun = Instant::now();
    loop {
        follower.catch_up(&source.store)?;
        // No change has this number, so the answer is the whole store.
        let (all, last) = source.store.changes_since(u64::MAX)?;
        if last == follower.index.position() {
            return Ok(all);
        }
        if begun.elapsed() > PATIENCE {
            let waiting_for = "a moment at which no other process changes the store".to_owned();
            return Err(Error::Store(memory_store::Error::Busy { waiting_for, waited: begun.elapsed() }));
        }
    }
}

fn has_trace(follower: &Follower, id: &MemoryId, traces: &[Trace]) -> Result<bool> {
    let indexed: HashSet<&str> = follower.index.contexts_of(id)?.collect();
    let stored: HashSet<&str> = traces.iter().map(|trace| trace.context.as_str()).collect();
    Ok(indexed == stored)
}
