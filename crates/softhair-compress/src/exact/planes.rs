//! Integers, masks, and floats that behave like them: byte planes, optionally of differences, each plane
//! constant, raw, Huffman-coded or through zstd, whichever is smallest.

use super::huffman::Code;
use super::reader::{Reader, write_length};
use super::simd::Level;
use super::streams::{Decoder, Encoder};
use super::zstandard;
use crate::{Error, Result};

const RAW: u8 = 0;
const SAME: u8 = 1;
const HUFFMAN: u8 = 2;
const ZSTD: u8 = 3;
/// Symbols handed to the entropy coder at once.
const GROUP: usize = 1024;
const BYTES: usize = 256;
/// Bytes of each of the two pieces of a plane on which zstd is tried.
const PIECE: usize = 1 << 12;
/// Decoding entries hold a byte in their upper half.
const BYTE_SHIFT: u32 = 8;

/// What happens to elements before they are split into planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transform {
    /// Nothing.
    Plain,
    /// Each element becomes its difference from the one before, sign in the lowest bit. The first stays.
    Delta,
}

/// Appends the transform, the first element if it stays, and a plane for each byte of an element, lowest first:
/// kind, length where it does not follow from the kind, contents.
pub(super) fn encode(
    level: Level,
    element: usize,
    transform: Transform,
    bytes: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    out.push(transform as u8);
    let differences;
    let body = match transform {
        Transform::Plain => bytes,
        Transform::Delta => {
            out.extend_from_slice(&bytes[..element.min(bytes.len())]);
            differences = delta(element, bytes);
            &differences
        }
    };
    let mut plane = Vec::with_capacity(body.len() / element);
    for byte in 0..element {
        plane.clear();
        gather(element, byte, body, &mut plane);
        encode_plane(level, &plane, scratch, out);
    }
}

/// Appends byte `byte` of each element.
fn gather(element: usize, byte: usize, from: &[u8], plane: &mut Vec<u8>) {
    match element {
        1 => plane.extend_from_slice(from),
        2 => plane.extend(from.as_chunks::<2>().0.iter().map(|bytes| bytes[byte & 1])),
        4 => plane.extend(from.as_chunks::<4>().0.iter().map(|bytes| bytes[byte & 3])),
        _ => plane.extend(from.as_chunks::<8>().0.iter().map(|bytes| bytes[byte & 7])),
    }
}

/// Writes byte `byte` of each element.
fn scatter(element: usize, byte: usize, plane: &[u8], to: &mut [u8]) {
    match element {
        1 => to.copy_from_slice(plane),
        2 => to
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(plane)
            .for_each(|(bytes, value)| bytes[byte & 1] = *value),
        4 => to
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(plane)
            .for_each(|(bytes, value)| bytes[byte & 3] = *value),
        _ => to
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(plane)
            .for_each(|(bytes, value)| bytes[byte & 7] = *value),
    }
}

fn encode_plane(level: Level, plane: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    let first = plane.first().copied().unwrap_or(0);
    if plane.iter().all(|byte| *byte == first) {
        out.extend_from_slice(&[SAME, first]);
        return;
    }
    let counts = count(plane);
    let huffman_bytes = Code::from_counts(&counts)
        .map_or(usize::MAX, |code| (code.bits(&counts) / 8) as usize + 4 + code.present().len() / 2);
    let best = plane.len().min(huffman_bytes);
    if let Some(zstd) = zstd_below(best, plane) {
        out.push(ZSTD);
        write_length(zstd.len(), out);
        out.extend_from_slice(&zstd);
        return;
    }
    if huffman_bytes < plane.len() {
        let mut coded = Vec::with_capacity(huffman_bytes + 64);
        level.plane_encode(plane, scratch, &mut coded);
        if coded.len() < plane.len() {
            out.push(HUFFMAN);
            write_length(coded.len(), out);
            out.extend_from_slice(&coded);
            return;
        }
    }
    out.push(RAW);
    out.extend_from_slice(plane);
}

/// The plane through zstd, if that is clearly smaller than `best`: the Huffman code decodes several times faster, so
/// zstd has to save 2 %. Two pieces of a long plane are asked first.
fn zstd_below(best: usize, plane: &[u8]) -> Option<Vec<u8>> {
    let enough = |bytes: usize, best: usize| bytes < best - best / 50;
    if plane.len() >= 8 * PIECE {
        let middle = plane.len() / 2;
        let pieces = [&plane[..PIECE], &plane[middle..middle + PIECE]].concat();
        let share = (best as u64 * pieces.len() as u64 / plane.len() as u64) as usize;
        if !enough(zstandard::compress(&pieces).len(), share) {
            return None;
        }
    }
    Some(zstandard::compress(plane)).filter(|zstd| enough(zstd.len(), best))
}

