//! Replacing the objects that a memory consists of, without changing what it is.
//!
//! For those who write a memory's bytes anew, as when its key is exchanged. Only what was read may be replaced:
//! a memory that consists of other objects by then is left alone.

use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::{Committed, NewTensor, check_tensors, distinct};
use serde::Serialize;

/// New objects for a memory that there is. Made by [`crate::Batch::replace`].
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The memory.
    pub content_hash: ContentHash,
    /// The objects that it consisted of when it was read, each once, in order.
    pub expected: Vec<ObjectRef>,
    /// Its whole manifest from now on.
    pub tensors: Vec<NewTensor>,
    /// The object that holds it sealed from now on, if any.
    pub sealed: Option<ObjectRef>,
}

impl Replacement {
    pub(crate) fn new(
        content_hash: ContentHash,
        expected: Vec<ObjectRef>,
        tensors: Vec<NewTensor>,
        sealed: Option<ObjectRef>,
    ) -> Result<Self> {
        if tensors.is_empty() && sealed.is_none() {
            return Err(Error::invalid("replacement", "holds no object; to remove the memory, forget it"));
        }
        check_tensors(&tensors)?;
        Ok(Self { content_hash, expected: distinct(expected.into_iter()), tensors, sealed })
    }

    /// Every object that the memory will refer to, each once.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectRef> {
        distinct(self.tensors.iter().map(|t| t.object).chain(self.sealed))
    }
}

/// What became of one replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replaced {
    /// The memory consists of the new objects.
    Done,
    /// Nothing was changed: the memory is not there (any more).
    Gone,
    /// Nothing was changed: the memory does not consist of the expected objects (any more). Read it again.
    Differs,
}

/// What a batch has made durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    /// What became of the memories, in the order in which they were added.
    pub memories: Vec<Committed>,
    /// What became of the replacements, in the order in which they were added.
    pub replacements: Vec<Replaced>,
}
