//! What happened to the memories of a store, so that an index in another process can follow.

use crate::hash::ContentHash;
use crate::memory::{MemorySummary, Trace};
use serde::Serialize;

/// One thing that happened, from [`crate::Store::changes_since`].
///
/// Applying changes in order, from an empty index and number 0 on, gives exactly the memories of the store.
/// Each is idempotent: a memory may be `Added` again when more is known of it, or forgotten twice.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Forget everything known: the record does not reach back to the number given. What follows is
    /// the whole store.
    Reset,
    /// A memory came to be, or was healed. Replaces what was known of it.
    Added {
        /// Its row as it is now.
        memory: Box<MemorySummary>,
        /// The vector by which it is found.
        #[serde(skip)]
        signature: Option<Vec<f32>>,
        /// Everyone who may recall it, as of now.
        traces: Vec<Trace>,
    },
    /// A context came into the trace of a memory.
    Traced {
        /// The memory.
        content_hash: ContentHash,
        /// The newcomer.
        trace: Trace,
    },
    /// A memory was forgotten.
    Forgotten {
        /// The memory.
        content_hash: ContentHash,
    },
}
