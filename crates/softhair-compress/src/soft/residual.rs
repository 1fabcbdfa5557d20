//! Quantised residuals to range-coder symbols, with what is known around each as context. Knows neither values nor
//! prediction.
//!
//! The context of a residual is a weighted sum of magnitudes: of its neighbours in the same pass that are already coded
//! and of the two elements it lies between, which came with earlier passes. The sum picks one of sixteen models; where it
//! is large, the low bits of the residual are noise and are stored as they are. Runs of sixteen residuals whose whole
//! surroundings are zero cost one bit, most often a small part of one.

use super::lattice::{Layout, Pass, RANK, Row, count, dense, place, rows};
use super::range::{Bit, Coder, Model, SYMBOLS};

/// Magnitudes count at most this much as context, so that sums fit 16 bits.
const MAX_MAGNITUDE: u16 = 4_000;
/// Residuals that a zero-run bit covers.
const SEGMENT: usize = 16;
/// Symbols from this one on stand for several magnitudes.
const FIRST_WIDE: usize = 10;
/// `(first magnitude, raw bits)` of the wide symbols but the last, which is followed by a number.
const WIDE: [(u32, u32); SYMBOLS - FIRST_WIDE] = [(10, 1), (12, 2), (16, 3), (24, 4), (40, 5), (72, 0)];

/// Everything that adapts while one payload is coded.
struct Models {
    magnitudes: Vec<Model>,
    quiet: [Bit; 4],
    escapes: [Bit; 64],
}

/// Codes residuals, row after row and pass after pass.
pub(super) struct Residuals {
    models: Models,
    /// Magnitudes of the coarse lattice.
    energy: Vec<u16>,
    /// Becomes the next `energy`.
    next: Vec<u16>,
    /// Magnitudes of the fresh elements so far.
    fresh: Vec<u16>,
    around: Vec<u16>,
}

impl Residuals {
    pub(super) fn new(passes: &[Pass]) -> Self {
        let largest = |of: fn(&Pass) -> usize| vec![0; passes.iter().map(of).max().unwrap_or(1)];
        let models =
            Models { magnitudes: vec![Model::new(); 16], quiet: [Bit::new(); 4], escapes: [Bit::new(); 64] };
        Self {
            models,
            energy: largest(|pass| count(&pass.coarse)),
            next: largest(|pass| count(&pass.coarse)),
            fresh: largest(|pass| count(&pass.fresh)),
            around: largest(|pass| pass.fresh[RANK - 1]),
        }
    }

    /// Codes one row: an encoder reads `residuals`, a decoder fills them. Rows come in order.
    pub(super) fn row<C: Coder>(&mut self, coder: &mut C, pass: &Pass, row: Row, residuals: &mut [i32]) {
        let width = pass.fresh[RANK - 1];
        let here = dense(&pass.fresh, row);
        let (done, rest) = self.fresh.split_at_mut(here.start);
        let around = &mut self.around[..width];
        add_earlier_passes(around, &self.energy, pass, row);
        add_this_pass(around, done, pass, row);
        code_row(coder, &mut self.models, around, &mut rest[..width], residuals);
    }

    /// Makes the fine lattice the coarse one of the next pass.
    pub(super) fn end(&mut self, pass: &Pass) {
        let (from, to) = (Layout::new(pass.coarse, [0; RANK]), Layout::new(pass.fine, [0; RANK]));
        for row in rows(&pass.fresh) {
            let fresh = &self.fresh[dense(&pass.fresh, row)];
            place(pass, row, (&from, &self.energy), fresh, (&to, &mut self.next));
        }
        std::mem::swap(&mut self.energy, &mut self.next);
    }
}

/// Weighs the elements that a fresh row, or each of its elements, lies between.
fn add_earlier_passes(around: &mut [u16], energy: &[u16], pass: &Pass, row: Row) {
    let before = &energy[dense(&pass.coarse, row)];
    if pass.within_rows() {
        for (sum, pair) in around.iter_mut().zip(before.windows(2)) {
            *sum = 2 * (pair[0] + pair[1]);
        }
        if let (true, Some(sum), Some(&last)) = (pass.open_ended(), around.last_mut(), before.last()) {
            *sum = 4 * last;
        }
        return;
    }
    let mut next = row;
    next[pass.dim] = (row[pass.dim] + 1).min(pass.coarse[pass.dim] - 1);
    let behind = &energy[dense(&pass.coarse, next)];
    for ((sum, a), b) in around.iter_mut().zip(before).zip(behind) {
        *sum = 2 * (a + b);
    }
}

