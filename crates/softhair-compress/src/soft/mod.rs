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
//! Payload: the step of the last pass (f64), the first element (as it is), and one range-coded stream:
//! the ratio of steps between passes; for each pass, finest first, its dimension; for each pass, coarsest first, its
//! weights (or one bit saying "cubic") and residuals; the exceptions; sixteen check bits.

mod exceptions;
mod lattice;
mod plan;
mod range;
mod residual;
mod stencil;
#[cfg(test)]
mod tests;

use crate::{Error, Result, real::Real};
use lattice::{Lengths, Padded, Pass, RANK, count, merge, normalise, rows};
use range::{Bit, Coder, Decoder, Encoder};
use residual::{ResidualModels, code_pass};
use stencil::{Part, Stencil, WEIGHT_BITS, WEIGHT_RANGE, columns, fit, pads};

/// Stored last: a decoder that went astray finds something else.
const CHECK: u32 = 0x50F7;
/// Each coarser pass has a step smaller by this many 64ths.
const TIGHTEN: u32 = 6;
/// But no smaller than this part of the last pass's.
const TIGHTEST: f64 = 0.25;

/// Appends the payload of one chunk to `out` so that every finite element is within `max_abs` of the original and
/// every other element (NaN, ±Inf) comes back bit for bit. `None`, with `out` untouched, if it cannot promise that.
pub(crate) fn encode<T: Real>(values: &[T], dims: &[usize], max_abs: f64, out: &mut Vec<u8>) -> Option<()> {
    let lengths = normalise(dims);
    if values.is_empty() || count(&lengths) != values.len() {
        return values.is_empty().then_some(());
    }
    let (filled, largest) = fill_gaps(values);
    let step = step_for::<T>(max_abs, largest)?;
    let plan = plan::plan(&filled, lengths, step);
    let first = filled[0];
    drop(filled);

    let mut coder = Encoder::new();
    let tighten = std::env::var("TIGHTEN").map_or(TIGHTEN, |v| v.parse().unwrap());
    coder.raw(5, tighten);
    code_dimensions(&mut coder, lengths, |at| plan.passes.get(at).map(|pass| pass.dim))?;
    let mut state = State::new(first, &lengths);
    for (i, (pass, targets)) in plan.passes.iter().zip(&plan.fresh).enumerate().rev() {
        let before = coder.len();
        state.encode_pass(&mut coder, pass, targets, step_of(step, tighten, i));
        if std::env::var("TRACE").is_ok() {
            let nz = state.residuals.iter().filter(|&&r| r != 0).count();
            eprintln!("pass {i} dim {} fresh {:?} n {} nonzero {nz} bytes {} w {:?}", pass.dim, pass.fresh, targets.len(), coder.len() - before, state.trace);
        }
    }
    exceptions::write(&mut coder, values, |i| !holds(values[i], state.lattice[i], max_abs));
    coder.raw(16, CHECK);
    let stream = coder.finish();
    if stream.len() + 8 + T::BYTES >= size_of_val(values) {
        return None;
    }
    out.extend_from_slice(&step.to_le_bytes());
    first.write_le(out);
    out.extend_from_slice(&stream);
    Some(())
}

/// Fills `out`, of `dims` product elements, from a payload.
///
/// # Errors
/// `Damaged` if the payload does not describe exactly that many elements.
pub(crate) fn decode<T: Real>(payload: &[u8], dims: &[usize], out: &mut [T]) -> Result<()> {
    let lengths = normalise(dims);
    if out.is_empty() || count(&lengths) != out.len() {
        let fits = out.is_empty() && payload.is_empty();
        return if fits { Ok(()) } else { Err(Error::Damaged("soft chunk: shape and length disagree")) };
    }
    let (step, rest) = payload.split_first_chunk().ok_or(Error::Damaged("soft chunk: it is cut off"))?;
    let (first, stream) = rest.split_at_checked(T::BYTES).ok_or(Error::Damaged("soft chunk: it is cut off"))?;
    let step = f64::from_le_bytes(*step);

    let mut coder = Decoder::new(stream);
    let tighten = coder.raw(5, 0);
    let passes = code_dimensions(&mut coder, lengths, |_| None).ok_or(Error::Damaged("soft chunk: no such pass"))?;
    let mut state = State::new(T::read_le(first), &lengths);
    for (i, pass) in passes.iter().enumerate().rev() {
        state.decode_pass(&mut coder, pass, step_of(step, tighten, i));
    }
    out.copy_from_slice(&state.lattice);
    exceptions::read(&mut coder, out)?;
    if coder.raw(16, 0) != CHECK {
        return Err(Error::Damaged("soft chunk: its contents do not add up"));
    }
    Ok(())
}

