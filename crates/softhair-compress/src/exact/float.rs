//! Floating-point chunks: exponent and leading mantissa bits in a Huffman code, the rest as it is.
//!
//! The upper 16 bits of an element, rotated left by one so that the sign is lowest, are its *head*: a symbol (whole
//! exponent and two to three mantissa bits; for Gaussian weights they depend on each other, 0.07 bits an
//! element) and a *rest* (the other mantissa bits and the sign). What is below the head are *tails* of 16 bits.
//! Rests and tails of real weights are noise and are stored packed, block by block; blocks whose values share zero
//! bits at the low end (halves widened to `f32`, all values positive) leave those out.
//!
//! This module does not decide whether the result is worth keeping; [`super::choose`] does.

use super::huffman::{ALPHABET, Code};
use super::lanes::{BLOCK, map, pack, shared_zeros, unpack};
use super::reader::Reader;
use super::streams::{Decoder, Encoder};
use crate::{Error, Result};

/// Blocks between two visits of the entropy coder; 8 × 128 symbols stay in L1.
const GROUP: usize = 8;
/// Set where blocks say how wide their lanes are.
const VARIED: u8 = 1;
/// Most tails an element has.
const MAX_TAILS: usize = 3;
const TAIL_BITS: u32 = 16;

/// How an element of this type is taken apart.
pub(super) trait Layout {
    /// Bytes of an element.
    const BYTES: usize;
    /// Bits of a symbol: all exponent bits and some of the mantissa.
    const SYMBOL_BITS: u32;
    /// Bits of a head that are not in the symbol.
    const REST_BITS: u32 = 16 - Self::SYMBOL_BITS;
    const TAILS: usize = Self::BYTES / 2 - 1;
    /// Whether a decoding entry names a symbol by its rank, because 10 bits do not hold it.
    const RANKED: bool = Self::SYMBOL_BITS > 10;
}

/// 5 exponent and 3 mantissa bits.
pub(super) struct Half;
/// 8 exponent and 2 mantissa bits.
pub(super) struct Brain;
/// 8 exponent and 2 mantissa bits.
pub(super) struct Single;
/// 11 exponent and 1 mantissa bit.
pub(super) struct Double;

impl Layout for Half {
    const BYTES: usize = 2;
    const SYMBOL_BITS: u32 = 8;
}
impl Layout for Brain {
    const BYTES: usize = 2;
    const SYMBOL_BITS: u32 = 10;
}
impl Layout for Single {
    const BYTES: usize = 4;
    const SYMBOL_BITS: u32 = 10;
}
impl Layout for Double {
    const BYTES: usize = 8;
    const SYMBOL_BITS: u32 = 12;
}

/// A block taken apart.
struct Split {
    heads: [u16; BLOCK],
    tails: [[u16; BLOCK]; MAX_TAILS],
}

impl Split {
    const EMPTY: Self = Self { heads: [0; BLOCK], tails: [[0; BLOCK]; MAX_TAILS] };
}

/// The elements of a block as arrays of `N` bytes.
#[inline(always)]
fn elements<const N: usize>(block: &[u8]) -> &[[u8; N]; BLOCK] {
    block.as_chunks().0.first_chunk().unwrap_or(&[[0; N]; BLOCK])
}

#[inline(always)]
fn split<L: Layout>(block: &[u8], out: &mut Split) {
    let Split { heads, tails: [first, second, third] } = out;
    match L::BYTES {
        2 => {
            *heads = map(elements::<2>(block), |bytes| u16::from_le_bytes(bytes).rotate_left(1));
        }
        4 => {
            let elements = elements::<4>(block);
            *heads = map(elements, |bytes| ((u32::from_le_bytes(bytes) >> 16) as u16).rotate_left(1));
            *first = map(elements, |bytes| u32::from_le_bytes(bytes) as u16);
        }
        _ => {
            let elements = elements::<8>(block);
            *heads = map(elements, |bytes| ((u64::from_le_bytes(bytes) >> 48) as u16).rotate_left(1));
            *first = map(elements, |bytes| (u64::from_le_bytes(bytes) >> 32) as u16);
            *second = map(elements, |bytes| (u64::from_le_bytes(bytes) >> 16) as u16);
            *third = map(elements, |bytes| u64::from_le_bytes(bytes) as u16);
        }
    }
}

/// Takes heads that are turned back already: done here, it would run on vectors half as wide.
#[inline(always)]
fn merge<L: Layout>(split: &Split, block: &mut [u8]) {
    let Split { heads, tails: [first, second, third] } = split;
    match L::BYTES {
        2 => {
            for (bytes, head) in block.as_chunks_mut::<2>().0.iter_mut().zip(heads) {
                *bytes = head.to_le_bytes();
            }
        }
        4 => {
            for ((bytes, head), tail) in block.as_chunks_mut::<4>().0.iter_mut().zip(heads).zip(first) {
                *bytes = (u32::from(*head) << 16 | u32::from(*tail)).to_le_bytes();
            }
        }
        _ => {
            for (index, bytes) in block.as_chunks_mut::<8>().0.iter_mut().take(BLOCK).enumerate() {
                let high = u64::from(heads[index]) << 16 | u64::from(first[index]);
                let low = u64::from(second[index]) << 16 | u64::from(third[index]);
                *bytes = (high << 32 | low).to_le_bytes();
            }
        }
    }
}

