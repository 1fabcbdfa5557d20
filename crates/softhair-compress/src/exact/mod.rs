//! *Exact*: a chunk comes back bit for bit.
//!
//! A payload is a byte that says how ([`Mode`]) and what that way wrote. Float weights go through [`float`];
//! [`choose`] finds out whether something else (byte planes, differences, zstd, taking out zeros) is smaller.
//! The same chunk gives the same bytes on every machine. This module knows nothing of frames or error bounds.

// What `simd` compiles twice must be inlined into both forms, or it is compiled for the baseline only.
#![allow(clippy::inline_always)]

mod choose;
mod float;
mod huffman;
mod lanes;
mod planes;
mod reader;
mod sample;
mod simd;
mod sparse;
mod streams;
#[cfg(test)]
mod tests;
mod zstandard;

use crate::{DType, Error, Result};
use choose::Job;
use reader::Reader;
use simd::Level;
use std::cell::RefCell;

thread_local! {
    /// Memory for bit streams, kept between chunks: fresh pages would cost as much as the coding.
    static STREAMS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The same for symbols read.
    static SYMBOLS: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// Scratch of more bytes or symbols than this is given back after a chunk.
const SCRATCH_KEPT: usize = 1 << 20;

/// First byte of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// The bytes as they are.
    Raw,
    /// One element, many times.
    Same,
    /// See [`float`].
    Float,
    /// See [`planes`].
    Planes,
    /// A zstd frame of the bytes as they are.
    Whole,
    /// Length of the mask's payload, that payload (of a `U8` chunk), and the payload of what is not zero.
    Sparse,
}

impl Mode {
    fn from_byte(byte: u8) -> Result<Self> {
        [Self::Raw, Self::Same, Self::Float, Self::Planes, Self::Whole, Self::Sparse]
            .get(usize::from(byte))
            .copied()
            .ok_or(Error::Damaged("exact chunk is coded in an unknown way"))
    }
}

/// Appends the payload of one chunk to `out`: at most one byte more than the chunk has.
///
/// Chunks may have any length that is a multiple of the element size, and any alignment.
pub(crate) fn encode(dtype: DType, bytes: &[u8], out: &mut Vec<u8>) {
    encode_at(Level::detect(), dtype, bytes, out);
}

/// Fills `out` (whose length is the validated size of the chunk in bytes) from a payload.
///
/// # Errors
/// `Damaged` if the payload does not describe exactly `out.len()` bytes.
pub(crate) fn decode(dtype: DType, payload: &[u8], out: &mut [u8]) -> Result<()> {
    decode_at(Level::detect(), dtype, payload, out)
}

fn encode_at(level: Level, dtype: DType, bytes: &[u8], out: &mut Vec<u8>) {
    let mut scratch = STREAMS.take();
    choose::encode(Job { level, dtype, bytes, may_be_sparse: true }, &mut scratch, out);
    if scratch.len() <= SCRATCH_KEPT {
        STREAMS.set(scratch);
    }
}

fn decode_at(level: Level, dtype: DType, payload: &[u8], out: &mut [u8]) -> Result<()> {
    if !out.len().is_multiple_of(dtype.size_bytes()) {
        return Err(Error::Damaged("exact chunk ends within an element"));
    }
    let mut scratch = SYMBOLS.take();
    let result = decode_any(level, dtype, payload, &mut scratch, out);
    if scratch.len() <= SCRATCH_KEPT {
        SYMBOLS.set(scratch);
    }
    result
}

fn decode_any(
    level: Level,
    dtype: DType,
    payload: &[u8],
    scratch: &mut Vec<u16>,
    out: &mut [u8],
) -> Result<()> {
    let mut reader = Reader::new(payload);
    let mode = Mode::from_byte(reader.u8()?)?;
    if mode == Mode::Sparse {
        return decode_sparse(level, dtype, &mut reader, scratch, out);
    }
    decode_dense(level, dtype, mode, &mut reader, scratch, out)
}

fn decode_dense(
    level: Level,
    dtype: DType,
    mode: Mode,
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u16>,
    out: &mut [u8],
) -> Result<()> {
    let element = dtype.size_bytes();
    match mode {
        Mode::Raw => {
            out.copy_from_slice(reader.take(out.len())?);
            reader.finish()
        }
        Mode::Same => {
            let value = reader.take(element)?;
            // Each round doubles what is filled.
            let mut filled = element.min(out.len());
            out[..filled].copy_from_slice(&value[..filled]);
            while filled < out.len() {
                let count = filled.min(out.len() - filled);
                out.copy_within(..count, filled);
                filled += count;
            }
            reader.finish()
        }
        Mode::Float => level.float_decode(dtype, reader, scratch, out),
        Mode::Planes => planes::decode(level, element, reader, scratch, out),
        Mode::Whole => zstandard::decompress(reader.rest(), out),
        Mode::Sparse => Err(Error::Damaged("exact chunk takes out zeros twice")),
    }
}

fn decode_sparse(
    level: Level,
    dtype: DType,
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u16>,
    out: &mut [u8],
) -> Result<()> {
    let element = dtype.size_bytes();
    let mut mask = vec![0; sparse::mask_bytes(out.len() / element)];
    let length = reader.length()?;
    let mut part = Reader::new(reader.take(length)?);
    let mode = Mode::from_byte(part.u8()?)?;
    decode_dense(level, DType::U8, mode, &mut part, scratch, &mut mask)?;
    let count = sparse::count(&mask);
    if count > out.len() / element {
        return Err(Error::Damaged("a zero mask names elements outside its chunk"));
    }
    let mut others = vec![0; count * element];
    let mode = Mode::from_byte(reader.u8()?)?;
    decode_dense(level, dtype, mode, reader, scratch, &mut others)?;
    sparse::merge(element, &mask, &others, out)
}
