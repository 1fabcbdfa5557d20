//! BLAKE3 of memory on a card: kernels give the chaining value of each MiB, the processor joins those.

use std::collections::VecDeque;

use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{Card, copies, failed, window::threads};
use crate::{Error, Result};

const CHUNK_BYTES: u64 = 1024;
/// Chunks below one chaining value that the host gets.
const SUBTREE_CHUNKS: u64 = 1024;
const VALUE_BYTES: u64 = 32;
const DOING: &str = "hashing on the card";

pub(super) fn digest<C: Card>(card: &mut C, address: u64, bytes: u64) -> Result<blake3::Hash> {
    // The kernels read whole words, and leave at least one pair to join here.
    if !address.is_multiple_of(4) || bytes <= CHUNK_BYTES * SUBTREE_CHUNKS {
        let mut hasher = blake3::Hasher::new();
        let source = copies::Source::new(card, address, bytes);
        hasher.update_reader(source).map_err(|source| Error::Io { doing: "reading a tensor", source })?;
        return Ok(hasher.finalize());
    }
    let (_, scratch) = card.scratch(0);
    // Values of chunks, and of the subtrees above them.
    let per_subtree = VALUE_BYTES * (SUBTREE_CHUNKS + 1);
    let subtrees = (scratch / per_subtree).min(card.staging_bytes() as u64 / VALUE_BYTES);
    let window_bytes = subtrees * SUBTREE_CHUNKS * CHUNK_BYTES;
    let mut values = Vec::new();
    let mut waiting = VecDeque::new();
    for (index, at) in (0..bytes).step_by(window_bytes as usize).enumerate() {
        let lane = index % card.lanes();
        if waiting.len() == card.lanes() {
            take(card, &mut waiting, &mut values)?;
        }
        let here = window_bytes.min(bytes - at);
        let subtrees = launch(card, lane, address + at, here, at / CHUNK_BYTES).map_err(failed(DOING))?;
        waiting.push_back((lane, subtrees));
    }
    while !waiting.is_empty() {
        take(card, &mut waiting, &mut values)?;
    }
    Ok(join(values))
}

/// Issues the kernels for a window, and the copy of its values; gives how many those are.
fn launch<C: Card>(
    card: &mut C,
    lane: usize,
    address: u64,
    bytes: u64,
    first_chunk: u64,
) -> Result<u64, C::Error> {
    let (values, _) = card.scratch(lane);
    let chunks = bytes.div_ceil(CHUNK_BYTES);
    let subtrees = chunks.div_ceil(SUBTREE_CHUNKS);
    let above = values + VALUE_BYTES * chunks;
    card.launch(
        lane,
        "blake3_chunks",
        chunks.div_ceil(u64::from(threads::DIGEST)) as u32,
        threads::DIGEST,
        &[address, bytes, first_chunk, values],
    )?;
    card.launch(lane, "blake3_parents", subtrees as u32, threads::PARENTS, &[values, chunks, above])?;
    card.fetch(lane, above, 0, (VALUE_BYTES * subtrees) as usize)?;
    Ok(subtrees)
}

fn take<C: Card>(
    card: &mut C,
    waiting: &mut VecDeque<(usize, u64)>,
    values: &mut Vec<ChainingValue>,
) -> Result<()> {
    let Some((lane, subtrees)) = waiting.pop_front() else { return Ok(()) };
    let staging = card.staging(lane).map_err(failed(DOING))?;
    values.extend_from_slice(staging[..(VALUE_BYTES * subtrees) as usize].as_chunks().0);
    Ok(())
}

/// The hash above at least two values. Pairs are joined level by level; one that is left over moves up as it is.
fn join(mut values: Vec<ChainingValue>) -> blake3::Hash {
    while values.len() > 2 {
        let pair = |pair: &[ChainingValue]| match pair {
            [left, right] => merge_subtrees_non_root(left, right, Mode::Hash),
            rest => rest[0],
        };
        values = values.chunks(2).map(pair).collect();
    }
    merge_subtrees_root(&values[0], &values[1], Mode::Hash)
}
