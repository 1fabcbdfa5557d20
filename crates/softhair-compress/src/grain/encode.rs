//! Values to the payload of one chunk, with the error that this makes.

use super::{
    BLOCK, GROUP, HEADER_BYTES, MODE_FIXED, MODE_RMS, SEGMENT_BLOCKS, ZERO_BLOCK,
    bits::BitWriter,
    kernel::{Kernel, Kernels},
    on_card::ROUNDING,
    quantise::{Block, Grain, level},
    shape::Shape,
};
use crate::measure::Errors;

/// How wide the quantiser's steps are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// This many root mean squares of the block.
    OfBlockRms(f64),
    /// The same everywhere.
    Fixed(f64),
}

/// Appends the payload of one chunk. Values that are not finite are stored apart, bit for bit.
///
/// `None`, with `out` as it was, where the range of the values or of the step leaves what can be computed exactly.
pub(crate) fn encode<T: Kernels>(values: &[T], step: Step, out: &mut Vec<u8>) -> Option<Errors> {
    encode_with(&T::fastest(), values, step, out)
}

pub(super) fn encode_with<T: Grain>(
    kernel: &Kernel<T>,
    values: &[T],
    step: Step,
    out: &mut Vec<u8>,
) -> Option<Errors> {
    let scale = Scale::new(kernel, values, step)?;
    let start = out.len();
    let blocks = values.len().div_ceil(BLOCK);
    let codes = start + HEADER_BYTES;
    let lengths = codes + blocks;
    let fixed = lengths + 2 * blocks.div_ceil(SEGMENT_BLOCKS);
    // Room for the default bound: weights never make it grow.
    out.reserve(fixed - start + values.len() + values.len() / 8);
    out.resize(fixed, 0);
    let mut chunk = Chunk {
        kernel,
        scale,
        exceptions: Vec::new(),
        fixed: out,
        variable: BitWriter::with_capacity(values.len() / 4 + BLOCK),
        errors: Errors::default(),
    };
    let mut segment_start = 0;
    for (index, block) in values.chunks(BLOCK).enumerate() {
        chunk.fixed[codes + index] = chunk.block(block, index * BLOCK);
        if (index + 1) % SEGMENT_BLOCKS == 0 || index + 1 == blocks {
            let end = chunk.variable.flush().len();
            let at = lengths + 2 * (index / SEGMENT_BLOCKS);
            // 4,096 values of at most 63 bits each: below 32 KiB.
            chunk.fixed[at..at + 2].copy_from_slice(&((end - segment_start) as u16).to_le_bytes());
            segment_start = end;
        }
    }
    let Chunk { mut exceptions, mut variable, mut errors, .. } = chunk;
    out.extend_from_slice(variable.flush());
    exceptions.sort_by_key(|&(index, _)| index);
    let header = [scale.mode, if scale.mode == MODE_RMS { scale.shape.code() } else { 0 }, 0, 0];
    out[start..start + 4].copy_from_slice(&header);
    out[start + 4..start + 8].copy_from_slice(&(exceptions.len() as u32).to_le_bytes());
    out[start + 8..codes].copy_from_slice(&scale.unit.to_f64().to_le_bytes());
    for (index, value) in exceptions {
        out.extend_from_slice(&(index as u32).to_le_bytes());
        value.write_le(out);
    }
    errors.max_abs *= ROUNDING;
    errors.squared_error *= ROUNDING;
    Some(errors)
}

/// What steps are multiples of, in one chunk.
#[derive(Clone, Copy)]
struct Scale<T> {
    mode: u8,
    unit: T,
    /// Brings the largest value to between 1 and 2.
    prescale: T,
    /// Shape of every block in [`MODE_RMS`].
    shape: Shape,
}

