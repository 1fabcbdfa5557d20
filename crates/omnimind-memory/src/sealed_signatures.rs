//! The encrypted signatures of the newest sealed memories, in step with the store. They are read when they are first asked
//! about; what is in them, nobody here knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::Read,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encrypted_unconscious::{EncryptedSignature, keyholder::Keyholder};
use memory_store::{Change, ContentHash, Memory, MemorySummary, Store, Trace};

use crate::{Error, Result, sealed::ENCRYPTED_SIGNATURE};

/// Sealed memories that one question is about, the newest ones.
pub const MOST_ASKED: usize = 1024;

/// Longest encrypted signature that is read, in bytes: that of 65,536 dimensions and its ticket.
const MOST_BYTES: u64 = 8 * 65_536 + 8192;

/// Who can be asked for scores, and what can be asked about.
#[derive(Debug)]
pub(crate) struct Unconscious {
    pub(crate) keyholder: Arc<dyn Keyholder>,
    known: Mutex<Known>,
}

impl Unconscious {
    pub(crate) fn new(keyholder: Arc<dyn Keyholder>) -> Self {
        Self { keyholder, known: Mutex::default() }
    }

    /// What is sealed, as of now.
    pub(crate) fn up_to_date(&self, store: &Store) -> Result<MutexGuard<'_, Known>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.position == 0 || store.last_change()? != known.position {
            let (changes, last) = store.changes_since(known.position)?;
            for change in changes {
                known.apply(change);
            }
            known.position = last;
        }
        Ok(known)
    }
}

/// Sealed memories with a signature, by age.
#[derive(Debug, Default)]
pub(crate) struct Known {
    position: u64,
    memories: BTreeMap<(u64, ContentHash), SealedMemory>,
    stored_at: BTreeMap<ContentHash, u64>,
}

/// A sealed memory that can be asked about.
pub(crate) struct SealedMemory {
    pub(crate) content_hash: ContentHash,
    pub(crate) kind: String,
    pub(crate) stored_at: u64,
    pub(crate) contexts: Vec<String>,
    /// Or why there is none; unread at first.
    pub(crate) signature: Result<EncryptedSignature, String>,
}

impl Known {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Added { memory, traces, .. } => {
                self.forget(&memory.content_hash);
                if SealedMemory::has_signature(&memory) {
                    self.stored_at.insert(memory.content_hash, memory.stored_at);
                    let key = (memory.stored_at, memory.content_hash);
                    self.memories.insert(key, SealedMemory::new(*memory, traces));
                }
                while self.memories.len() > 4 * MOST_ASKED {
                    if let Some(((_, oldest), _)) = self.memories.pop_first() {
                        self.stored_at.remove(&oldest);
                    }
                }
            }
            Change::Traced { content_hash, trace } => {
                let key = self.stored_at.get(&content_hash).map(|&at| (at, content_hash));
                if let Some(memory) = key.and_then(|key| self.memories.get_mut(&key))
                    && !memory.contexts.contains(&trace.context)
                {
                    memory.contexts.push(trace.context);
                }
            }
            Change::Forgotten { content_hash } => self.forget(&content_hash),
            Change::Reset => {
                self.memories.clear();
                self.stored_at.clear();
            }
            // Nothing that this version knows of happens otherwise.
            _ => {}
        }
    }

    /// Reads the signature of a memory again; gives it back if it is another than before. When the key is exchanged, memories are
    /// sealed anew without any news in the store.
    pub(crate) fn read_again(
        &mut self,
        store: &Store,
        content_hash: &ContentHash,
    ) -> Option<EncryptedSignature> {
        let key = (*self.stored_at.get(content_hash)?, *content_hash);
        let memory = self.memories.get_mut(&key)?;
        let before = std::mem::replace(&mut memory.signature, Err("it has not been read".to_owned()));
        memory.read(store);
        let now = memory.signature.as_ref().ok()?;
        (before.as_ref() != Ok(now)).then(|| now.clone())
    }

    fn forget(&mut self, content_hash: &ContentHash) {
        if let Some(at) = self.stored_at.remove(content_hash) {
            self.memories.remove(&(at, *content_hash));
        }
    }

    /// The newest first; of other dimensions only those that cannot be read.
    ///
    /// # Errors
    /// [`Error::NoSuchDimension`] if there are memories, and all of them have others.
    pub(crate) fn newest(&mut self, store: &Store, dimension: usize) -> Result<Vec<&SealedMemory>> {
        for memory in self.memories.values_mut().rev() {
            memory.read(store);
        }
        let dimension_of =
            |memory: &SealedMemory| memory.signature.as_ref().ok().map(EncryptedSignature::dimension);
        let known: BTreeSet<usize> = self.memories.values().filter_map(dimension_of).collect();
        if !known.is_empty() && !known.contains(&dimension) {
            return Err(Error::NoSuchDimension { query: dimension, known: known.into_iter().collect() });
        }
        let fits = |memory: &&SealedMemory| dimension_of(memory) == Some(dimension);
        let unusable = |memory: &&SealedMemory| memory.signature.is_err();
        Ok(self
            .memories
            .values()
            .rev()
            .filter(|memory| fits(memory) || unusable(memory))
            .take(MOST_ASKED)
            .collect())
    }
}

impl SealedMemory {
    fn new(memory: MemorySummary, traces: Vec<Trace>) -> Self {
        Self {
            content_hash: memory.content_hash,
            kind: memory.kind,
            stored_at: memory.stored_at,
            contexts: traces.into_iter().map(|trace| trace.context).collect(),
            signature: Err("it has not been read".to_owned()),
        }
    }

    /// The only thing beside the seal that a sealed memory consists of is its encrypted signature.
    pub(crate) fn has_signature(memory: &MemorySummary) -> bool {
        memory.sealed && memory.tensor_count > 0
    }

    fn read(&mut self, store: &Store) {
        if self.signature.is_ok() {
            return;
        }
        let manifest = store.manifest(&self.content_hash).map_err(|error| error.to_string());
        self.signature = manifest.and_then(|memory| Self::read_signature(store, &memory));
    }

    pub(crate) fn read_signature(store: &Store, memory: &Memory) -> Result<EncryptedSignature, String> {
        let mut tensors = memory.tensors.iter();
        let tensor = tensors.find(|tensor| tensor.name == ENCRYPTED_SIGNATURE);
        let object = tensor.ok_or("it has no encrypted signature")?.object;
        if object.bytes > MOST_BYTES {
            return Err("its encrypted signature is longer than any can be".to_owned());
        }
        let mut bytes = Vec::new();
        let mut reader = store.read_object(&object).map_err(|error| error.to_string())?;
        reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        EncryptedSignature::from_bytes(&bytes).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for SealedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedMemory").field("content_hash", &self.content_hash).finish_non_exhaustive()
    }
}
