//! Elements that come back bit for bit because arithmetic cannot promise them: NaN, ±Inf, -0.0, values too large to
//! compute with, and whatever missed the bound. Runs of one bit pattern cost as much as one element.
//!
//! Coded: the number of runs; for each, the elements since the run before, its length less one, a bit "as the run before"
//! (-0.0 at first), else a bit "-0.0", else the pattern, raw.

use super::range::{Bit, Coder};
use crate::{Error, Result, real::Real};

/// A set of elements of a chunk.
pub(super) struct Places {
    words: Vec<u64>,
    any: bool,
}

impl Places {
    pub(super) fn new(elements: usize) -> Self {
        Self { words: vec![0; elements.div_ceil(64)], any: false }
    }

    pub(super) fn insert(&mut self, place: usize) {
        self.words[place / 64] |= 1 << (place % 64);
        self.any = true;
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let words = if self.any { &self.words[..] } else { &[] };
        words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(|(i, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                (left != 0).then(|| {
                    left &= left - 1;
                    64 * i + bit
                })
            })
        })
    }
}

struct Models {
    gaps: [Bit; 64],
    lengths: [Bit; 64],
    counts: [Bit; 64],
    known: [Bit; 2],
}

impl Models {
    fn new() -> Self {
        Self {
            gaps: [Bit::new(); 64],
            lengths: [Bit::new(); 64],
            counts: [Bit::new(); 64],
            known: [Bit::new(); 2],
        }
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

/// Codes the elements of `values` at `places`.
pub(super) fn write<C: Coder, T: Real>(coder: &mut C, values: &[T], places: &Places) {
    let mut runs: Vec<Run> = Vec::new();
    for i in places.iter() {
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
        let places =
            out.get_mut(run.start..end).ok_or(Error::Damaged("soft chunk: an exception lies outside it"))?;
        places.fill(T::from_bits(run.bits));
        last = run.bits;
    }
    Ok(())
}
