//! Values to the payload of one chunk, with the error that this makes.

use super::{
    BLOCK, GROUP, HEADER_BYTES, MODE_FIXED, MODE_RMS, SEGMENT_BLOCKS, ZERO_BLOCK,
    bits::BitWriter,
    kernel::{Kernel, Kernels},
    quantise::{Block, Grain, Quantised, level},
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

/// Sums in `f32` over a block are off by at most 32 roundings; errors are reported that much larger.
const ROUNDING: f64 = 1.0 + 4e-6;

/// Appends the payload of one chunk. Non-finite values in `values` are replaced by zeros on the way and stored apart.
///
/// `None`, with `out` untouched, where the range of the values or of the step leaves what can be computed exactly.
pub(crate) fn encode<T: Kernels>(values: &mut [T], step: Step, out: &mut Vec<u8>) -> Option<Errors> {
    encode_with(&T::fastest(), values, step, out)
}

fn encode_with<T: Grain>(kernel: &Kernel<T>, values: &mut [T], step: Step, out: &mut Vec<u8>) -> Option<Errors> {
    let mut exceptions = Vec::new();
    for (i, value) in values.iter_mut().enumerate() {
        if !value.is_finite() {
            exceptions.push((i, *value));
            *value = T::default();
        }
    }
    let scale = Scale::new(values, step)?;
    let mut chunk = Chunk {
        kernel,
        scale,
        exceptions,
        codes: Vec::with_capacity(values.len().div_ceil(BLOCK)),
        // Room for the default bound, so that weights never make it grow.
        fixed: Vec::with_capacity(values.len() + BLOCK),
        variable: Vec::with_capacity(values.len() / 3 + BLOCK),
        segments: Vec::new(),
        errors: Errors::default(),
    };
    let mut bits = BitWriter::default();
    for (index, segment) in values.chunks(SEGMENT_BLOCKS * BLOCK).enumerate() {
        for (block, values) in segment.chunks(BLOCK).enumerate() {
            chunk.block(values, (index * SEGMENT_BLOCKS + block) * BLOCK, &mut bits);
        }
        let length = bits.flush(&mut chunk.variable);
        chunk.segments.push(u16::try_from(length).ok()?);
    }
    chunk.write(out)
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
    fn new(values: &[T], step: Step) -> Option<Self> {
        let exponent = match T::largest_exponent(values) {
            Some(exponent) => exponent,
            // All zero, or so small that only bits tell them apart.
            None if values.iter().all(|value| value.to_f64() == 0.0) => 0,
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

struct Chunk<'a, T> {
    kernel: &'a Kernel<T>,
    scale: Scale<T>,
    exceptions: Vec<(usize, T)>,
    codes: Vec<u8>,
    fixed: Vec<u8>,
    variable: Vec<u8>,
    segments: Vec<u16>,
    errors: Errors,
}

impl<T: Grain> Chunk<'_, T> {
    /// Codes up to a block of values that begin at element `start` of the chunk.
    fn block(&mut self, values: &[T], start: usize, bits: &mut BitWriter) {
        let mut padded = [T::default(); BLOCK];
        let mut block = values.first_chunk::<BLOCK>().unwrap_or_else(|| {
            padded[..values.len()].copy_from_slice(values);
            &padded
        });
        let norm = (self.kernel.squared_norm)(block, self.scale.prescale);
        if norm.to_f64() == 0.0 && values.iter().all(|value| value.is_positive_zero()) {
            self.codes.push(ZERO_BLOCK);
            return;
        }
        let prescale = self.scale.prescale.to_f64();
        self.errors.squared_norm += norm.to_f64() / prescale / prescale;
        let mean_square = norm.to_f64() / values.len() as f64;

        let (step, mut code) = if self.scale.mode == MODE_RMS {
            // The largest value lies below 2, and so does every root mean square: level 8 is code 0.
            let code = (8 - level(mean_square as f32)).clamp(0, i32::from(ZERO_BLOCK) - 1) as u8;
            (T::block_step(self.scale.unit, code), code)
        } else {
            (self.scale.unit, 0)
        };
        let mut quantised = (self.kernel.quantise)(block, step, step.inverse());
        let shape = if self.scale.mode == MODE_RMS {
            self.scale.shape
        } else {
            let rms_steps = mean_square.sqrt() / prescale / step.to_f64();
            Shape::for_block(rms_steps, quantised.largest, T::MAX_LOW_BITS)
        };
        if self.scale.mode == MODE_FIXED {
            code = shape.code();
        }
        if quantised.largest > shape.largest() {
            padded = *block;
            self.except(&mut padded, &quantised, shape, start);
            block = &padded;
            quantised = (self.kernel.quantise)(block, step, step.inverse());
        }
        self.codes.push(code);
        (self.kernel.pack)(&quantised, values.len().div_ceil(GROUP), shape, &mut self.fixed, bits);
        let step = step.to_f64();
        self.errors.max_abs = self.errors.max_abs.max(quantised.max_error.to_f64());
        self.errors.squared_error += quantised.squared_error_steps.to_f64() * step * step;
    }

    /// Takes the values that are too large for `shape` out of the block and stores them apart.
    fn except(&mut self, block: &mut Block<T>, quantised: &Quantised<T>, shape: Shape, start: usize) {
        for (i, value) in block.iter_mut().enumerate() {
            if quantised.magnitudes[i] > shape.largest() {
                self.exceptions.push((start + i, *value));
                *value = T::default();
            }
        }
    }

    fn write(mut self, out: &mut Vec<u8>) -> Option<Errors> {
        let shape = if self.scale.mode == MODE_RMS { self.scale.shape.code() } else { 0 };
        let exceptions = u32::try_from(self.exceptions.len()).ok()?;
        out.reserve(HEADER_BYTES + self.codes.len() + self.fixed.len() + self.variable.len());
        out.extend_from_slice(&[self.scale.mode, shape, 0, 0]);
        out.extend_from_slice(&exceptions.to_le_bytes());
        out.extend_from_slice(&self.scale.unit.to_f64().to_le_bytes());
        out.extend_from_slice(&self.codes);
        for length in &self.segments {
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(&self.fixed);
        out.extend_from_slice(&self.variable);
        self.exceptions.sort_by_key(|&(index, _)| index);
        for (index, value) in self.exceptions {
            out.extend_from_slice(&(index as u32).to_le_bytes());
            value.write_le(out);
        }
        self.errors.max_abs *= ROUNDING;
        self.errors.squared_error *= ROUNDING;
        Some(self.errors)
    }
}