/// Weighs what was coded in the row above and in the plane before.
fn add_this_pass(around: &mut [u16], done: &[u16], pass: &Pass, row: Row) {
    let width = around.len();
    if row[2] > 0 {
        let above = &done[done.len() - width..];
        for (sum, &a) in around.iter_mut().zip(above) {
            *sum += 3 * a;
        }
        for (sum, &a) in around[1..].iter_mut().zip(above) {
            *sum += a;
        }
        for (sum, &a) in around.iter_mut().zip(&above[1..]) {
            *sum += a;
        }
    }
    let mut plane = row;
    if row[1] > 0 {
        plane[1] -= 1;
    } else if row[0] > 0 {
        plane[0] -= 1;
    } else {
        return;
    }
    for (sum, &a) in around.iter_mut().zip(&done[dense(&pass.fresh, plane)]) {
        *sum += 3 * a;
    }
}

fn code_row<C: Coder>(
    coder: &mut C,
    models: &mut Models,
    around: &[u16],
    current: &mut [u16],
    residuals: &mut [i32],
) {
    let (mut left, mut left2) = (0_u16, 0_u16);
    let mut was_quiet = 0;
    for ((around, current), residuals) in
        around.chunks(SEGMENT).zip(current.chunks_mut(SEGMENT)).zip(residuals.chunks_mut(SEGMENT))
    {
        if left | left2 == 0 && around.iter().fold(0, |all, a| all | a) == 0 {
            let quiet = residuals.iter().fold(0, |all, r| all | r) == 0;
            let quiet = coder.bit(&mut models.quiet[was_quiet], quiet);
            was_quiet = was_quiet >> 1 | usize::from(quiet) << 1;
            if quiet {
                residuals.fill(0);
                current.fill(0);
                continue;
            }
        } else {
            was_quiet >>= 1;
        }
        for ((&around, current), residual) in around.iter().zip(current).zip(residuals) {
            let sum = u32::from(around) + 3 * u32::from(left) + u32::from(left2);
            *residual = code_one(coder, models, sum, *residual);
            left2 = left;
            left = magnitude(*residual);
            *current = left;
        }
    }
}

#[inline]
fn magnitude(residual: i32) -> u16 {
    residual.unsigned_abs().min(u32::from(MAX_MAGNITUDE)) as u16
}

/// The model for a sum of surrounding magnitudes (sixteenths), and how many low bits are noise at that scale.
#[inline]
fn model_of(sum: u32) -> (usize, u32) {
    if sum < 4 {
        return (sum as usize, 0);
    }
    let log = sum.ilog2();
    let half = ((sum >> (log - 1)) & 1) as usize;
    if log < 7 { (2 * log as usize + half, 0) } else { (14 + half, log - 6) }
}

#[inline]
fn symbol_of(high: u32) -> usize {
    match high {
        0..10 => high as usize,
        10..12 => 10,
        12..16 => 11,
        16..24 => 12,
        24..40 => 13,
        40..72 => 14,
        _ => 15,
    }
}

#[inline]
fn code_one<C: Coder>(coder: &mut C, models: &mut Models, sum: u32, residual: i32) -> i32 {
    let (model, noise) = model_of(sum);
    let size = residual.unsigned_abs();
    let high = size >> noise;
    let symbol = coder.symbol(&mut models.magnitudes[model], symbol_of(high));
    if symbol == 0 && noise == 0 {
        return 0;
    }
    let (mut first, mut wide) = (symbol as u32, 0);
    if symbol >= FIRST_WIDE {
        (first, wide) = WIDE[symbol - FIRST_WIDE];
        if symbol == SYMBOLS - 1 {
            // Hostile bytes can claim more than a residual holds; any value will do then.
            let excess = u64::from(high.saturating_sub(first));
            first += coder.number(&mut models.escapes, excess).min(1 << 30) as u32;
        }
    }
    // The rest of the magnitude and the sign, at most 16 bits, in one go.
    let low = wide + noise;
    let rest = size.wrapping_sub(first << noise) & ((1 << low) - 1);
    let raw = coder.raw(low + 1, rest << 1 | u32::from(residual < 0));
    let size = (first.wrapping_shl(noise)).wrapping_add(raw >> 1) as i32;
    if raw & 1 == 1 { size.wrapping_neg() } else { size }
}
