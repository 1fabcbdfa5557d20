//! A process of its own for tests of several processes and of limits. What it does is said by its arguments:
//!
//! - `overlapping STORE WORKER ITEMS`: consolidates items, most of which other workers consolidate too; prints a hash a line.
//! - `whole STORE`: consolidates the shipped model.

use std::{env, error::Error, process::ExitCode};

use end_to_end::{context, minilm_slice, overlapping_item};
use omnimind_memory::{Consolidator, Item};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["overlapping", store, worker, items] => overlapping(store, worker, items),
        ["whole", store] => whole(store),
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
