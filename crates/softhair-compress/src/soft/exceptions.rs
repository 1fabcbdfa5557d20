//! Elements that come back bit for bit because arithmetic cannot promise them: NaN, ±Inf, -0.0, values too large to
//! compute with, and whatever missed the bound. Runs of one bit pattern cost as much as one element.

use super::range::{Bit, Coder};
use crate::{Error, Result, real::Real};

struct Models {
    gaps: [Bit; 64],
    lengths: [Bit; 64],
    counts: [Bit; 64],
    known: [Bit; 2],
}

impl Models {
    fn new() -> Self {
        Self { gaps: [Bit::new(); 64], lengths: [Bit::new(); 64], counts: [Bit::new(); 64], known: [Bit::new(); 2] }
    }
}

/// A run of equal elements.
struct Run {
    start: usize,
    length: usize,
    bits: u64,
}

/// Codes a run after `end` and its bits, given the bits of the run before.
fn code_run<C: Coder, T: Real>(coder: &mut C, models: &mut Models, end: usize, last: u64, run: &Run) -> Run {
    let gap = coder.number(&mut models.gaps, (run.start - end) as u64);
    let length = coder.number(&mut models.lengths, run.length as u64 - 1);
    let zero = T::from_f64(-0.0).bits();
    let bits = if coder.bit(&mut models.known[0], run.bits == last) {
        last
    } else if coder.bit(&mut models.known[1], run.bits == zero) {
        zero
    } else {
        coder.raw_wide(T::BYTES as u32 * 8, run.bits)
    };
    Run {
        start: end.saturating_add(usize::try_from(gap).unwrap_or(usize::MAX)),
        length: usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1),
        bits,
    }
}

/// Codes those elements of `values` for which `is_exception` holds.
pub(super) fn write<C: Coder, T: Real>(coder: &mut C, values: &[T], is_exception: impl Fn(usize) -> bool) {
    let mut runs: Vec<Run> = Vec::new();
    for i in (0..values.len()).filter(|&i| is_exception(i)) {
        let bits = values[i].bits();
        match runs.last_mut() {
            Some(run) if run.start + run.length == i && run.bits == bits => run.length += 1,
            _ => runs.push(Run { start: i, length: 1, bits }),
        }
    }
    let mut models = Models::new();
    coder.number(&mut models.counts, runs.len() as u64);
    let (mut end, mut last) = (0, T::from_f64(-0.0).bits());
    for run in &runs {
        code_run::<C, T>(coder, &mut models, end, last, run);
        (end, last) = (run.start + run.length, run.bits);
    }
}

/// Puts the exceptions of a payload in their places.
///
/// # Errors
/// `Damaged` if one lies outside `out`.
pub(super) fn read<C: Coder, T: Real>(coder: &mut C, out: &mut [T]) -> Result<()> {
    let mut models = Models::new();
    let runs = coder.number(&mut models.counts, 0);
    let (mut end, mut last) = (0_usize, T::from_f64(-0.0).bits());
    for _ in 0..runs {
        let unknown = Run { start: end, length: 1, bits: 0 };
        let run = code_run::<C, T>(coder, &mut models, end, last, &unknown);
        end = run.start.saturating_add(run.length);
        let places = out.get_mut(run.start..end).ok_or(Error::Damaged("soft chunk: an exception lies outside it"))?;
        places.fill(T::from_bits(run.bits));
        last = run.bits;
    }
    Ok(())
}
