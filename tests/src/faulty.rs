//! A catalogue that fails when it is told to: the last step before a memory exists, and the first one after.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use memory_store::{
    Acknowledged, Catalogue, Change, Committed, ContentHash, Error, Filter, Memory, MemorySummary, NewMemory,
    ObjectRef, Replacement, Result, SqliteCatalogue, Stats, Trace, Via,
};

/// Which call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogueFault {
    /// Making a memory exist.
    Commit,
    /// Recording that a context recalled a memory.
    Trace,
    /// Recording how much was freed.
    Freed,
}

/// The catalogue that the store has by default, with one fault at a time.
#[derive(Debug)]
pub struct FaultyCatalogue {
    inner: SqliteCatalogue,
    fault: Mutex<Option<CatalogueFault>>,
}

impl FaultyCatalogue {
    /// Without a fault.
    #[must_use]
    pub fn new(inner: SqliteCatalogue) -> Self {
        Self { inner, fault: Mutex::new(None) }
    }

    /// From now on this fails, and nothing else.
    pub fn set(&self, fault: Option<CatalogueFault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn check(&self, call: CatalogueFault) -> Result<()> {
        if *self.fault.lock().unwrap_or_else(PoisonError::into_inner) == Some(call) {
            let source = Box::new(io::Error::other("an injected fault"));
            return Err(Error::Catalogue { action: "do as it was told", source });
        }
        Ok(())
    }
}

impl Catalogue for FaultyCatalogue {
    fn commit(
        &self,
        memories: &[NewMemory],
        replacements: &[Replacement],
        intact: &dyn Fn(&ObjectRef) -> bool,
    ) -> Result<Acknowledged> {
        self.check(CatalogueFault::Commit)?;
        self.inner.commit(memories, replacements, intact)
    }

    fn memory(&self, hash: &ContentHash) -> Result<Option<Memory>> {
        self.inner.memory(hash)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<MemorySummary>> {
        self.inner.list(filter)
    }

    fn content_hashes(&self) -> Result<Vec<ContentHash>> {
        self.inner.content_hashes()
    }

    fn between(&self, low: &ContentHash, high: &ContentHash, limit: usize) -> Result<Vec<ContentHash>> {
        self.inner.between(low, high, limit)
    }

    fn record_trace(&self, hash: &ContentHash, context: &str, via: Via) -> Result<bool> {
        self.check(CatalogueFault::Trace)?;
        self.inner.record_trace(hash, context, via)
    }

    fn traces(&self, hash: &ContentHash) -> Result<Vec<Trace>> {
        self.inner.traces(hash)
    }

    fn record_freed(&self, consolidation: &Committed, bytes: u64) -> Result<()> {
        self.check(CatalogueFault::Freed)?;
        self.inner.record_freed(consolidation, bytes)
    }

    fn changes_since(&self, seq: u64) -> Result<(Vec<Change>, u64)> {
        self.inner.changes_since(seq)
    }

    fn last_change(&self) -> Result<u64> {
        self.inner.last_change()
    }

    fn forget(&self, hash: &ContentHash) -> Result<()> {
        self.inner.forget(hash)
    }

    fn stats(&self) -> Result<Stats> {
        self.inner.stats()
    }

    fn are_referenced(&self, objects: &[ContentHash]) -> Result<Vec<bool>> {
        self.inner.are_referenced(objects)
    }

    fn referenced_objects(&self) -> Result<Vec<(ObjectRef, bool)>> {
        self.inner.referenced_objects()
    }

    fn owners(&self, object: &ContentHash) -> Result<Vec<ContentHash>> {
        self.inner.owners(object)
    }

    fn mark_damaged(&self, object: &ContentHash, damaged: bool) -> Result<()> {
        self.inner.mark_damaged(object, damaged)
    }

    fn tidy(&self) -> Result<()> {
        self.inner.tidy()
    }

    fn integrity(&self) -> Result<Vec<String>> {
        self.inner.integrity()
    }
}
