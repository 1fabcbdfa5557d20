//! The payload of one chunk to values. Everything is checked before it is believed.

use super::{
    BLOCK, GROUP, HEADER_BYTES, MODE_FIXED, MODE_RMS, SEGMENT_BLOCKS, ZERO_BLOCK,
    bits::BitReader,
    kernel::{Kernel, Kernels},
    quantise::Grain,
    shape::Shape,
};
use crate::{Error, Result};

/// Fills `out` with the values of one chunk; its length says how many there are.
///
/// # Errors
/// [`Error::Damaged`] if the payload does not describe exactly that many values.
pub(crate) fn decode<T: Kernels>(payload: &[u8], out: &mut [T]) -> Result<()> {
    decode_with::<T>(&T::fastest(), payload, out)
}

pub(super) fn decode_with<T: Grain>(kernel: &Kernel<T>, payload: &[u8], out: &mut [T]) -> Result<()> {
    let chunk = Payload::<T>::parse(payload, out.len())?;
    let (mut fixed, mut segment_end) = (chunk.fixed, 0);
    let segments = out.chunks_mut(SEGMENT_BLOCKS * BLOCK).zip(chunk.codes.chunks(SEGMENT_BLOCKS));
    for ((out, codes), length) in segments.zip(chunk.segments.as_chunks::<2>().0) {
        let mut bits = BitReader::new(chunk.variable, segment_end);
        segment_end += usize::from(u16::from_le_bytes(*length));
        for (out, &code) in out.chunks_mut(BLOCK).zip(codes) {
            if code == ZERO_BLOCK {
                out.fill(T::default());
                continue;
            }
            let (shape, step) = chunk.block(code)?;
            let bytes = out.len().div_ceil(GROUP) * shape.fixed_bytes();
            let (block, rest) =
                fixed.split_at_checked(bytes).ok_or(Error::Damaged("a block is cut short"))?;
            fixed = rest;
            if let Some(out) = out.first_chunk_mut::<BLOCK>() {
                (kernel.restore)(block, shape, &mut bits, step, out);
            } else {
                let mut padded = [T::default(); BLOCK];
                (kernel.restore)(block, shape, &mut bits, step, &mut padded);
                out.copy_from_slice(&padded[..out.len()]);
            }
        }
        if bits.position_bytes() != segment_end {
            return Err(Error::Damaged("a segment does not end where it should"));
        }
    }
    for exception in chunk.exceptions.chunks_exact(4 + T::BYTES) {
        let (index, value) =
            exception.split_first_chunk::<4>().ok_or(Error::Damaged("an exception is cut short"))?;
        let place = out
            .get_mut(u32::from_le_bytes(*index) as usize)
            .ok_or(Error::Damaged("an exception lies outside its chunk"))?;
        *place = T::read_le(value);
    }
    Ok(())
}

/// The parts of a payload, their lengths checked against each other.
pub(super) struct Payload<'a, T> {
    pub(super) mode: u8,
    pub(super) shape: Shape,
    pub(super) unit: T,
    pub(super) codes: &'a [u8],
    pub(super) segments: &'a [u8],
    pub(super) fixed: &'a [u8],
    variable: &'a [u8],
    pub(super) exceptions: &'a [u8],
}

impl<'a, T: Grain> Payload<'a, T> {
    pub(super) fn parse(payload: &'a [u8], elements: usize) -> Result<Self> {
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
