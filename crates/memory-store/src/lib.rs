//! A durable, content-addressed store of compressed tensors for many processes.
//!
//! A *memory* is a row in a catalogue, with a manifest of the *objects* that it consists of. An object is
//! a file of opaque bytes, named by its BLAKE3 hash, so that two memories that contain the same tensor
//! share it. The store needs no server: the objects are files, the catalogue is `SQLite`, and any number of
//! processes may open one directory at once.
//!
//! What is promised:
//!
//! * When [`Batch::commit`] returns, what it was given survives `kill -9` and power loss.
//! * Until it returns, nothing of it is visible; if it fails, nothing of it ever becomes visible.
//! * Every object is verified whenever it is read; a flipped bit is an error that names the object.
//! * Garbage is collected by [`Store::gc`] alone, which never takes what a writer is about to refer to.
//!
//! The crate knows nothing of what the bytes mean: not of codecs, ciphers, classifiers or GPUs.
//! `docs/src/store-format.md` describes the directory well enough to read it in another language.
//!
//! ```
//! use memory_store::{ContentHash, NewMemory, NewTensor, Store};
//! use std::io::{Read, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let dir = scratch.path().join("store");
//! let store = Store::open(&dir)?;
//!
//! let mut batch = store.begin()?;
//! let mut writer = batch.object()?;
//! writer.write_all(b"the bytes of a compressed tensor")?;
//! let object = writer.finish()?;
//!
//! let content_hash = ContentHash::of(b"what the memory is");
//! let mut memory = NewMemory::new(content_hash, "preconscious".parse()?, "model", "test_embeddings");
//! memory.tensors.push(NewTensor::new("encoder.weight", "float32", vec![4, 8], object, 128));
//! memory.original_bytes = 128;
//! batch.memory(memory)?;
//! assert!(batch.commit()?[0].new); // from here on it is durable
//!
//! let hash = store.resolve_prefix(&content_hash.to_string()[..8])?;
//! let memory = store.manifest(&hash)?;
//! let mut bytes = Vec::new();
//! store.read_object(&memory.tensors[0].object)?.read_to_end(&mut bytes)?;
//! assert_eq!(bytes, b"the bytes of a compressed tensor");
//! # Ok(())
//! # }
//! ```

mod batch;
mod catalogue;
mod changes;
mod error;
mod gc;
mod hash;
mod layout;
mod memory;
mod objects;
mod read;
mod replace;
mod stats;
mod store;
mod verify;
mod writer;

pub use batch::Batch;
pub use catalogue::{Catalogue, SqliteCatalogue};
pub use changes::Change;
pub use error::{Error, Result};
pub use gc::GcReport;
pub use hash::{ContentHash, ObjectRef};
pub use memory::{
    Committed, Filter, LayerName, Memory, MemorySummary, NewMemory, NewTensor, Tensor, Trace, Via,
};
pub use objects::{FileObjects, Guard, ObjectReader, ObjectStore, Stage, StageFile, Swept};
pub use read::VerifiedReader;
pub use replace::{Acknowledged, Replaced, Replacement};
pub use stats::{LayerStats, Stats};
pub use store::{Options, Store};
pub use verify::{DamagedMemory, DamagedObject, Problem, VerifyReport};
pub use writer::ObjectWriter;
