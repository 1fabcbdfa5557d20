//! zstd on one buffer, with contexts kept per thread. Level and options are part of the format's determinism only
//! for writers; any zstd frame of the right size is read.

use crate::{Error, Result};
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// zstd's default. On differences of smooth floats level 1 is 2 to 30 % larger; on ids and masks both are equal.
const LEVEL: i32 = 3;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses; should zstd fail, answers with the bytes as they are, which callers find too large to keep.
pub(super) fn compress(bytes: &[u8]) -> Vec<u8> {
    COMPRESSOR
        .with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = Some(Compressor::new(LEVEL)?);
            }
            slot.as_mut().map_or_else(|| Ok(bytes.to_vec()), |zstd| zstd.compress(bytes))
        })
        .unwrap_or_else(|_: std::io::Error| bytes.to_vec())
}

/// Fills `out` from a zstd frame.
pub(super) fn decompress(frame: &[u8], out: &mut [u8]) -> Result<()> {
    const BROKEN: Error = Error::Damaged("a zstd frame in an exact chunk does not decode");
    let written = DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Decompressor::new().ok();
        }
        slot.as_mut().ok_or(BROKEN)?.decompress_to_buffer(frame, out).map_err(|_| BROKEN)
    })?;
    if written == out.len() { Ok(()) } else { Err(BROKEN) }
}
