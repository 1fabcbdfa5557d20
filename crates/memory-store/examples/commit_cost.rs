//! What a commit costs on this disk: `cargo run --release -p memory-store --example commit_cost [DIR]`.
//!
//! Prints the time of one memory with 100 objects of 4 KiB, and of 200 memories with 3 such objects each,
//! one batch per memory; and, for scale, that of writing and syncing the same 100 files one after the other.

use memory_store::{ContentHash, NewMemory, NewTensor, Store};
use std::fs::File;
use std::io::Write;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let scratch = tempfile::tempdir_in(parent)?;
    let begun = Instant::now();
    let store = Store::open(scratch.path().join("store"))?;
    println!("making a store                        {:>10.1?}", begun.elapsed());
    let begun = Instant::now();
    Store::open(scratch.path().join("store"))?;
    println!("opening it                            {:>10.1?}", begun.elapsed());

    for round in 0..3 {
        let begun = Instant::now();
        for n in 0..100u32 {
            let mut file = File::create(scratch.path().join(format!("{round}-{n}")))?;
            file.write_all(&content(round, n))?;
            file.sync_all()?;
        }
        println!("100 files, synced one by one          {:>10.1?}", begun.elapsed());
        let begun = Instant::now();
        put(&store, round, 0..100)?;
        println!("1 memory of 100 new objects           {:>10.1?}", begun.elapsed());
        let begun = Instant::now();
        put(&store, round, 0..100)?;
        println!("the same again                        {:>10.1?}", begun.elapsed());
    }
    let begun = Instant::now();
    for n in 0..200 {
        put(&store, 1000 + n, 0..3)?;
    }
    println!("200 memories of 3 new objects         {:>10.1?}", begun.elapsed());
    Ok(())
}

fn content(memory: u32, n: u32) -> Vec<u8> {
    [memory.to_le_bytes(), n.to_le_bytes()].concat().repeat(512)
}

fn put(store: &Store, memory: u32, objects: std::ops::Range<u32>) -> Result<(), Failure> {
    let mut batch = store.begin()?;
    let hash = ContentHash::of(&memory.to_le_bytes());
    let mut new = NewMemory::new(hash, "preconscious".parse()?, "model", "commit_cost");
    for n in objects {
        let mut writer = batch.object()?;
        writer.write_all(&content(memory, n))?;
        new.tensors.push(NewTensor::new(format!("t{n}"), "float32", vec![1024], writer.finish()?, 4096));
    }
    new.original_bytes = new.tensors.iter().map(|tensor| tensor.original_bytes).sum();
    batch.memory(new)?;
    batch.commit()?;
    Ok(())
}
