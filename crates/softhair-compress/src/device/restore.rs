//! Restoring grain frames: what was stored crosses the bus, and kernels make the elements of it where they belong.

use std::io::Read;

use super::{
    Card, copies, failed, kernel_suffix,
    window::{CHUNK_SEGMENTS, PADDING, PLAN_BYTES, RAW_CHUNKS, Restoring, threads},
};
use crate::{
    Error, Family, FrameHeader, FrameReader, Result,
    chunk::{Stored, max_stored_bytes},
    frame::{CHUNK_HEADER_BYTES, Chunks},
    grain::CardChunk,
    plan::{GRAIN_CHUNK_ELEMENTS, chunk_dims},
};

const DOING: &str = "restoring on the card";

/// Restores a frame of a type that there are kernels for.
pub(super) fn restore<C: Card, R: Read>(
    card: &mut C,
    frame: FrameReader<R>,
    address: u64,
) -> Result<FrameHeader> {
    if frame.header().chunk_elements != GRAIN_CHUNK_ELEMENTS as u64 {
        // Not what any encoder of ours makes.
        let mut sink = copies::Sink::new(card, address);
        let header = frame.decompress_to(&mut sink)?;
        sink.finish()?;
        return Ok(header);
    }
    let window = Restoring::new(card, frame.header().dtype);
    let mut chunks = frame.into_chunks();
    let mut sizes = chunks.header().chunk_sizes().peekable();
    let lanes = card.lanes();
    let (mut done_chunks, mut issued) = (0, 0);
    while sizes.peek().is_some() {
        let lane = issued % lanes;
        let staging = card.staging(lane).map_err(failed(DOING))?;
        if issued >= lanes {
            check(&window, staging)?;
        }
        let filled = fill(&window, &mut chunks, &mut sizes, staging)?;
        launch(card, &window, chunks.header(), lane, address, done_chunks, &filled).map_err(failed(DOING))?;
        done_chunks += filled.chunks;
        issued += 1;
    }
    for lane in 0..lanes.min(issued) {
        check(&window, card.staging(lane).map_err(failed(DOING))?)?;
    }
    chunks.finish()
}

/// A window in staging memory, ready to be sent.
struct Filled {
    chunks: usize,
    /// Bytes from the start of the staging memory.
    used: usize,
    /// Chunks of the window that the processor restored, in the order in which they lie in staging.
    raw: Vec<usize>,
    /// Elements of the last chunk.
    last_elements: usize,
}

/// Reads as many chunks as fit, and plans how each is restored.
fn fill<R: Read>(
    window: &Restoring,
    chunks: &mut Chunks<R>,
    sizes: &mut std::iter::Peekable<impl Iterator<Item = usize>>,
    staging: &mut [u8],
) -> Result<Filled> {
    let dtype = chunks.header().dtype;
    let shape = chunks.header().shape.clone();
    let (front, raw_area) = staging.split_at_mut(window.staged_raw);
    let raw_bytes = GRAIN_CHUNK_ELEMENTS * dtype.size_bytes();
    let mut filled = Filled { chunks: 0, used: window.payload, raw: Vec::new(), last_elements: 0 };
    front[window.verdict..window.verdict + 4].fill(0);
    while let Some(&elements) = sizes.peek() {
        let most = CHUNK_HEADER_BYTES + max_stored_bytes(elements * dtype.size_bytes());
        let room = window.payload_end - filled.used;
        if filled.chunks == window.chunks
            || filled.raw.len() == RAW_CHUNKS
            || (room < most && filled.chunks > 0)
        {
            break;
        }
        let (tables, payloads) = front.split_at_mut(window.payload);
        let at = filled.used - window.payload;
        let (family, bytes) =
            chunks.next_into(elements, &mut payloads[at..window.payload_end - window.payload])?;
        let start = filled.used + CHUNK_HEADER_BYTES;
        let payload = &payloads[at + CHUNK_HEADER_BYTES..][..bytes];
        let card_chunk = if family == Family::Grain { CardChunk::parse(payload, elements)? } else { None };
        let index = filled.chunks;
        if let Some(chunk) = &card_chunk {
            for (i, parts) in chunk.segments.iter().enumerate() {
                let offsets = [parts.codes, parts.fixed, parts.variable, parts.variable_end];
                let at = window.segments + PLAN_BYTES * (index * CHUNK_SEGMENTS + i);
                put(&mut tables[at..], offsets.map(|offset| (start + offset) as u32));
            }
        } else {
            let raw = &mut raw_area[filled.raw.len() * raw_bytes..][..elements * dtype.size_bytes()];
            Stored { family, payload }.decode(dtype, &chunk_dims(&shape, elements), raw)?;
            filled.raw.push(index);
        }
        let (unit, packed) = card_chunk.map_or((0, 0), |chunk| (chunk.unit, chunk.shape.packed));
        put(&mut tables[PLAN_BYTES * index..], [elements as u32, unit, packed, 0]);
        filled.used = start + bytes;
        filled.last_elements = elements;
        filled.chunks += 1;
        sizes.next();
    }
    chunks.hash(&front[window.payload..filled.used]);
    front[filled.used..filled.used + PADDING].fill(0);
    filled.used += PADDING;
    Ok(filled)
}

fn put(table: &mut [u8], words: [u32; 4]) {
    for (to, word) in table.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
}

/// Issues the copy to the card, the kernels, and the copies of what the processor restored.
fn launch<C: Card>(
    card: &mut C,
    window: &Restoring,
    header: &FrameHeader,
    lane: usize,
    address: u64,
    first_chunk: usize,
    filled: &Filled,
) -> Result<(), C::Error> {
    let raw_bytes = GRAIN_CHUNK_ELEMENTS * header.dtype.size_bytes();
    let (sent, _) = card.scratch(lane);
    let values = address + (first_chunk * raw_bytes) as u64;
    if filled.raw.len() < filled.chunks {
        let (segments, damaged) = (sent + window.segments as u64, sent + window.verdict as u64);
        let positions = sent + window.positions;
        let all_segments = (filled.chunks * CHUNK_SEGMENTS) as u64;
        let suffix = kernel_suffix(header.dtype).unwrap_or_default();
        card.send(lane, 0, sent, filled.used)?;
        let arguments = [sent, sent, segments, all_segments, positions, damaged];
        card.launch(
            lane,
            "grain_index",
            all_segments.div_ceil(u64::from(threads::INDEX)) as u32,
            threads::INDEX,
            &arguments,
        )?;
        let arguments = [sent, sent, segments, positions, damaged, values];
        card.launch(
            lane,
            &format!("grain_restore_{suffix}"),
            all_segments as u32,
            threads::RESTORE,
            &arguments,
        )?;
        card.fetch(lane, damaged, window.verdict, 4)?;
    }
    for (slot, &chunk) in filled.raw.iter().enumerate() {
        let last = chunk + 1 == filled.chunks;
        let bytes = if last { filled.last_elements * header.dtype.size_bytes() } else { raw_bytes };
        card.send(lane, window.staged_raw + slot * raw_bytes, values + (chunk * raw_bytes) as u64, bytes)?;
    }
    Ok(())
}

/// What the kernels found of the window that a lane has restored.
fn check(window: &Restoring, staging: &[u8]) -> Result<()> {
    if staging[window.verdict..window.verdict + 4] == [0; 4] {
        Ok(())
    } else {
        Err(Error::Damaged("a segment does not end where it should"))
    }
}
