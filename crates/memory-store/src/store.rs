//! The store: one object store and one catalogue, and the rules by which they are used together.

use crate::batch::Batch;
use crate::catalogue::{Catalogue, SqliteCatalogue};
use crate::changes::Change;
use crate::error::{Error, Result};
use crate::gc::{self, GcReport};
use crate::hash::{ContentHash, ObjectRef, prefix_range};
use crate::layout::{self, Identity};
use crate::memory::{Committed, Filter, Memory, MemorySummary, Trace, Via, check_context};
use crate::objects::{FileObjects, Locks, ObjectStore};
use crate::read::VerifiedReader;
use crate::stats::Stats;
use crate::verify::{self, VerifyReport};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a store waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The longest wait for other processes before [`Error::Busy`]. 30 seconds by default.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_secs(30) }
    }
}

impl Options {
    /// Sets the longest wait for other processes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// A store of memories. Cheap to clone; clones and threads share one connection for reading and one for
/// writing. Do not use one across a `fork`.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) catalogue: Arc<dyn Catalogue>,
    home: Option<Home>,
}

/// Where an embedded store is, and what tells it from others.
#[derive(Debug)]
struct Home {
    dir: PathBuf,
    index: PathBuf,
    options: Options,
    identity: Option<Identity>,
}

