//! Blocks of 128 values of up to 16 bits, packed into any number of bits each.
//!
//! Packing is *vertical*: a packed byte joins values that lie 32 or 64 apart, never neighbours, so that each step
//! is the same shift and mask on whole vectors and compilers vectorise it without intrinsics.

use super::reader::Reader;
use crate::Result;

/// Values in a block.
pub(super) const BLOCK: usize = 128;

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
        out.extend_from_slice(&values.map(|value| (value >> shift) as u8));
        shift += 8;
    }
    if width & 7 == 0 {
        return;
    }
    let low = values.map(|value| (value >> shift) as u8);
    let mut shift = 0;
    if width & 4 != 0 {
        let mut bytes = [0u8; BLOCK / 2];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = low[index] & 15 | low[index + BLOCK / 2] << 4;
        }
        out.extend_from_slice(&bytes);
        shift += 4;
    }
    if width & 2 != 0 {
        let mut bytes = [0u8; BLOCK / 4];
        for (index, byte) in bytes.iter_mut().enumerate() {
            for part in 0..4 {
                *byte |= (low[index + part * (BLOCK / 4)] >> shift & 3) << (2 * part);
            }
        }
        out.extend_from_slice(&bytes);
        shift += 2;
    }
    if width & 1 != 0 {
        let mut bytes = [0u8; BLOCK / 8];
        for (index, byte) in bytes.iter_mut().enumerate() {
            for part in 0..8 {
                *byte |= (low[index + part * (BLOCK / 8)] >> shift & 1) << part;
            }
        }
        out.extend_from_slice(&bytes);
    }
}

/// Reads what [`pack`] wrote; values come back shifted up by `shift`.
#[inline(always)]
pub(super) fn unpack(reader: &mut Reader<'_>, shift: u32, width: u32) -> Result<[u16; BLOCK]> {
    let mut values = [0u16; BLOCK];
    if width >= 16 {
        let bytes = reader.array::<{ 2 * BLOCK }>()?;
        for (value, pair) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *value = u16::from_le_bytes(*pair);
        }
        return Ok(values);
    }
    let mut low_shift = 0;
    if width & 8 != 0 {
        values = reader.array::<BLOCK>()?.map(u16::from);
        low_shift = 8;
    }
    if width & 7 != 0 {
        let low = unpack_low(reader, width)?;
        for (value, low) in values.iter_mut().zip(low) {
            *value |= u16::from(low) << low_shift;
        }
    }
    Ok(values.map(|value| value << shift))
}

#[inline(always)]
fn unpack_low(reader: &mut Reader<'_>, width: u32) -> Result<[u8; BLOCK]> {
    let mut low = [0u8; BLOCK];
    let mut shift = 0;
    if width & 4 != 0 {
        let bytes = reader.array::<{ BLOCK / 2 }>()?;
        for (index, byte) in bytes.iter().enumerate() {
            low[index] = byte & 15;
            low[index + BLOCK / 2] = byte >> 4;
        }
        shift += 4;
    }
    if width & 2 != 0 {
        let bytes = reader.array::<{ BLOCK / 4 }>()?;
        for part in 0..4 {
            for (index, byte) in bytes.iter().enumerate() {
                low[index + part * (BLOCK / 4)] |= (byte >> (2 * part) & 3) << shift;
            }
        }
        shift += 2;
    }
    if width & 1 != 0 {
        let bytes = reader.array::<{ BLOCK / 8 }>()?;
        for part in 0..8 {
            for (index, byte) in bytes.iter().enumerate() {
                low[index + part * (BLOCK / 8)] |= (byte >> part & 1) << shift;
            }
        }
    }
    Ok(low)
}