/// What the first pass over a chunk finds.
struct Survey {
    counts: Vec<u32>,
    /// Whether some block shares zero bits.
    varied: bool,
}

#[inline(always)]
fn rests<L: Layout>(heads: &[u16; BLOCK]) -> [u16; BLOCK] {
    map(heads, |head| head & ((1 << L::REST_BITS) - 1))
}

#[inline(always)]
fn survey<L: Layout>(bytes: &[u8]) -> Survey {
    // Four tables: equal neighbours would wait for each other's count.
    #[allow(clippy::large_stack_arrays)] // 64 KiB: less than zstd takes, and no allocation for each chunk.
    let mut counts = [[0u32; ALPHABET]; 4];
    let mut varied = false;
    let mut taken = Split::EMPTY;
    let mut blocks = bytes.chunks_exact(BLOCK * L::BYTES);
    for block in &mut blocks {
        split::<L>(block, &mut taken);
        let symbols = map(&taken.heads, |head| head >> (16 - L::SYMBOL_BITS));
        for four in symbols.as_chunks::<4>().0 {
            for (table, symbol) in counts.iter_mut().zip(four) {
                table[usize::from(*symbol) % ALPHABET] += 1;
            }
        }
        varied |= shared_zeros(&rests::<L>(&taken.heads), L::REST_BITS) > 0;
        for tail in &taken.tails[..L::TAILS] {
            varied |= shared_zeros(tail, TAIL_BITS) > 0;
        }
    }
    for element in blocks.remainder().chunks_exact(L::BYTES) {
        counts[0][usize::from(head_of(element) >> (16 - L::SYMBOL_BITS))] += 1;
    }
    let [first, others @ ..] = &counts;
    let counts = (0..1 << L::SYMBOL_BITS)
        .map(|at| first[at] + others.iter().map(|table| table[at]).sum::<u32>())
        .collect();
    Survey { counts, varied }
}

/// Rotated upper 16 bits of an element of any width.
#[inline(always)]
fn head_of(element: &[u8]) -> u16 {
    element.last_chunk().map_or(0, |top| u16::from_le_bytes(*top).rotate_left(1))
}

/// Four bits say a width: 0 to 14 as it is, 15 for full.
#[inline(always)]
fn width_code(zeros: u32, full: u32) -> u8 {
    (full - zeros).min(15) as u8
}

#[inline(always)]
fn width_of(code: u8, full: u32) -> u32 {
    if code == 15 { full } else { u32::from(code) }
}

/// Appends a chunk: flags, code, stream lengths, blocks, what is left over of the last block, streams.
/// `false`, with nothing written, if there are no elements or too many different symbols.
#[inline(always)]
pub(super) fn encode<L: Layout>(bytes: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let survey = survey::<L>(bytes);
    let Some(code) = Code::from_counts(&survey.counts) else { return false };
    let mut encoder = Encoder::new(&code, bytes.len() / L::BYTES, std::mem::take(scratch));
    out.reserve(bytes.len());
    out.push(if survey.varied { VARIED } else { 0 });
    code.write(out);
    let lengths_at = encoder.reserve_lengths(out);
    let mut taken = Split::EMPTY;
    for group in bytes.chunks(GROUP * BLOCK * L::BYTES) {
        let mut symbols = [0u16; GROUP * BLOCK];
        let mut blocks = group.chunks_exact(BLOCK * L::BYTES);
        let mut count = 0;
        for block in &mut blocks {
            split::<L>(block, &mut taken);
            for (symbol, head) in symbols[count..].iter_mut().zip(&taken.heads) {
                *symbol = head >> (16 - L::SYMBOL_BITS);
            }
            count += BLOCK;
            pack_block::<L>(&taken, survey.varied, out);
        }
        for element in blocks.remainder().chunks_exact(L::BYTES) {
            let head = head_of(element);
            symbols[count] = head >> (16 - L::SYMBOL_BITS);
            count += 1;
            out.push((head & ((1 << L::REST_BITS) - 1)) as u8);
            out.extend_from_slice(&element[..L::BYTES - 2]);
        }
        encoder.push(&symbols[..count]);
    }
    *scratch = encoder.finish(lengths_at, out);
    true
}