impl Store {
    /// Opens the store in a directory of the local file system, and makes one there if the directory is
    /// new or empty.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], [`Error::ForeignDirectory`], [`Error::NewerStore`], [`Error::ReadOnly`],
    /// [`Error::CatalogueMissing`] and [`Error::CatalogueDamaged`] for what the path may turn out to be.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(dir, &Options::default())
    }

    /// As [`open`](Self::open), waiting for others as `options` say.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(dir: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = dir.as_ref();
        let (objects, catalogue) = Self::parts(dir, options)?;
        // A store that cannot be written into goes without.
        let identity = layout::identify(dir, objects.locks(), SqliteCatalogue::random_identity).ok();
        let home =
            Home { dir: dir.into(), index: dir.join(layout::INDEX), options: options.clone(), identity };
        Ok(Self::made_of(Arc::new(objects), Arc::new(catalogue), Some(home)))
    }

    /// The same store with connections of its own, so that long reading through one does not hold up the other. A store
    /// that is composed of other parts shares them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn another(&self) -> Result<Self> {
        match &self.inner.home {
            Some(home) => Self::open_with(&home.dir, &home.options),
            None => Ok(self.clone()),
        }
    }

    /// The parts of the embedded store in a directory, for callers that put something between.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parts(dir: &Path, options: &Options) -> Result<(FileObjects, SqliteCatalogue)> {
        let file = dir.join(layout::CATALOGUE);
        if layout::recognise(dir)?.is_some() {
            let locks = Locks::new(&layout::locks_dir(dir)?, options.patience);
            layout::complete(dir, &locks)?;
            let catalogue = SqliteCatalogue::open(&file, options.patience)?;
            return Ok((FileObjects::new(dir, locks), catalogue));
        }
        let locks = Locks::new(&layout::begin(dir)?, options.patience);
        layout::complete(dir, &locks)?;
        let gate = locks.shut_gate()?;
        let catalogue = if layout::recognise(dir)?.is_some() {
            SqliteCatalogue::open(&file, options.patience)?
        } else {
            let catalogue = SqliteCatalogue::create(&file, options.patience)?;
            layout::mark(dir, &SqliteCatalogue::random_identity()?)?;
            catalogue
        };
        drop(gate);
        Ok((FileObjects::new(dir, locks), catalogue))
    }

    /// A store composed of other parts.
    #[must_use]
    pub fn over(objects: Arc<dyn ObjectStore>, catalogue: Arc<dyn Catalogue>) -> Self {
        Self::made_of(objects, catalogue, None)
    }

    fn made_of(objects: Arc<dyn ObjectStore>, catalogue: Arc<dyn Catalogue>, home: Option<Home>) -> Self {
        Self { inner: Arc::new(Inner { objects, catalogue, home }) }
    }

    /// What tells this store from all others: random, made once. None for a store that is composed of other parts, and for one
    /// that was made before stores had an identity and cannot be written into.
    #[must_use]
    pub fn identity(&self) -> Option<[u8; 32]> {
        self.inner.home.as_ref()?.identity
    }

    /// The directory in which an index that is derived from this store may be kept; it need not exist. The store itself never
    /// looks into it. None for a store that is composed of other parts.
    #[must_use]
    pub fn index_dir(&self) -> Option<&Path> {
        self.inner.home.as_ref().map(|home| home.index.as_path())
    }

    /// Begins a batch.
    ///
    /// # Errors
    /// If no temporary files can be made.
    pub fn begin(&self) -> Result<Batch> {
        Batch::new(&self.inner)
    }

    /// Everything that the catalogue knows of a memory.
    ///
    /// # Errors
    /// [`Error::UnknownMemory`], or [`Error::MemoryDamaged`] if its row fails its check sum.
    pub fn manifest(&self, hash: &ContentHash) -> Result<Memory> {
        self.inner.catalogue.memory(hash)?.ok_or(Error::UnknownMemory(*hash))
    }

    /// The memories that pass a filter, the newest first.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<MemorySummary>> {
        self.inner.catalogue.list(filter)
    }

    /// The one memory whose hash begins with `prefix`: 4 to 64 hexadecimal digits, capitals or not.
    ///
    /// # Errors
    /// [`Error::InvalidHash`], [`Error::UnknownPrefix`], or [`Error::AmbiguousPrefix`] with candidates.
    pub fn resolve_prefix(&self, prefix: &str) -> Result<ContentHash> {
        const CANDIDATES: usize = 8;
        let (low, high) = prefix_range(prefix)?;
        let mut candidates = self.inner.catalogue.between(&low, &high, CANDIDATES + 1)?;
        match candidates[..] {
            [one] => Ok(one),
            [] => {
                let digits = &prefix[..2];
                let (low, high) = prefix_range(&format!("{digits}00"))
                    .and_then(|(low, _)| Ok((low, prefix_range(&format!("{digits}ff"))?.1)))?;
                let near = self.inner.catalogue.between(&low, &high, 3)?;
                Err(Error::UnknownPrefix { prefix: prefix.into(), near })
            }
            _ => {
                let more = candidates.len() > CANDIDATES;
                candidates.truncate(CANDIDATES);
                Err(Error::AmbiguousPrefix { prefix: prefix.into(), candidates, more })
            }
        }
    }

    /// Reads an object, verifying it on the way: see [`VerifiedReader`].
    ///
    /// # Errors
    /// [`Error::ObjectMissing`] if a memory refers to it and it is gone, [`Error::ObjectUnknown`] if no
    /// memory does.
    pub fn read_object(&self, object: &ObjectRef) -> Result<VerifiedReader> {
        match VerifiedReader::open(&*self.inner.objects, object) {
            Err(Error::ObjectMissing { .. }) if self.inner.catalogue.owners(&object.hash)?.is_empty() => {
                Err(Error::ObjectUnknown { object: object.hash })
            }
            other => other,
        }
    }

    /// Notes that a context recalled a memory. Returns whether it was new to the trace.
    ///
    /// # Errors
    /// [`Error::UnknownMemory`]; [`Error::InvalidMemory`] for a context that cannot be stored.
    pub fn record_trace(&self, hash: &ContentHash, context: &str) -> Result<bool> {
        check_context(context)?;
        self.inner.catalogue.record_trace(hash, context, Via::Reactivated)
    }

    /// Who may recall a memory, in order of their coming.
    ///
    /// # Errors
    /// [`Error::UnknownMemory`].
    pub fn traces(&self, hash: &ContentHash) -> Result<Vec<Trace>> {
        self.inner.catalogue.traces(hash)
    }

    /// Notes how many bytes of VRAM were freed after a consolidation. Saying so twice counts once; the
    /// larger figure stays. (A content hash alone could not tell a repeated report from a repeated
    /// consolidation, which frees VRAM again.)
    ///
    /// # Errors
    /// If the catalogue cannot be written, or knows of no such consolidation.
    pub fn record_freed(&self, consolidation: &Committed, bytes: u64) -> Result<()> {
        self.inner.catalogue.record_freed(consolidation, bytes)
    }

    /// What happened after change number `seq`, and the number to ask from next time. Start with 0.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn changes_since(&self, seq: u64) -> Result<(Vec<Change>, u64)> {
        self.inner.catalogue.changes_since(seq)
    }

    /// The number of the last change, as [`changes_since`](Self::changes_since) gives it: there is news exactly if it is not the
    /// number that was given last. Takes microseconds.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn last_change(&self) -> Result<u64> {
        self.inner.catalogue.last_change()
    }

    /// Removes a memory from the catalogue, durably. Its objects stay until [`gc`](Self::gc).
    ///
    /// # Errors
    /// [`Error::UnknownMemory`].
    pub fn forget(&self, hash: &ContentHash) -> Result<()> {
        self.inner.catalogue.forget(hash)
    }

    /// Deletes objects that no memory refers to, and temporary files of dead processes.
    ///
    /// # Errors
    /// [`Error::Busy`] if writers do not finish in time; what was deleted until then was garbage.
    pub fn gc(&self) -> Result<GcReport> {
        gc::collect(&self.inner)
    }

    /// Reads and checks everything. With `repair`, damaged objects are moved to `quarantine/` and the
    /// memories they belong to are marked, so that storing one of them again heals it.
    ///
    /// # Errors
    /// If the check itself cannot be done. Damage found is not an error here: it is in the report.
    pub fn verify(&self, repair: bool) -> Result<VerifyReport> {
        verify::verify(&self.inner, repair)
    }

    /// The numbers of this store.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        Ok(self.inner.catalogue.stats()?.complete())
    }
}
