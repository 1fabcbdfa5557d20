//! *Soft*: smooth data, kept as its low-frequency part plus what that misses.
//!
//! The chunk is thinned to one element, halving one dimension at a time, and rebuilt from there: each pass predicts the
//! elements between those it has and keeps only the quantised residual. The coarse lattices *are* the soft (low-frequency)
//! modes: a few elements, stored a little more precisely than asked because everything finer leans on them. Where data is
//! smooth the fine passes, which are nearly all elements, leave residuals of zero that cost a small part of a bit each.
//! Prediction works on what the decoder will have (a closed loop), so errors do not add up and a step of twice the bound
//! is enough. The multi-level interpolation is that of SZ3 (Zhao et al., ICDE 2021); choosing the dimension of each pass,
//! fitting stencils to the data, and the coder are not.
//!
//! # Payload
//!
//! All numbers are little-endian. An empty chunk has an empty payload; any other is
//! 1. the step of the last pass (f64, 8 bytes),
//! 2. the element at the origin (4 or 8 bytes); where that is an exception, a stand-in,
//! 3. the length of the range-coded stream (u32), that stream, and the plain stream up to the end (see [`range`]); both
//!    go on with zeros.
//!
//! "Raw" bits are in the plain stream, lowest bit first; adaptive bits, symbols and numbers are in the range-coded one.
//! Dimensions of one element are dropped, and the outermost merged until four are left. The contents, in order:
//! 1. raw, 5 bits: `t`. Pass `i` (0 is the last) has a step of `max(1/4, (1 - t/64)^i)` times that of the last.
//! 2. raw, 6 bits: how many of the first (coarsest) passes are copied, not predicted.
//! 3. raw, 2 bits per pass, the last pass first: its dimension (3 is the innermost), until one element is left.
//! 4. For each pass, coarsest first: if copied, its elements, raw. Else, for its inner and its edge stencil, an adaptive
//!    bit that says whether it is fitted, and if so raw weights of 26 bits (offset 2^25, in units of 2^-22) in the order of
//!    its groups (see [`stencil`]); then its residuals, row after row (see [`residual`]).
//! 5. The exceptions (see [`exceptions`]).
//! 6. 0x50F7, raw and again in adaptive bits.
//!
//! Predictions are computed in the element's own type, in the order written, without fused operations, so every machine
//! decodes the same values.

mod exceptions;
mod lattice;
mod plan;
mod range;
mod rebuild;
mod residual;
mod stencil;
#[cfg(test)]
mod tests;

use crate::{Error, Result, real::Real};
use exceptions::Places;
use lattice::{Lengths, Pass, count, normalise};
use plan::Plan;
use range::{Bit, Coder, Decoder, Encoder};
use rebuild::{Originals, Rebuild};
use std::borrow::Cow;

/// Stored last in both streams: a decoder that went astray finds something else.
const CHECK: u32 = 0x50F7;
/// Each coarser pass has a step smaller by this many 64ths.
const TIGHTEN: u32 = 3;
/// But no smaller than this part of the last pass's.
const TIGHTEST: f64 = 0.25;

/// Appends the payload of one chunk to `out` so that every finite element is within `max_abs` of the original and
/// every other element (NaN, ±Inf) and every -0.0 comes back bit for bit. `None`, with `out` untouched, if it cannot
/// promise that in fewer bytes than the elements themselves take.
pub(crate) fn encode<T: Real>(values: &[T], dims: &[usize], max_abs: f64, out: &mut Vec<u8>) -> Option<()> {
    let lengths = normalise(dims);
    if values.is_empty() || count(&lengths) != values.len() {
        return values.is_empty().then_some(());
    }
    let mut exceptions = Places::new(values.len());
    let (filled, largest) = fill_gaps(values, &mut exceptions);
    let step = step_for::<T>(max_abs, largest)?;
    let bound = rounded_down::<T>(max_abs);
    let Plan { passes, copied } = plan::plan(&filled, lengths, step);

    let mut coder = Encoder::new();
    coder.raw(5, TIGHTEN);
    coder.raw(6, copied as u32);
    code_passes(&mut coder, lengths, |at| passes.get(at).map(|pass| pass.dim))?;
    let mut rebuild = Rebuild::new(filled[0], &lengths, &passes);
    for (i, pass) in passes.iter().enumerate().rev() {
        let mut originals = Originals { values: &filled, bound, missed: &mut exceptions };
        if i + copied >= passes.len() {
            rebuild.copy_pass(&mut coder, pass, Some(&originals));
        } else {
            rebuild.encode_pass(&mut coder, pass, i == 0, step_of(step, TIGHTEN, i), &mut originals);
        }
        if coder.len() >= size_of_val(values) {
            return None;
        }
    }
    exceptions::write(&mut coder, values, &exceptions);
    code_check(&mut coder);
    let before = out.len();
    out.extend_from_slice(&step.to_le_bytes());
    filled[0].write_le(out);
    coder.finish(out);
    if out.len() - before >= size_of_val(values) {
        out.truncate(before);
        return None;
    }
    Some(())
}

