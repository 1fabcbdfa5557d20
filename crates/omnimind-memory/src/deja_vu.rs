//! What a query resembles (R26), over the memories of all processes that use the store. Similarity and traces are
//! computed by `activation-index`; this keeps its index in step with the store and translates names.

use std::{
    sync::PoisonError,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use activation_index::{ActivationIndex, Entry, IndexConfig, IndexError};
use memory_store::{Change, ContentHash, MemorySummary, Store, Trace};
use serde::{Serialize, Serializer};

use crate::{Consolidator, Item, ProcessContext, Result};

/// A memory that a query resembles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Familiarity {
    /// The memory.
    pub content_hash: ContentHash,
    /// How alike: the cosine, or the inner product where the index is configured so.
    pub similarity: f32,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Since when it is stored; in JSON in seconds.
    #[serde(rename = "age_seconds", serialize_with = "as_seconds")]
    pub age: Duration,
    /// Whether the layer lets it be recalled.
    pub recallable: bool,
    /// Why not, if not.
    pub reason_if_not: Option<String>,
    /// Whether it is alike enough to be a déjà vu.
    pub familiar: bool,
    /// Whether the asking context is in its activation trace.
    pub in_trace: bool,
    /// Influence of a sealed memory; none until sealed signatures can be compared.
    pub influence: Option<f32>,
}

fn as_seconds<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(age.as_secs_f64())
}

impl Consolidator {
    /// The `k` memories that `query` resembles most, with what `context` may do with them (R26). Memories of other processes
    /// that use the store are among them.
    ///
    /// # Errors
    /// If the query is empty, not finite or has a dimension that no signature has, or if the catalogue cannot be read.
    pub fn deja_vu(&self, context: &ProcessContext, query: &[f32], k: usize) -> Result<Vec<Familiarity>> {
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        follower.catch_up(&self.store)?;
        let found = follower.index.deja_vu(context.as_str(), query, k, SystemTime::now())?;
        Ok(found.into_iter().map(Familiarity::from).collect())
    }

    /// The memories in whose activation trace `context` is (R25), in no particular order.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn traced_by(&self, context: &ProcessContext) -> Result<Vec<ContentHash>> {
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        follower.catch_up(&self.store)?;
        Ok(follower.index.by_context(context.as_str()).copied().map(ContentHash::from_bytes).collect())
    }

    /// Whether the index would take the item's signature, asked before anything is stored.
    pub(crate) fn check_signature(&self, item: &Item<'_>) -> Result<()> {
        let config = *self.follower.lock().unwrap_or_else(PoisonError::into_inner).index.config();
        let entry = Entry { signature: item.signature.clone(), ..Entry::new([0; 32], "", UNIX_EPOCH) };
        ActivationIndex::new(config)?.insert(entry)?;
        Ok(())
    }
}

/// An index that follows what all processes do to a store.
#[derive(Debug)]
pub(crate) struct Follower {
    index: ActivationIndex,
    seen: u64,
}

impl Follower {
    pub(crate) fn new(config: IndexConfig) -> Result<Self> {
        Ok(Self { index: ActivationIndex::new(config)?, seen: 0 })
    }

    /// Applies what happened since the last time. A change that cannot be applied is asked for again the next time.
    fn catch_up(&mut self, store: &Store) -> Result<()> {
        let (changes, seen) = store.changes_since(self.seen)?;
        for change in changes {
            self.apply(change)?;
        }
        self.seen = seen;
        Ok(())
    }

    fn apply(&mut self, change: Change) -> Result<()> {
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
                self.index = ActivationIndex::new(*self.index.config())?;
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

impl From<activation_index::Familiarity> for Familiarity {
    fn from(found: activation_index::Familiarity) -> Self {
        Self {
            content_hash: ContentHash::from_bytes(found.id),
            similarity: found.similarity,
            kind: found.kind,
            age: found.age,
            recallable: found.recallable,
            reason_if_not: found.reason_if_not,
            familiar: found.familiar,
            in_trace: found.in_trace,
            influence: found.influence,
        }
    }
}
