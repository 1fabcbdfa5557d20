//! A batch: objects and memories that become durable together, or not at all.
//!
//! The order is what makes it so: objects are written and synced unseen, renamed while the collector is held
//! off, their directories synced, and then one catalogue transaction brings the memories into being.

use crate::error::{Error, Result};
use crate::hash::ObjectRef;
use crate::memory::{Committed, NewMemory};
use crate::objects::Stage;
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
}

impl Batch {
    pub(crate) fn new(store: &Arc<Inner>) -> Result<Self> {
        Ok(Self { store: Arc::clone(store), stage: store.objects.stage()?, memories: Vec::new() })
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

    /// Makes everything durable and visible at once. When this returns, it survives `kill -9` and power
    /// loss. The answers are in the order in which the memories were added.
    ///
    /// A memory that is there already stays as it is and gains the new context in its trace, unless it
    /// is damaged: then it is replaced, and so healed.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Busy`], [`Error::ObjectMissing`] for an object that is in neither the
    /// batch nor the store, and other failures of disk and catalogue. None of the memories exists then; at
    /// worst some objects lie in the store unreferred to, until [`crate::Store::gc`].
    pub fn commit(self) -> Result<Vec<Committed>> {
        let mut objects: Vec<ObjectRef> = self.memories.iter().flat_map(NewMemory::objects).collect();
        objects.sort_unstable();
        objects.dedup();
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
        self.store.catalogue.commit(&self.memories, &intact)
    }
}
