//! A store whose catalogue somebody else wrote: opening, listing, reading and verifying answer or fail, and `verify`
//! does not call damaged objects clean.
//!
//! The input is a list of changes to a valid catalogue, four bytes each: offset, what to do, value.
#![no_main]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use memory_store::{ContentHash, Filter, NewMemory, NewTensor, Store};

const CATALOGUE: &str = "catalogue.sqlite3";
const PAYLOAD: &[u8] = b"the bytes of a compressed tensor";

/// A store with two memories, and the bytes of its catalogue.
static VALID: LazyLock<(tempfile::TempDir, Vec<u8>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fill(&folder.path().join("store")).expect("a valid store");
    let catalogue = fs::read(folder.path().join("store").join(CATALOGUE)).expect("its catalogue");
    (folder, catalogue)
});

fuzz_target!(|bytes: &[u8]| {
    let (folder, valid) = &*VALID;
    let store = folder.path().join("store");
    let mut catalogue = valid.clone();
    for change in bytes.as_chunks::<4>().0 {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % catalogue.len();
        match change[2] % 3 {
            0 => catalogue[at] = change[3],
            1 => catalogue[at] ^= 1 << (change[3] % 8),
            _ => catalogue.truncate(at.max(1)),
        }
    }
    for left_over in ["catalogue.sqlite3-wal", "catalogue.sqlite3-shm"] {
        let _ = fs::remove_file(store.join(left_over));
    }
    fs::write(store.join(CATALOGUE), catalogue).expect("writing the catalogue");
    if let Ok(store) = Store::open(&store) {
        let _ = look(&store);
    }
});

fn look(store: &Store) -> memory_store::Result<()> {
    let _ = store.verify(false);
    let _ = store.stats();
    let _ = store.changes_since(0);
    for memory in store.list(&Filter::default())? {
        let Ok(memory) = store.manifest(&memory.content_hash) else { continue };
        for tensor in &memory.tensors {
            let Ok(mut object) = store.read_object(&tensor.object) else { continue };
            let mut content = Vec::new();
            if object.read_to_end(&mut content).is_ok() {
                assert_eq!(
                    ContentHash::of(&content),
                    tensor.object.hash,
                    "an object was read that is not the one asked for"
                );
            }
        }
    }
    Ok(())
}

fn fill(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(dir)?;
    for number in 0..2_u8 {
        let mut batch = store.begin()?;
        let mut writer = batch.object()?;
        writer.write_all(&[PAYLOAD, &[number]].concat())?;
        let object = writer.finish()?;
        let mut memory = NewMemory::new(ContentHash::of(&[number]), "preconscious".parse()?, "model", "fuzz");
        memory.tensors.push(NewTensor::new("weights", "float32", vec![4, 8], object, 128));
        memory.original_bytes = 128;
        memory.signature = Some(vec![0.6, 0.8]);
        batch.memory(memory)?;
        batch.commit()?;
    }
    Ok(())
}