/// Fills `out`, whose length is a multiple of `element`, from what [`encode`] wrote.
pub(super) fn decode(
    level: Level,
    element: usize,
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u16>,
    out: &mut [u8],
) -> Result<()> {
    let first = match reader.u8()? {
        0 => 0,
        1 => element.min(out.len()),
        _ => return Err(Error::Damaged("exact chunk has an unknown transform")),
    };
    let (head, body) = out.split_at_mut(first);
    head.copy_from_slice(reader.take(first)?);
    let mut plane = vec![0; body.len() / element];
    for byte in 0..element {
        decode_plane(level, reader, scratch, &mut plane)?;
        scatter(element, byte, &plane, body);
    }
    if first > 0 {
        undo_delta(element, out);
    }
    reader.finish()
}

fn decode_plane(
    level: Level,
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u16>,
    plane: &mut [u8],
) -> Result<()> {
    match reader.u8()? {
        RAW => plane.copy_from_slice(reader.take(plane.len())?),
        SAME => plane.fill(reader.u8()?),
        HUFFMAN => {
            let length = reader.length()?;
            level.plane_decode(&mut Reader::new(reader.take(length)?), scratch, plane)?;
        }
        ZSTD => {
            let length = reader.length()?;
            zstandard::decompress(reader.take(length)?, plane)?;
        }
        _ => return Err(Error::Damaged("exact chunk has an unknown kind of plane")),
    }
    Ok(())
}

fn count(plane: &[u8]) -> [u32; BYTES] {
    let mut counts = [[0u32; BYTES]; 4];
    let (fours, rest) = plane.as_chunks::<4>();
    for four in fours {
        for (table, byte) in counts.iter_mut().zip(four) {
            table[usize::from(*byte)] += 1;
        }
    }
    for byte in rest {
        counts[0][usize::from(*byte)] += 1;
    }
    let [mut total, others @ ..] = counts;
    for table in &others {
        for (sum, count) in total.iter_mut().zip(table) {
            *sum += count;
        }
    }
    total
}

/// Appends code, stream lengths and streams of a plane that is not empty.
#[inline(always)]
pub(super) fn huffman_encode(plane: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    let Some(code) = Code::from_counts(&count(plane)) else { return };
    let mut encoder = Encoder::new(&code, plane.len(), std::mem::take(scratch));
    code.write(out);
    let lengths_at = encoder.reserve_lengths(out);
    for group in plane.chunks(GROUP) {
        let mut symbols = [0u16; GROUP];
        for (symbol, byte) in symbols.iter_mut().zip(group) {
            *symbol = u16::from(*byte);
        }
        encoder.push(&symbols[..group.len()]);
    }
    *scratch = encoder.finish(lengths_at, out);
}

/// Fills a plane from what [`huffman_encode`] wrote.
#[inline(always)]
pub(super) fn huffman_decode(
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u16>,
    plane: &mut [u8],
) -> Result<()> {
    let code = Code::read(reader, BYTES)?;
    let decoder = Decoder::new(&code, plane.len(), reader, |symbol, _| symbol << BYTE_SHIFT)?;
    if scratch.len() < plane.len() {
        scratch.resize(plane.len(), 0);
    }
    let entries = &mut scratch[..plane.len()];
    decoder.fill(entries)?;
    for (byte, entry) in plane.iter_mut().zip(entries) {
        *byte = (*entry >> BYTE_SHIFT) as u8;
    }
    reader.finish()
}

macro_rules! delta_of {
    ($unsigned:ty, $signed:ty, $bytes:expr) => {{
        let elements = $bytes.as_chunks::<{ size_of::<$unsigned>() }>().0;
        let mut out = Vec::with_capacity($bytes.len());
        for pair in elements.windows(2) {
            let change =
                <$unsigned>::from_le_bytes(pair[1]).wrapping_sub(<$unsigned>::from_le_bytes(pair[0]));
            let sign = (change as $signed >> (<$unsigned>::BITS - 1)) as $unsigned;
            out.extend_from_slice(&(change << 1 ^ sign).to_le_bytes());
        }
        out
    }};
}

/// Differences of neighbouring elements: one element less than `bytes` has.
fn delta(element: usize, bytes: &[u8]) -> Vec<u8> {
    match element {
        1 => delta_of!(u8, i8, bytes),
        2 => delta_of!(u16, i16, bytes),
        4 => delta_of!(u32, i32, bytes),
        _ => delta_of!(u64, i64, bytes),
    }
}

macro_rules! undo_delta_of {
    ($unsigned:ty, $bytes:expr) => {{
        let elements = $bytes.as_chunks_mut::<{ size_of::<$unsigned>() }>().0;
        let Some((first, others)) = elements.split_first_mut() else { return };
        let mut value = <$unsigned>::from_le_bytes(*first);
        for slot in others {
            let coded = <$unsigned>::from_le_bytes(*slot);
            value = value.wrapping_add(coded >> 1 ^ (coded & 1).wrapping_neg());
            *slot = value.to_le_bytes();
        }
    }};
}

fn undo_delta(element: usize, bytes: &mut [u8]) {
    match element {
        1 => undo_delta_of!(u8, bytes),
        2 => undo_delta_of!(u16, bytes),
        4 => undo_delta_of!(u32, bytes),
        _ => undo_delta_of!(u64, bytes),
    }
}
