//! What several tests need: memories made of given bytes, stored and read back.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]
#![allow(dead_code, reason = "each test binary uses some of this")]

use memory_store::{Committed, ContentHash, Memory, NewMemory, NewTensor, ObjectRef, Result, Store};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The hash of memory number `n`.
pub(crate) fn hash(n: u64) -> ContentHash {
    ContentHash::of(format!("memory {n}").as_bytes())
}

/// A memory of `layer` whose tensors are `objects`.
pub(crate) fn describe(n: u64, context: &str, objects: &[ObjectRef]) -> NewMemory {
    let mut memory = NewMemory::new(hash(n), "preconscious".parse().unwrap(), "model", context);
    for (i, object) in objects.iter().enumerate() {
        let shape = vec![object.bytes];
        memory.tensors.push(NewTensor::new(format!("t{i}"), "uint8", shape, *object, object.bytes * 4));
        memory.original_bytes += object.bytes * 4;
    }
    memory
}

/// Stores memory number `n`, made of these byte strings.
pub(crate) fn put(store: &Store, n: u64, context: &str, contents: &[Vec<u8>]) -> Result<Committed> {
    let mut batch = store.begin()?;
    let mut objects = Vec::new();
    for content in contents {
        let mut writer = batch.object()?;
        writer.write_all(content).map_err(|e| e.downcast::<memory_store::Error>().unwrap())?;
        objects.push(writer.finish()?);
    }
    batch.memory(describe(n, context, &objects))?;
    Ok(batch.commit()?[0])
}

/// The byte strings of a memory, verified.
pub(crate) fn contents(store: &Store, memory: &Memory) -> std::io::Result<Vec<Vec<u8>>> {
    let read = |object| {
        let mut bytes = Vec::new();
        store.read_object(object)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    memory.tensors.iter().map(|tensor| read(&tensor.object)).collect()
}

/// Memory number `n` as it was put.
pub(crate) fn get(store: &Store, n: u64) -> Vec<Vec<u8>> {
    contents(store, &store.manifest(&hash(n)).unwrap()).unwrap()
}

/// Where an object is.
pub(crate) fn path_of(dir: &Path, bytes: &[u8]) -> PathBuf {
    let hex = ContentHash::of(bytes).to_string();
    dir.join("objects").join(&hex[..2]).join(&hex[2..])
}

/// The files under a directory, but for `lock` files of no length.
pub(crate) fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_in(&path)) } else { files.push(path) }
    }
    files
}

/// A directory in memory where there is one, for tests that would otherwise do little but wait for a disk.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
