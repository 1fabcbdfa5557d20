//! The payload of one chunk to values. Everything is checked before it is believed.

use super::{
    BLOCK, GROUP, HEADER_BYTES, MODE_FIXED, MODE_RMS, SEGMENT_BLOCKS, ZERO_BLOCK,
    bits::BitReader,
    kernel::{Kernel, Kernels},
    quantise::Grain,
    shape::Shape,
};
use crate::{Error, Result};

/// Fills `out` with the little-endian values of one chunk; its length says how many there are.
///
/// # Errors
/// [`Error::Damaged`] if the payload does not describe exactly that many values.
pub(crate) fn decode<T: Kernels>(payload: &[u8], out: &mut [u8]) -> Result<()> {
    decode_with::<T>(&T::fastest(), payload, out)
}

pub(super) fn decode_with<T: Grain>(kernel: &Kernel<T>, payload: &[u8], out: &mut [u8]) -> Result<()> {
    let chunk = Payload::<T>::parse(payload, out.len() / T::BYTES)?;
    let (mut fixed, mut segment_end) = (chunk.fixed, 0);
    let mut values = [T::default(); BLOCK];
    let segments = out.chunks_mut(SEGMENT_BLOCKS * BLOCK * T::BYTES).zip(chunk.codes.chunks(SEGMENT_BLOCKS));
    for ((out, codes), length) in segments.zip(chunk.segments.as_chunks::<2>().0) {
        let mut bits = BitReader::new(chunk.variable, segment_end);
        segment_end += usize::from(u16::from_le_bytes(*length));
        for (out, &code) in out.chunks_mut(BLOCK * T::BYTES).zip(codes) {
            if code == ZERO_BLOCK {
                out.fill(0);
                continue;
            }
            let (shape, step) = chunk.block(code)?;
            let groups = (out.len() / T::BYTES).div_ceil(GROUP);
            let (block, rest) = fixed
                .split_at_checked(groups * shape.fixed_bytes())
                .ok_or(Error::Damaged("a block is cut short"))?;
            fixed = rest;
            (kernel.restore)(block, shape, &mut bits, step, &mut values);
            for (out, value) in out.chunks_exact_mut(T::BYTES).zip(values) {
                value.store_le(out);
            }
        }
        if bits.position_bytes() != segment_end {
            return Err(Error::Damaged("a segment does not end where it should"));
        }
    }
    for exception in chunk.exceptions.chunks_exact(4 + T::BYTES) {
        let (index, value) =
            exception.split_first_chunk::<4>().ok_or(Error::Damaged("an exception is cut short"))?;
        let at = u32::from_le_bytes(*index) as usize * T::BYTES;
        out.get_mut(at..at + T::BYTES)
            .ok_or(Error::Damaged("an exception lies outside its chunk"))?
            .copy_from_slice(value);
    }
    Ok(())
}

/// The parts of a payload, their lengths checked against each other.
struct Payload<'a, T> {
    mode: u8,
    shape: Shape,
    unit: T,
    codes: &'a [u8],
    segments: &'a [u8],
    fixed: &'a [u8],
    variable: &'a [u8],
    exceptions: &'a [u8],
}

impl<'a, T: Grain> Payload<'a, T> {
    fn parse(payload: &'a [u8], elements: usize) -> Result<Self> {
        let short = || Error::Damaged("a grain chunk is cut short");
        let (header, rest) = payload.split_first_chunk::<HEADER_BYTES>().ok_or_else(short)?;
        let [mode, shape, 0, 0, e0, e1, e2, e3, unit @ ..] = *header else {
            return Err(Error::Damaged("a reserved field of a grain chunk is not zero"));
        };
        if mode != MODE_RMS && mode != MODE_FIXED {
            return Err(Error::Damaged("unknown mode of a grain chunk"));
        }
        let shape = Shape::from_code(shape, T::MAX_LOW_BITS).ok_or(Error::Damaged("shape out of range"))?;
        let unit = f64::from_le_bytes(unit);
        if !unit.is_finite() || unit <= 0.0 {
            return Err(Error::Damaged("the step of a grain chunk is not a positive number"));
        }
        let blocks = elements.div_ceil(BLOCK);
        let (codes, rest) = rest.split_at_checked(blocks).ok_or_else(short)?;
        let (segments, rest) =
            rest.split_at_checked(2 * blocks.div_ceil(SEGMENT_BLOCKS)).ok_or_else(short)?;
        let mut chunk = Self {
            mode,
            shape,
            unit: T::from_f64(unit),
            codes,
            segments,
            fixed: &[],
            variable: &[],
            exceptions: &[],
        };

        let mut fixed_bytes = 0;
        for (index, &code) in codes.iter().enumerate().filter(|&(_, &code)| code != ZERO_BLOCK) {
            let values = BLOCK.min(elements - index * BLOCK);
            fixed_bytes += values.div_ceil(GROUP) * chunk.block(code)?.0.fixed_bytes();
        }
        let variable_bytes =
            segments.as_chunks::<2>().0.iter().map(|&length| usize::from(u16::from_le_bytes(length))).sum();
        let (fixed, rest) = rest.split_at_checked(fixed_bytes).ok_or_else(short)?;
        let (variable, exceptions) = rest.split_at_checked(variable_bytes).ok_or_else(short)?;
        let count = u32::from_le_bytes([e0, e1, e2, e3]) as usize;
        if count.checked_mul(4 + T::BYTES) != Some(exceptions.len()) {
            return Err(Error::Damaged("a grain chunk has the wrong length"));
        }
        (chunk.fixed, chunk.variable, chunk.exceptions) = (fixed, variable, exceptions);
        Ok(chunk)
    }

    /// Shape and step of a block by its code.
    fn block(&self, code: u8) -> Result<(Shape, T)> {
        if self.mode == MODE_RMS {
            return Ok((self.shape, T::block_step(self.unit, code)));
        }
        let shape = Shape::from_code(code, T::MAX_LOW_BITS).ok_or(Error::Damaged("shape out of range"))?;
        Ok((shape, self.unit))
    }
}
