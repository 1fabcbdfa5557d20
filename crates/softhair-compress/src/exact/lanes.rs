//! Blocks of 128 values of up to 16 bits, packed into any number of bits each.
//!
//! Packing is *vertical*: a packed byte joins values that lie 16 to 64 apart, never neighbours, so that each step
//! is the same shift and mask on whole vectors and compilers vectorise it without intrinsics.

use super::reader::Reader;
use crate::Result;

/// Values in a block.
pub(super) const BLOCK: usize = 128;

/// `[T; BLOCK]::map` is not vectorised; this is.
#[inline(always)]
pub(super) fn map<T: Copy, U: Copy + Default>(values: &[T; BLOCK], change: impl Fn(T) -> U) -> [U; BLOCK] {
    let mut out = [U::default(); BLOCK];
    for (slot, value) in out.iter_mut().zip(values) {
        *slot = change(*value);
    }
    out
}

/// Zero bits at the low end that all values share, counted up to `width`.
#[inline(always)]
pub(super) fn shared_zeros(values: &[u16; BLOCK], width: u32) -> u32 {
    let any = values.iter().fold(0, |any, value| any | *value);
    any.trailing_zeros().min(width)
}

/// Appends the low `width` bits of each value shifted down by `shift`: 16 bytes per bit of width, in parts of
/// 8, 4, 2 and 1 bits as the width's binary digits say, lowest bits first. A width of 16 is plain little-endian.
#[inline(always)]
pub(super) fn pack(values: &[u16; BLOCK], shift: u32, width: u32, out: &mut Vec<u8>) {
    if width >= 16 {
        let mut bytes = [0; 2 * BLOCK];
        for (pair, value) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
            *pair = value.to_le_bytes();
        }
        out.extend_from_slice(&bytes);
        return;
    }
    let mut shift = shift;
    if width & 8 != 0 {
        out.extend_from_slice(&map(values, |value| (value >> shift) as u8));
        shift += 8;
    }
    if width.is_multiple_of(8) {
        return;
    }
    let low = words::<{ BLOCK / 8 }>(&map(values, |value| (value >> shift) as u8));
    let mut shift = 0;
    if width & 4 != 0 {
        out.extend_from_slice(join::<2>(&low, shift, &mut [0; BLOCK]));
        shift += 4;
    }
    if width & 2 != 0 {
        out.extend_from_slice(join::<4>(&low, shift, &mut [0; BLOCK]));
        shift += 2;
    }
    if width & 1 != 0 {
        out.extend_from_slice(join::<8>(&low, shift, &mut [0; BLOCK]));
    }
}

/// Eight values of up to 8 bits at once.
type Words = [u64; BLOCK / 8];

#[inline(always)]
fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut out = [0; N];
    for (word, eight) in out.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*eight);
    }
    out
}

/// In each byte, the low `8 / parts` bits.
const fn low_bits(parts: usize) -> u64 {
    (0xFF >> (8 - 8 / parts)) * 0x0101_0101_0101_0101
}

/// Joins `PARTS` times `8 / PARTS` bits from above `shift` into a byte.
#[inline(always)]
fn join<'a, const PARTS: usize>(low: &Words, shift: u32, bytes: &'a mut [u8; BLOCK]) -> &'a [u8] {
    let count = BLOCK / 8 / PARTS;
    let mut joined: Words = [0; BLOCK / 8];
    for (part, words) in low.chunks_exact(count).enumerate() {
        for (slot, word) in joined.iter_mut().zip(words) {
            *slot |= (word >> shift & low_bits(PARTS)) << (part * 8 / PARTS);
        }
    }
    for (eight, word) in bytes.as_chunks_mut().0.iter_mut().zip(joined) {
        *eight = word.to_le_bytes();
    }
    &bytes[..8 * count]
}

/// Undoes [`join`].
#[inline(always)]
fn part<const PARTS: usize>(joined: &[u8], shift: u32, low: &mut Words) {
    let count = BLOCK / 8 / PARTS;
    let joined = words::<{ BLOCK / 8 }>(joined);
    for (part, words) in low.chunks_exact_mut(count).enumerate() {
        for (slot, word) in words.iter_mut().zip(joined) {
            *slot |= (word >> (part * 8 / PARTS) & low_bits(PARTS)) << shift;
        }
    }
}

/// Reads what [`pack`] wrote into `values`, shifted up by `shift`.
#[inline(always)]
pub(super) fn unpack(
    reader: &mut Reader<'_>,
    shift: u32,
    width: u32,
    values: &mut [u16; BLOCK],
) -> Result<()> {
    if width >= 16 {
        let bytes = reader.array::<{ 2 * BLOCK }>()?;
        for (value, pair) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *value = u16::from_le_bytes(*pair);
        }
        return Ok(());
    }
    let mut low = [0u8; BLOCK];
    if width & 8 != 0 {
        let bytes = reader.array::<BLOCK>()?;
        if width & 7 != 0 {
            unpack_low(reader, width, &mut low)?;
        }
        for index in 0..BLOCK {
            values[index] = (u16::from(bytes[index]) | u16::from(low[index]) << 8) << shift;
        }
    } else if width == 0 {
        values.fill(0);
    } else {
        unpack_low(reader, width, &mut low)?;
        for index in 0..BLOCK {
            values[index] = u16::from(low[index]) << shift;
        }
    }
    Ok(())
}

/// The parts of 4, 2 and 1 bits.
#[inline(always)]
fn unpack_low(reader: &mut Reader<'_>, width: u32, bytes: &mut [u8; BLOCK]) -> Result<()> {
    let mut low: Words = [0; BLOCK / 8];
    let mut shift = 0;
    if width & 4 != 0 {
        part::<2>(reader.array::<{ BLOCK / 2 }>()?, shift, &mut low);
        shift += 4;
    }
    if width & 2 != 0 {
        part::<4>(reader.array::<{ BLOCK / 4 }>()?, shift, &mut low);
        shift += 2;
    }
    if width & 1 != 0 {
        part::<8>(reader.array::<{ BLOCK / 8 }>()?, shift, &mut low);
    }
    for (eight, word) in bytes.as_chunks_mut().0.iter_mut().zip(low) {
        *eight = word.to_le_bytes();
    }
    Ok(())
}