/// Is `found` good enough for `value`? Strictly inside the bound, because the difference may have been rounded.
#[inline]
fn holds<T: Real>(value: T, found: T, max_abs: f64) -> bool {
    let near = (value.to_f64() - found.to_f64()).abs() < max_abs;
    value.bits() == found.bits() || near && value.bits() != T::from_f64(-0.0).bits()
}

/// Replaces what cannot be computed with (not finite, or so large that a stencil could overflow) by the element before
/// it. Also returns the largest magnitude left.
fn fill_gaps<T: Real>(values: &[T]) -> (Vec<T>, f64) {
    let limit = T::LARGEST;
    let usable = |v: &T| v.to_f64().abs() < limit;
    let mut last = values.iter().copied().find(usable).unwrap_or_default();
    let mut largest = 0.0_f64;
    let filled = values.iter().map(|&v| {
        if usable(&v) {
            last = v;
            largest = largest.max(v.to_f64().abs());
        }
        last
    });
    let filled = filled.collect();
    (filled, largest)
}

/// The step of the last pass: twice the bound, less what rounding to `T` can add.
fn step_for<T: Real>(max_abs: f64, largest: f64) -> Option<f64> {
    let bound = max_abs.min(2.0 * largest.max(T::SMALLEST));
    let rounding = (6.0 * largest * T::HALF_ULP).max(bound / 4096.0).min(bound / 4.0);
    let step = 2.0 * (bound - rounding);
    // Steps and their inverses must be normal numbers of `T`, the coarsest pass's too. False for NaN.
    (step > T::SMALLEST && step < T::LARGEST).then_some(step)
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

/// Codes which dimension each pass halves, finest first. `None` if one cannot be halved.
fn code_dimensions<C: Coder>(
    coder: &mut C,
    lengths: Lengths,
    known: impl Fn(usize) -> Option<usize>,
) -> Option<Vec<Pass>> {
    let mut fine = lengths;
    let mut passes = Vec::new();
    while fine.iter().any(|&n| n > 1) {
        let dim = coder.raw(2, known(passes.len()).unwrap_or(0) as u32) as usize;
        if fine[dim] < 2 {
            return None;
        }
        let pass = Pass::new(fine, dim);
        fine = pass.coarse;
        passes.push(pass);
    }
    Some(passes)
}

/// What an encoder and a decoder both have after each pass.
struct State<T> {
    lattice: Vec<T>,
    /// Magnitudes of the residuals that made it.
    energy: Vec<u16>,
    pad: [usize; RANK],
    models: ResidualModels,
    is_fitted: [Bit; 2],
    residuals: Vec<i32>,
    trace: Vec<f64>,
}

impl<T: Real> State<T> {
    fn new(first: T, lengths: &Lengths) -> Self {
        Self {
            lattice: vec![first],
            energy: vec![0],
            pad: pads(lengths),
            models: ResidualModels::new(),
            is_fitted: [Bit::new(); 2],
            residuals: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn encode_pass(&mut self, coder: &mut Encoder, pass: &Pass, targets: &[T], step: f64) {
        let coarse = Padded::new(&self.lattice, &pass.coarse, &self.pad, pass.dim);
        let stencils = self.stencils(coder, pass, &coarse, |stencil, part| {
            fit(stencil, pass, part, &coarse, targets, step)
        });
        self.residuals.clear();
        self.residuals.resize(targets.len(), 0);
        self.trace = stencils[0].1.weights.clone();
        let (step, inverse) = (T::from_f64(step), T::from_f64(1.0 / step));
        let mut fresh = vec![T::default(); targets.len()];
        for_parts(pass, &stencils, |at, row, x, stencil| {
            let places = at + x.start..at + x.end;
            let fresh = &mut fresh[places.clone()];
            stencil.predict(&coarse.values, coarse.at(row) + x.start, fresh);
            for ((f, &target), residual) in
                fresh.iter_mut().zip(&targets[places.clone()]).zip(&mut self.residuals[places])
            {
                let (steps, whole) = ((target - *f) * inverse).nearest();
                *f = *f + steps * step;
                *residual = whole;
            }
        });
        self.finish_pass(coder, pass, &fresh);
    }

    fn decode_pass(&mut self, coder: &mut Decoder, pass: &Pass, step: f64) {
        let coarse = Padded::new(&self.lattice, &pass.coarse, &self.pad, pass.dim);
        let stencils = self.stencils(coder, pass, &coarse, |_, _| None);
        let mut fresh = vec![T::default(); count(&pass.fresh)];
        self.residuals.clear();
        self.residuals.resize(fresh.len(), 0);
        let energy = code_pass(coder, &mut self.models, pass, &self.energy, &mut self.residuals);
        let step = T::from_f64(step);
        for_parts(pass, &stencils, |at, row, x, stencil| {
            let places = at + x.start..at + x.end;
            let fresh = &mut fresh[places.clone()];
            stencil.predict(&coarse.values, coarse.at(row) + x.start, fresh);
            for (f, &residual) in fresh.iter_mut().zip(&self.residuals[places]) {
                *f = *f + T::from_i32(residual) * step;
            }
        });
        self.energy = merge(pass, &self.energy, &energy);
        self.lattice = merge(pass, &self.lattice, &fresh);
    }

    fn finish_pass(&mut self, coder: &mut Encoder, pass: &Pass, fresh: &[T]) {
        let energy = code_pass(coder, &mut self.models, pass, &self.energy, &mut self.residuals);
        self.energy = merge(pass, &self.energy, &energy);
        self.lattice = merge(pass, &self.lattice, fresh);
    }

    /// Codes the weights of a pass's two stencils.
    fn stencils<C: Coder>(
        &mut self,
        coder: &mut C,
        pass: &Pass,
        coarse: &Padded<T>,
        fitted: impl Fn(&Stencil, Part) -> Option<Vec<i32>>,
    ) -> [(Part, Stencil); 2] {
        let mut both = [
            (Part::Inside, Stencil::inside(pass, &coarse.strides, &self.pad)),
            (Part::Beyond, Stencil::beyond(pass, &coarse.strides, &self.pad)),
        ];
        for ((part, stencil), is_fitted) in both.iter_mut().zip(&mut self.is_fitted) {
            let found = fitted(stencil, *part);
            if !coder.bit(is_fitted, found.is_some()) {
                continue;
            }
            let known = found.unwrap_or_default();
            let half = 1 << (WEIGHT_BITS + WEIGHT_RANGE);
            for (i, weight) in stencil.weights.iter_mut().enumerate() {
                let bits = known.get(i).map_or(0, |&w| (w + half) as u64);
                let bits = coder.raw_wide(WEIGHT_BITS + WEIGHT_RANGE + 1, bits) as i32 - half;
                *weight = f64::from(bits) / f64::from(1_u32 << WEIGHT_BITS);
            }
        }
        both
    }
}

/// Visits the runs of fresh elements that one stencil predicts: where the row begins, the row, the columns, the stencil.
fn for_parts(
    pass: &Pass,
    stencils: &[(Part, Stencil); 2],
    mut visit: impl FnMut(usize, [usize; 3], std::ops::Range<usize>, &Stencil),
) {
    for (r, row) in rows(&pass.fresh).enumerate() {
        for (part, stencil) in stencils {
            let columns = columns(pass, row, *part);
            if !columns.is_empty() {
                visit(r * pass.fresh[3], row, columns, stencil);
            }
        }
    }
}
