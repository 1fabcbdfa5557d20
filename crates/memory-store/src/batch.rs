//! A batch: objects and memories that become durable together, or not at all.
//!
//! The order is what makes it so: objects are written and synced unseen, renamed while the collector is held
//! off, their directories synced, and then one catalogue transaction brings the memories into being, and gives others their new objects.

use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::{Committed, NewMemory, NewTensor, distinct};
use crate::objects::Stage;
use crate::replace::{Acknowledged, Replacement};
use crate::store::Inner;
use crate::writer::ObjectWriter;
use std::sync::Arc;

/// Objects and memories on their way into the store, from [`crate::Store::begin`].
///
/// Dropped without a commit, it leaves nothing behind.
#[derive(Debug)]
pub struct Batch {
    store: Arc<Inner>,
    stage: Box<dyn Stage>,
    memories: Vec<NewMemory>,
    replacements: Vec<Replacement>,
}

impl Batch {
    pub(crate) fn new(store: &Arc<Inner>) -> Result<Self> {
        Ok(Self {
            store: Arc::clone(store),
            stage: store.objects.stage()?,
            memories: Vec::new(),
            replacements: Vec::new(),
        })
    }

    /// Begins an object. Several threads may each write one of the same batch.
    ///
    /// # Errors
    /// None now; an implementation of [`crate::ObjectStore`] may have some.
    pub fn object(&self) -> Result<ObjectWriter<'_>> {
        Ok(ObjectWriter::new(&*self.stage))
    }

    /// Adds a memory, whose objects are finished in this batch or in the store already.
    ///
    /// # Errors
    /// [`Error::InvalidMemory`] if the catalogue could not give it back as it is.
    pub fn memory(&mut self, memory: NewMemory) -> Result<()> {
        memory.check()?;
        self.memories.push(memory);
        Ok(())
    }

    /// Gives a memory other objects, finished in this batch or in the store already: `tensors` and `sealed` are
    /// all that it will consist of. Its content hash, layer, times, trace, metadata and signature stay, as does
    /// what is said of its errors and its original size. What it consisted of is garbage for
    /// [`crate::Store::gc`] then, if no other memory shares it.
    ///
    /// `expected` are the [objects](crate::Memory::objects) it had when it was read. If it is gone or has others
    /// when the batch is committed, it is left as it is, and [`commit_all`](Self::commit_all) says so.
    ///
    /// # Errors
    /// [`Error::InvalidMemory`] if the catalogue could not give the tensors back as they are, or if nothing of
    /// the memory would be left.
    pub fn replace(
        &mut self,
        content_hash: ContentHash,
        expected: Vec<ObjectRef>,
        tensors: Vec<NewTensor>,
        sealed: Option<ObjectRef>,
    ) -> Result<()> {
        self.replacements.push(Replacement::new(content_hash, expected, tensors, sealed)?);
        Ok(())
    }

    /// As [`commit_all`](Self::commit_all), for a batch that only adds memories. What became of replacements
    /// is not told.
    ///
    /// # Errors
    /// As [`commit_all`](Self::commit_all).
    pub fn commit(self) -> Result<Vec<Committed>> {
        Ok(self.commit_all()?.memories)
    }

    /// Makes everything durable and visible at once, memories before replacements. When this returns, it
    /// survives `kill -9` and power loss. The answers are in the order in which they were added.
    ///
    /// A memory that is there already stays as it is and gains the new context in its trace, unless it
    /// is damaged: then it is replaced, and so healed.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Busy`], [`Error::ObjectMissing`] for an object that is in neither the
    /// batch nor the store, [`Error::MemoryDamaged`] for a memory to be replaced whose row fails its check sum,
    /// and other failures of disk and catalogue. None of the memories exists or is changed then; at worst some
    /// objects lie in the store unreferred to, until [`crate::Store::gc`].
    pub fn commit_all(self) -> Result<Acknowledged> {
        let new = self.memories.iter().flat_map(NewMemory::objects);
        let objects = distinct(new.chain(self.replacements.iter().flat_map(Replacement::objects)));
        if let Some(pair) = objects.windows(2).find(|pair| pair[0].hash == pair[1].hash) {
            let reason =
                format!("{} is given two lengths, {} and {}", pair[0].hash, pair[0].bytes, pair[1].bytes);
            return Err(Error::invalid("object", reason));
        }
        self.stage.prepare(&objects)?;
        let _held = self.store.objects.hold()?;
        self.stage.publish(&objects)?;
        let intact = |object: &ObjectRef| {
            self.store.objects.size(&object.hash).is_ok_and(|size| size == Some(object.bytes))
        };
        self.store.catalogue.commit(&self.memories, &self.replacements, &intact)
    }
}