impl<T: Grain> Scale<T> {
    fn new(kernel: &Kernel<T>, values: &[T], step: Step) -> Option<Self> {
        let mut largest = (kernel.largest_magnitude)(values);
        if !largest.is_finite() {
            let finite = values.iter().copied().filter(|value| value.is_finite());
            largest = T::largest_magnitude(&finite.collect::<Vec<_>>());
        }
        let exponent = match largest.exponent() {
            Some(exponent) => exponent,
            None if largest.is_positive_zero() => 0,
            // Subnormal: only bits tell such values apart.
            None => return None,
        };
        let prescale = T::prescale(exponent)?;
        let (mode, unit, rms_steps) = match step {
            Step::OfBlockRms(fraction) => (MODE_RMS, fraction * 2f64.powi(exponent + 1), 1.0 / fraction),
            Step::Fixed(step) => (MODE_FIXED, step, 1.0),
        };
        let unit = T::from_f64(unit);
        // The smallest step and its inverse must still be exact to the last bit.
        let smallest = super::shape::exponent(unit.to_f64()) - if mode == MODE_RMS { 32 } else { 0 };
        T::prescale(smallest + 32)?;
        Some(Self { mode, unit, prescale, shape: Shape::for_rms(rms_steps, T::MAX_LOW_BITS) })
    }
}

/// A chunk being coded.
struct Chunk<'a, T> {
    kernel: &'a Kernel<T>,
    scale: Scale<T>,
    exceptions: Vec<(usize, T)>,
    fixed: &'a mut Vec<u8>,
    variable: BitWriter,
    errors: Errors,
}

impl<T: Grain> Chunk<'_, T> {
    /// Codes up to a block of values that begin at element `start` of the chunk; gives the block's code.
    fn block(&mut self, values: &[T], start: usize) -> u8 {
        let Scale { mode, unit, prescale, .. } = self.scale;
        let mut padded = [T::default(); BLOCK];
        let mut block = values.first_chunk::<BLOCK>().unwrap_or_else(|| {
            padded[..values.len()].copy_from_slice(values);
            &padded
        });
        let mut norm = (self.kernel.squared_norm)(block, prescale);
        if !norm.is_finite() {
            padded = *block;
            self.except(&mut padded, start, |_, value| !value.is_finite());
            block = &padded;
            norm = (self.kernel.squared_norm)(block, prescale);
        }
        let norm = norm.to_f64();
        if norm == 0.0 && block.iter().all(|value| value.is_positive_zero()) {
            return ZERO_BLOCK;
        }
        let prescale = prescale.to_f64();
        self.errors.squared_norm += norm / prescale / prescale;
        let mean_square = norm / values.len() as f64;

        let (step, mut code) = if mode == MODE_RMS {
            // The largest value lies below 2, and so does every root mean square: level 8 is code 0.
            let code = (8 - level(mean_square as f32)).clamp(0, i32::from(ZERO_BLOCK) - 1) as u8;
            (T::block_step(unit, code), code)
        } else {
            (unit, 0)
        };
        let mut quantised = (self.kernel.quantise)(block, step, step.inverse());
        let mut shape = self.scale.shape;
        if mode == MODE_FIXED {
            let rms_steps = mean_square.sqrt() / prescale / step.to_f64();
            shape = Shape::for_block(rms_steps, quantised.largest, T::MAX_LOW_BITS);
            code = shape.code();
        }
        if quantised.largest > shape.largest() {
            let mut within = *block;
            self.except(&mut within, start, |i, _| quantised.magnitudes[i] > shape.largest());
            quantised = (self.kernel.quantise)(&within, step, step.inverse());
        }
        (self.kernel.pack)(&quantised, values.len().div_ceil(GROUP), shape, self.fixed, &mut self.variable);
        let step = step.to_f64();
        self.errors.max_abs = self.errors.max_abs.max(quantised.max_error.to_f64());
        self.errors.squared_error += quantised.squared_error_steps.to_f64() * step * step;
        code
    }

    /// Takes the values for which `apart` holds out of the block; they are stored apart.
    fn except(&mut self, block: &mut Block<T>, start: usize, apart: impl Fn(usize, T) -> bool) {
        for (i, value) in block.iter_mut().enumerate() {
            if apart(i, *value) {
                self.exceptions.push((start + i, *value));
                *value = T::default();
            }
        }
    }
}