#[inline(always)]
fn pack_block<L: Layout>(split: &Split, varied: bool, out: &mut Vec<u8>) {
    let rests = rests::<L>(&split.heads);
    let tails = &split.tails[..L::TAILS];
    if !varied {
        pack(&rests, 0, L::REST_BITS, out);
        for tail in tails {
            pack(tail, 0, TAIL_BITS, out);
        }
        return;
    }
    let mut codes = [0u8; 1 + MAX_TAILS];
    codes[0] = width_code(shared_zeros(&rests, L::REST_BITS), L::REST_BITS);
    for (code, tail) in codes[1..].iter_mut().zip(tails) {
        *code = width_code(shared_zeros(tail, TAIL_BITS), TAIL_BITS);
    }
    out.push(codes[0] | codes[1] << 4);
    if L::TAILS > 1 {
        out.push(codes[2] | codes[3] << 4);
    }
    let width = width_of(codes[0], L::REST_BITS);
    pack(&rests, L::REST_BITS - width, width, out);
    for (code, tail) in codes[1..].iter().zip(tails) {
        let width = width_of(*code, TAIL_BITS);
        pack(tail, TAIL_BITS - width, width, out);
    }
}

/// Fills `out` from what [`encode`] wrote. `scratch` grows to an entry per element.
#[inline(always)]
pub(super) fn decode<L: Layout>(
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u16>,
    out: &mut [u8],
) -> Result<()> {
    let varied = match reader.u8()? {
        0 => false,
        VARIED => true,
        _ => return Err(Error::Damaged("exact chunk has unknown flags")),
    };
    let code = Code::read(reader, 1 << L::SYMBOL_BITS)?;
    let count = out.len() / L::BYTES;
    let decoder = Decoder::new(&code, count, reader, |symbol, rank| {
        if L::RANKED { rank << 6 } else { symbol << (16 - L::SYMBOL_BITS) }
    })?;
    let mut present = if L::RANKED { code.present() } else { Vec::new() };
    if L::RANKED {
        // The upper ten bits of an entry then always find something.
        present.resize(1 << 10, 0);
    }
    let mask = !((1u16 << L::REST_BITS) - 1);
    let head = |entry: u16| {
        if L::RANKED { present[usize::from(entry >> 6)] << (16 - L::SYMBOL_BITS) } else { entry & mask }
    };
    if scratch.len() < count {
        scratch.resize(count, 0);
    }
    let entries = &mut scratch[..count];
    decoder.fill(entries)?;
    let (symbols, symbols_left) = entries.as_chunks::<BLOCK>();
    let mut blocks = out.chunks_exact_mut(BLOCK * L::BYTES);
    let mut taken = Split::EMPTY;
    for (block, symbols) in (&mut blocks).zip(symbols) {
        unpack_block::<L>(reader, varied, &mut taken)?;
        for (slot, entry) in taken.heads.iter_mut().zip(symbols) {
            *slot = (*slot | head(*entry)).rotate_right(1);
        }
        merge::<L>(&taken, block);
    }
    for (element, entry) in blocks.into_remainder().chunks_exact_mut(L::BYTES).zip(symbols_left) {
        let rest = u16::from(reader.u8()?);
        if rest & mask != 0 {
            return Err(Error::Damaged("exact chunk has a rest that is too wide"));
        }
        let (low, high) = element.split_at_mut(L::BYTES - 2);
        low.copy_from_slice(reader.take(L::BYTES - 2)?);
        high.copy_from_slice(&(head(*entry) | rest).rotate_right(1).to_le_bytes());
    }
    reader.finish()
}

/// The tails of a block, and its rests in place of heads.
#[inline(always)]
fn unpack_block<L: Layout>(reader: &mut Reader<'_>, varied: bool, split: &mut Split) -> Result<()> {
    if !varied {
        unpack(reader, 0, L::REST_BITS, &mut split.heads)?;
        for tail in &mut split.tails[..L::TAILS] {
            unpack(reader, 0, TAIL_BITS, tail)?;
        }
        return Ok(());
    }
    let mut codes = [0u8; 1 + MAX_TAILS];
    for pair in codes.chunks_mut(2).take(L::TAILS / 2 + 1) {
        let byte = reader.u8()?;
        pair.copy_from_slice(&[byte & 15, byte >> 4]);
    }
    if L::TAILS == 0 && codes[1] != 0 {
        return Err(Error::Damaged("exact chunk has a width for a lane that it has not"));
    }
    let width = width_of(codes[0], L::REST_BITS);
    if width > L::REST_BITS {
        return Err(Error::Damaged("exact chunk has a lane that is too wide"));
    }
    unpack(reader, L::REST_BITS - width, width, &mut split.heads)?;
    for (code, tail) in codes[1..].iter().zip(&mut split.tails[..L::TAILS]) {
        let width = width_of(*code, TAIL_BITS);
        unpack(reader, TAIL_BITS - width, width, tail)?;
    }
    Ok(())
}
