//! Who may recall what: looked up by context and by hash, in an index in memory and in one opened from its snapshot.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Instant, SystemTime};

use activation_index::{ActivationIndex, Entry, IndexConfig, MemoryId};
use anyhow::{Result, ensure};

use super::ours::{id, options};

const ORIGIN: [u8; 32] = [8; 32];
const CONTEXTS: usize = 1_000;
const TRACES_OF_A_MEMORY: usize = 2;
/// Has no divisor in common with the numbers of memories and contexts: steps of it visit all, and none after its neighbour.
const STRIDE: usize = 7_919;
const PASSES: usize = 5;

/// Seconds for one lookup, on average over as many lookups as there are traces; the median of some passes.
///
/// # Errors
/// If the index refuses, or does not know what was put into it.
pub fn measure(traces: usize, directory: &Path) -> Result<BTreeMap<&'static str, f64>> {
    let memories = traces / TRACES_OF_A_MEMORY;
    let ids: Vec<MemoryId> = (0..memories).map(id).collect();
    let names: Vec<String> = (0..CONTEXTS).map(|number| format!("process-{number}")).collect();
    let (mut index, _) = ActivationIndex::open(directory, ORIGIN, IndexConfig::default())?;
    for (number, &id) in ids.iter().enumerate() {
        let contexts = (0..TRACES_OF_A_MEMORY).map(|which| names[context_of(number, which)].clone());
        let entry = Entry::new(id, "embedding", SystemTime::UNIX_EPOCH);
        index.insert(Entry { contexts: contexts.collect(), ..entry })?;
    }
    ensure!(index.stats().activation_traces == traces, "{} traces", index.stats().activation_traces);

    let mut seconds = BTreeMap::new();
    seconds.insert("by context, in memory", by_context(&index, &names, traces)?);
    seconds.insert("by hash, in memory", by_hash(&index, &ids, &names, traces)?);
    index.compact(&options(1)?)?;
    drop(index);
    let (index, _) = ActivationIndex::open(directory, ORIGIN, IndexConfig::default())?;
    ensure!(index.stats().activation_traces == traces, "{} traces", index.stats().activation_traces);
    seconds.insert("by context, from a snapshot", by_context(&index, &names, traces)?);
    seconds.insert("by hash, from a snapshot", by_hash(&index, &ids, &names, traces)?);
    Ok(seconds)
}

/// Finding the memories of a context: until the first is there.
fn by_context(index: &ActivationIndex, names: &[String], times: usize) -> Result<f64> {
    average(times, |turn| index.by_context(&names[turn * STRIDE % names.len()]).next().is_some())
}

/// Whether a context may recall a memory that is named by its hash.
fn by_hash(index: &ActivationIndex, ids: &[MemoryId], names: &[String], times: usize) -> Result<f64> {
    average(times, |turn| {
        let number = turn * STRIDE % ids.len();
        let name = &names[context_of(number, turn % TRACES_OF_A_MEMORY)];
        index.may_recall(name, &ids[number]).is_ok_and(activation_index::Standing::allowed)
    })
}

fn context_of(memory: usize, which: usize) -> usize {
    (memory + which * (CONTEXTS / 2 + 1)) % CONTEXTS
}

fn average(times: usize, found: impl Fn(usize) -> bool) -> Result<f64> {
    let mut passes = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let start = Instant::now();
        let hits = (0..times).filter(|&turn| found(turn)).count();
        passes.push(start.elapsed().as_secs_f64() / times as f64);
        ensure!(hits == times, "{hits} of {times} lookups found what they should");
    }
    passes.sort_by(f64::total_cmp);
    Ok(passes[PASSES / 2])
}
