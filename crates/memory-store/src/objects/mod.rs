//! Where bytes live: the seam between the store and the thing that keeps its objects.
//!
//! An implementation keeps immutable byte strings under their hashes, lets a batch write some unseen, makes
//! them durable and visible on demand, and arbitrates between writers and the collector. It knows nothing of
//! memories. [`FileObjects`] is the default; something like S3 with a lock service could be another.

mod durable;
mod files;
mod locks;
mod stage;

pub(crate) use durable::sync_dir;
pub use files::FileObjects;
pub(crate) use locks::Locks;

use crate::error::Result;
use crate::hash::{ContentHash, ObjectRef};
use std::fmt;
use std::io::{Read, Seek, Write};

/// A place for objects.
pub trait ObjectStore: fmt::Debug + Send + Sync {
    /// A private place in which one batch writes its objects. It vanishes when dropped, or, if its process
    /// was killed, at the next [`sweep`](Self::sweep).
    ///
    /// # Errors
    /// If no such place can be made.
    fn stage(&self) -> Result<Box<dyn Stage>>;

    /// Opens an object for reading, without verifying it. `None` if it is not there.
    ///
    /// # Errors
    /// If it is there and cannot be opened.
    fn open(&self, object: &ContentHash) -> Result<Option<ObjectReader>>;

    /// The length of an object in bytes, or `None` if it is not there.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn size(&self, object: &ContentHash) -> Result<Option<u64>>;

    /// Calls `visit` with every object that is there and its length. Objects that come or go meanwhile may
    /// or may not be visited.
    ///
    /// # Errors
    /// If the objects cannot be listed, and what `visit` returns.
    fn each(&self, visit: &mut dyn FnMut(ObjectRef) -> Result<()>) -> Result<()>;

    /// Removes an object; nothing happens if it is not there. Call it only while holding what
    /// [`seize`](Self::seize) returned.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    fn remove(&self, object: &ContentHash) -> Result<()>;

    /// Sets a damaged object aside and returns where it went. Call it only while holding what
    /// [`seize`](Self::seize) returned.
    ///
    /// # Errors
    /// If it cannot be moved.
    fn quarantine(&self, object: &ContentHash) -> Result<String>;

    /// Where an object is or would be, for messages.
    fn place(&self, object: &ContentHash) -> String;

    /// While the guard lives, no object disappears. Many may hold at once.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] if a collector does not finish in time.
    fn hold(&self) -> Result<Guard>;

    /// While the guard lives, nobody holds and nobody else seizes.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] if the holders do not finish in time.
    fn seize(&self) -> Result<Guard>;

    /// Removes the stages of batches whose process is gone.
    ///
    /// # Errors
    /// If they cannot be listed or removed.
    fn sweep(&self) -> Result<Swept>;
}

/// The private place of one batch. Several threads may write into it.
pub trait Stage: fmt::Debug + Send + Sync {
    /// Begins an object.
    ///
    /// # Errors
    /// If it cannot be begun.
    fn create(&self) -> Result<Box<dyn StageFile>>;

    /// Makes `objects` durable without making them visible, and without holding the store. Each is either
    /// finished in this stage or in the store already; one in the store is verified first, and replaced by
    /// the staged one if it is damaged.
    ///
    /// # Errors
    /// [`crate::Error::ObjectMissing`] or [`crate::Error::ObjectDamaged`] for one that is neither here nor
    /// whole in the store; and if the disk fails.
    fn prepare(&self, objects: &[ObjectRef]) -> Result<()>;

    /// Makes prepared objects visible, durably. Call it only while holding what [`ObjectStore::hold`]
    /// returned, and keep holding until they are referred to.
    ///
    /// # Errors
    /// As for [`prepare`](Self::prepare). What was published before the failure stays, as garbage.
    fn publish(&self, objects: &[ObjectRef]) -> Result<()>;
}

/// An object being written into a [`Stage`].
pub trait StageFile: Read + Write + Seek + Send + fmt::Debug {
    /// Ends the object, whose hash and length the caller has computed from what it wrote.
    ///
    /// # Errors
    /// If the disk fails.
    fn finish(self: Box<Self>, object: ObjectRef) -> Result<()>;
}

/// The bytes of an object, not verified yet.
pub type ObjectReader = Box<dyn Read + Send>;

/// Releases what it guards when dropped.
pub struct Guard(#[expect(dead_code, reason = "kept for its drop")] Box<dyn Send>);

impl Guard {
    /// Guards whatever `held` releases when it is dropped.
    pub fn new(held: impl Send + 'static) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// What [`ObjectStore::sweep`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Batches that had died.
    pub stages: u64,
    /// The bytes they had written.
    pub bytes: u64,
}