/// Fills `out`, of `dims` product elements, from a payload.
///
/// # Errors
/// `Damaged` if the payload does not describe exactly that many elements.
pub(crate) fn decode<T: Real>(payload: &[u8], dims: &[usize], out: &mut [T]) -> Result<()> {
    const CUT_OFF: Error = Error::Damaged("soft chunk: it is cut off");
    let lengths = normalise(dims);
    if out.is_empty() || count(&lengths) != out.len() {
        let fits = out.is_empty() && payload.is_empty();
        return if fits { Ok(()) } else { Err(Error::Damaged("soft chunk: shape and length disagree")) };
    }
    let (step, rest) = payload.split_first_chunk().ok_or(CUT_OFF)?;
    let (first, stream) = rest.split_at_checked(T::BYTES).ok_or(CUT_OFF)?;
    let step = f64::from_le_bytes(*step);

    let mut coder = Decoder::new(stream).ok_or(CUT_OFF)?;
    let tighten = coder.raw(5, 0);
    let copied = coder.raw(6, 0) as usize;
    let passes =
        code_passes(&mut coder, lengths, |_| None).ok_or(Error::Damaged("soft chunk: no such pass"))?;
    let mut rebuild = Rebuild::new(T::read_le(first), &lengths, &passes);
    out[0] = T::read_le(first);
    for (i, pass) in passes.iter().enumerate().rev() {
        if i > 0 && i + copied >= passes.len() {
            rebuild.copy_pass(&mut coder, pass, None);
        } else {
            rebuild.decode_pass(&mut coder, pass, step_of(step, tighten, i), (i == 0).then_some(&mut *out));
        }
    }
    exceptions::read(&mut coder, out)?;
    if code_check(&mut coder) {
        Ok(())
    } else {
        Err(Error::Damaged("soft chunk: its contents do not add up"))
    }
}

/// Elements that are searched for exceptions together.
const STRETCH: usize = 256;

/// Replaces what cannot be computed with (not finite, or so large that a stencil could overflow) by the element before
/// it, and notes it and every -0.0 as an exception. Also returns the largest magnitude left.
fn fill_gaps<'a, T: Real>(values: &'a [T], exceptions: &mut Places) -> (Cow<'a, [T]>, f64) {
    let negative_zero = T::from_f64(-0.0).bits();
    let limit = T::from_f64(T::LARGEST);
    let usable = |v: T| v.abs() < limit;
    let mut largest = T::default();
    let mut gaps = false;
    // In stretches, so that the common case has no branch and vectorises.
    for (i, stretch) in values.chunks(STRETCH).enumerate() {
        let (size, is_plain) = T::survey(stretch, limit);
        if is_plain && size > largest {
            largest = size;
        }
        if !is_plain {
            for (x, &v) in stretch.iter().enumerate() {
                if usable(v) && v.abs() > largest {
                    largest = v.abs();
                }
                gaps |= !usable(v);
                if !usable(v) || v.bits() == negative_zero {
                    exceptions.insert(i * STRETCH + x);
                }
            }
        }
    }
    if !gaps {
        return (Cow::Borrowed(values), largest.to_f64());
    }
    let mut last = values.iter().copied().find(|&v| usable(v)).unwrap_or_default();
    let filled = values.iter().map(|&v| {
        last = if usable(v) { v } else { last };
        last
    });
    (Cow::Owned(filled.collect()), largest.to_f64())
}

/// The step of the last pass: twice the bound, less what rounding to `T` can add.
fn step_for<T: Real>(max_abs: f64, largest: f64) -> Option<f64> {
    if max_abs.is_nan() || max_abs <= 0.0 {
        return None;
    }
    let bound = max_abs.min(2.0 * largest.max(T::SMALLEST));
    let rounding = (6.0 * largest * T::HALF_ULP).max(bound / 4096.0).min(bound / 4.0);
    let step = 2.0 * (bound - rounding);
    // Steps and their inverses must be normal numbers of `T`, the coarsest pass's too.
    (step > T::SMALLEST && step < T::LARGEST).then_some(step)
}

/// The largest `T` that is surely below `bound`. A difference that rounds to less than it is itself less than it.
fn rounded_down<T: Real>(bound: f64) -> T {
    T::from_f64((bound * (1.0 - 4.0 * T::HALF_ULP)).min(T::LARGEST))
}

/// The step of pass `i`, counted from the finest.
fn step_of(step: f64, tighten: u32, i: usize) -> f64 {
    let ratio = 1.0 - f64::from(tighten) / 64.0;
    let mut part = 1.0;
    for _ in 0..i.min(64) {
        part *= ratio;
    }
    step * part.max(TIGHTEST)
}

/// Codes the same bits into both streams. Says whether they are what they should be.
fn code_check<C: Coder>(coder: &mut C) -> bool {
    let mut is_right = coder.raw(16, CHECK) == CHECK;
    for i in 0..16 {
        let bit = CHECK >> i & 1 == 1;
        is_right &= coder.bit(&mut Bit::new(), bit) == bit;
    }
    is_right
}

/// Codes which dimension each pass halves, finest first. `None` if one cannot be halved.
fn code_passes<C: Coder>(
    coder: &mut C,
    lengths: Lengths,
    known: impl Fn(usize) -> Option<usize>,
) -> Option<Vec<Pass>> {
    let mut passes: Vec<Pass> = Vec::new();
    let mut fine = lengths;
    while fine.iter().any(|&n| n > 1) {
        let dim = coder.raw(2, known(passes.len()).unwrap_or(0) as u32) as usize;
        let pass = passes.last().map_or(Pass::last(lengths, dim), |p| p.before(dim));
        if pass.fresh[dim] == 0 {
            return None;
        }
        fine = pass.coarse;
        passes.push(pass);
    }
    Some(passes)
}
