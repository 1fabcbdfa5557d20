//! Where rows live: the seam between the store and the thing that keeps its catalogue.
//!
//! An implementation keeps memories, manifests, traces and the record of changes, and makes each call one
//! transaction that is durable when it returns. It never touches an object. [`SqliteCatalogue`] is the
//! default; `PostgreSQL` could be another.

mod maintain;
mod query;
mod replace;
mod row;
mod schema;
mod sqlite;
mod write;

pub use sqlite::SqliteCatalogue;

use crate::changes::Change;
use crate::error::Result;
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::{Committed, Filter, Memory, MemorySummary, NewMemory, Trace, Via};
use crate::replace::{Acknowledged, Replacement};
use crate::stats::Stats;
use std::fmt;

/// A place for rows. Any method may fail with [`crate::Error::Busy`], [`crate::Error::NoSpace`],
/// [`crate::Error::CatalogueDamaged`] and [`crate::Error::Catalogue`]; the others are named with it.
#[expect(clippy::missing_errors_doc, reason = "the errors common to all methods are named above")]
pub trait Catalogue: fmt::Debug + Send + Sync {
    /// Brings memories into being and then gives others their new objects, all in one transaction; the
    /// answers are in the same order. Every object that they refer to has just been verified, so marks of
    /// damage on those are cleared.
    ///
    /// A memory that is there already keeps its row and gains the context. It is replaced if its row is
    /// damaged, if one of its objects is marked, or if `intact` denies one.
    ///
    /// A replacement changes manifest, sealed object, stored bytes, number of tensors and check sums, and
    /// nothing else; no change is recorded. It does nothing unless the memory consists of the expected objects.
    /// [`crate::Error::MemoryDamaged`] if the row fails its check sum; then nothing is committed.
    fn commit(
        &self,
        memories: &[NewMemory],
        replacements: &[Replacement],
        intact: &dyn Fn(&ObjectRef) -> bool,
    ) -> Result<Acknowledged>;

    /// Everything known of a memory. [`crate::Error::MemoryDamaged`] if its row fails its check sum.
    fn memory(&self, hash: &ContentHash) -> Result<Option<Memory>>;

    /// The memories that pass a filter, the newest first. A row that fails its check sum is listed as damaged.
    fn list(&self, filter: &Filter) -> Result<Vec<MemorySummary>>;

    /// The hashes of all memories, in order.
    fn content_hashes(&self) -> Result<Vec<ContentHash>>;

    /// Up to `limit` hashes from `low` to `high`, both included, in order.
    fn between(&self, low: &ContentHash, high: &ContentHash, limit: usize) -> Result<Vec<ContentHash>>;

    /// Adds a context to a trace. Returns whether it was new there. [`crate::Error::UnknownMemory`].
    fn record_trace(&self, hash: &ContentHash, context: &str, via: Via) -> Result<bool>;

    /// The trace of a memory, in order of time. [`crate::Error::UnknownMemory`].
    fn traces(&self, hash: &ContentHash) -> Result<Vec<Trace>>;

    /// Notes what a consolidation freed; of two reports for one consolidation the larger stays.
    fn record_freed(&self, consolidation: &Committed, bytes: u64) -> Result<()>;

    /// The changes after number `seq`, in order, and the last number.
    fn changes_since(&self, seq: u64) -> Result<(Vec<Change>, u64)>;

    /// The number of the last change; 0 if there was none. Asked before every search, so it should be quick.
    fn last_change(&self) -> Result<u64>;

    /// Removes a memory. [`crate::Error::UnknownMemory`].
    fn forget(&self, hash: &ContentHash) -> Result<()>;

    /// The counts and bytes of [`Stats`]; the figures that follow from them may be left at 0.
    fn stats(&self) -> Result<Stats>;

    /// For each object whether a memory refers to it.
    fn are_referenced(&self, objects: &[ContentHash]) -> Result<Vec<bool>>;

    /// Every object that a memory refers to, and whether it is marked as damaged.
    fn referenced_objects(&self) -> Result<Vec<(ObjectRef, bool)>>;

    /// The memories that refer to an object, in order.
    fn owners(&self, object: &ContentHash) -> Result<Vec<ContentHash>>;

    /// Marks an object as damaged, or as whole again.
    fn mark_damaged(&self, object: &ContentHash, damaged: bool) -> Result<()>;

    /// Drops what no longer serves: rows of objects that nobody refers to, and old changes.
    fn tidy(&self) -> Result<()>;

    /// What is wrong with the structure, in words; empty if nothing is.
    fn integrity(&self) -> Result<Vec<String>>;
}
