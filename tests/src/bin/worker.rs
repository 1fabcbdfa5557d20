//! A process of its own for tests of several processes and of limits. What it does is said by its arguments:
//!
//! - `overlapping STORE WORKER ITEMS`: consolidates items, most of which other workers consolidate too; prints a hash a line.
//! - `whole STORE`: consolidates the shipped model.
//! - `searching STORE LEDGER SEED`: searches until the ledger says that it is over, and compares each answer with the ledger.
//! - `compacting STORE`: compacts the index again and again; prints a line each time.
//! - `forgetting STORE NUMBER`: forgets a memory.
//! - `asking STORE NUMBER`: prints what the vector of a memory reminds of most, and what was said about the index.

use std::{env, error::Error, process::ExitCode};

use end_to_end::{Ledger, context, direction, hash_of, minilm_slice, overlapping_item};
use omnimind_memory::{CompactOptions, Consolidator, Error as MemoryError, IndexError, Item};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["overlapping", store, worker, items] => overlapping(store, worker, items),
        ["whole", store] => whole(store),
        ["searching", store, ledger, seed] => searching(store, ledger, seed),
        ["compacting", store] => compacting(store),
        ["forgetting", store, number] => forgetting(store, number),
        ["asking", store, number] => asking(store, number),
        _ => Err("worker: wrong arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn overlapping(store: &str, worker: &str, items: &str) -> Result<(), Box<dyn Error>> {
    let (worker, items): (usize, usize) = (worker.parse()?, items.parse()?);
    let consolidator = Consolidator::builder().store(store).build()?;
    let model = minilm_slice()?;
    for at in 0..items {
        let mut consolidated = consolidator
            .consolidate(vec![overlapping_item(&model, worker, at)], &context(&format!("worker {worker}")));
        if let Some(failed) = consolidated.failed.pop() {
            return Err(failed.error.into());
        }
        for outcome in consolidated.outcomes {
            println!("{}", outcome.content_hash);
        }
    }
    Ok(())
}

fn whole(store: &str) -> Result<(), Box<dyn Error>> {
    let consolidator = Consolidator::builder().store(store).build()?;
    let model = minilm_slice()?;
    let item = Item::new("model", model.iter().map(end_to_end::StoredTensor::named).collect());
    match consolidator.consolidate(vec![item], &context("whole")).failed.pop() {
        Some(failed) => Err(failed.error.into()),
        None => Ok(()),
    }
}

/// With a graph over few memories already.
fn indexed(store: &str) -> Result<Consolidator, MemoryError> {
    let options = CompactOptions::default().with_graph_from(64);
    Consolidator::builder().store(store).compact_options(options).build()
}

fn searching(store: &str, ledger: &str, seed: &str) -> Result<(), Box<dyn Error>> {
    const K: usize = 5;
    let consolidator = indexed(store)?;
    let mut pick: u64 = seed.parse()?;
    let mut searches = 0_u64;
    loop {
        let before = Ledger::read(ledger)?;
        pick = pick.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chosen = |from: &[u64]| from.get((pick >> 33) as usize % from.len().max(1)).copied();
        if let Some(n) = chosen(&before.present) {
            let found = consolidator.deja_vu(&context("searcher"), &direction(n), K)?;
            let itself = found.first().is_some_and(|first| first.content_hash == hash_of(n));
            let after = Ledger::read(ledger)?;
            if !itself && after.present.contains(&n) {
                return Err(
                    format!("memory {n} was there before the search and is not found: {found:?}").into()
                );
            }
            let gone = |hash| before.forgotten.iter().any(|&n| hash_of(n) == hash);
            if let Some(ghost) = found.iter().find(|found| gone(found.content_hash)) {
                return Err(format!("{ghost:?} was forgotten before the search").into());
            }
            searches += 1;
        }
        if let Some(n) = chosen(&before.forgotten) {
            let found = consolidator.deja_vu(&context("searcher"), &direction(n), K)?;
            if found.iter().any(|found| found.content_hash == hash_of(n)) {
                return Err(format!("memory {n} was forgotten before the search and is found").into());
            }
        }
        if before.is_over {
            break;
        }
    }
    if let [notice, ..] = consolidator.notices().as_slice() {
        return Err(notice.to_string().into());
    }
    println!("{searches}");
    Ok(())
}

fn compacting(store: &str) -> Result<(), Box<dyn Error>> {
    let consolidator = indexed(store)?;
    loop {
        match consolidator.compact_index() {
            Ok(report) => println!("{}", report.memories),
            Err(MemoryError::Index(IndexError::Compacting { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn forgetting(store: &str, number: &str) -> Result<(), Box<dyn Error>> {
    Ok(indexed(store)?.store().forget(&hash_of(number.parse()?))?)
}

fn asking(store: &str, number: &str) -> Result<(), Box<dyn Error>> {
    let consolidator = indexed(store)?;
    for found in consolidator.deja_vu(&context("asker"), &direction(number.parse()?), 1)? {
        println!("{}", found.content_hash);
    }
    for notice in consolidator.notices() {
        eprintln!("{notice}");
    }
    Ok(())
}
