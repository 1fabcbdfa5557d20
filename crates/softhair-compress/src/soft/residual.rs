//! Quantised residuals to range-coder symbols, with what is known around each as context. Knows neither values nor
//! prediction.
//!
//! The context of a residual is a weighted sum of magnitudes: of its neighbours in the same pass that are already coded
//! and of the two elements it lies between, which came with earlier passes. The sum picks one of sixteen models; where it
//! is large, the low bits of the residual are noise and are stored as they are. Runs of sixteen residuals whose whole
//! surroundings are zero cost one bit, most often a small part of one.

use super::lattice::{Pass, RANK, count, rows};
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
pub(super) struct ResidualModels {
    magnitudes: Vec<Model>,
    quiet: [Bit; 4],
    escapes: [Bit; 64],
}

impl ResidualModels {
    pub(super) fn new() -> Self {
        Self { magnitudes: vec![Model::new(); 17], quiet: [Bit::new(); 4], escapes: [Bit::new(); 64] }
    }
}

/// The model for a sum of surrounding magnitudes (sixteenths), and how many low bits are noise at that scale.
#[inline]
fn model_of(sum: u32) -> (usize, u32) {
    if sum < 4 {
        return (sum as usize, 0);
    }
    let log = sum.ilog2();
    let half = (sum >> (log - 1)) & 1;
    if log < 7 { ((2 * log + half) as usize, 0) } else { (14 + half as usize, log - 6) }
}

#[inline]
fn magnitude(residual: i32) -> u16 {
    residual.unsigned_abs().min(u32::from(MAX_MAGNITUDE)) as u16
}

fn code_one<C: Coder>(coder: &mut C, models: &mut ResidualModels, sum: u32, residual: i32) -> i32 {
    let (model, noise) = model_of(sum);
    let size = residual.unsigned_abs();
    let high = size >> noise;
    let known = match high {
        0..10 => high as usize,
        10..12 => 10,
        12..16 => 11,
        16..24 => 12,
        24..40 => 13,
        40..72 => 14,
        _ => 15,
    };
    let symbol = coder.symbol(&mut models.magnitudes[model], known);
    let mut found = symbol as u32;
    if symbol >= FIRST_WIDE {
        let (first, bits) = WIDE[symbol - FIRST_WIDE];
        found = first
            + if symbol == SYMBOLS - 1 {
                // Hostile bytes can claim more than a residual holds; any value will do then.
                coder.number(&mut models.escapes, u64::from(high.saturating_sub(first))).min(1 << 24) as u32
            } else {
                coder.raw(bits, high.saturating_sub(first) & ((1 << bits) - 1))
            };
    }
    if noise > 0 {
        found = (found & 0x3f_ffff) << noise | coder.raw(noise, size & ((1 << noise) - 1));
    }
    if found == 0 {
        return 0;
    }
    let negative = coder.raw(1, u32::from(residual < 0)) == 1;
    if negative { (found as i32).wrapping_neg() } else { found as i32 }
}

/// Codes the residuals of one pass. `energy` holds the magnitudes of the coarse lattice; those of the fresh elements are
/// returned. A decoder fills `residuals`, an encoder reads them.
pub(super) fn code_pass<C: Coder>(
    coder: &mut C,
    models: &mut ResidualModels,
    pass: &Pass,
    energy: &[u16],
    residuals: &mut [i32],
) -> Vec<u16> {
    let width = pass.fresh[3];
    let inner = pass.dim == RANK - 1;
    let mut fresh = vec![0_u16; count(&pass.fresh)];
    let mut around = vec![0_u16; width];
    for (r, row) in rows(&pass.fresh).enumerate() {
        let at = r * width;
        let (done, rest) = fresh.split_at_mut(at);
        let current = &mut rest[..width];
        surroundings(&mut around, done, pass, row, at);
        let (before, behind) = between(energy, pass, row);
        if inner {
            for x in 0..width {
                let behind = before.get(x + 1).copied().unwrap_or(before[x]);
                around[x] += 2 * (before[x] + behind);
            }
        } else {
            for ((sum, a), b) in around.iter_mut().zip(before).zip(behind) {
                *sum += 2 * (a + b);
            }
        }
        code_row(coder, models, &around, current, &mut residuals[at..at + width]);
    }
    fresh
}

/// Weighs what was coded in the row above and in the plane before.
fn surroundings(around: &mut [u16], done: &[u16], pass: &Pass, row: [usize; 3], at: usize) {
    around.fill(0);
    let width = around.len();
    if row[2] > 0 {
        let above = &done[at - width..at];
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
    let plane = width * pass.fresh[2];
    let back = if row[1] > 0 {
        plane
    } else if row[0] > 0 {
        plane * pass.fresh[1]
    } else {
        return;
    };
    for (sum, &a) in around.iter_mut().zip(&done[at - back..at - back + width]) {
        *sum += 3 * a;
    }
}

/// The coarse rows that a fresh row lies between (the same row twice if it is the rows' elements that it lies between).
fn between<'a>(energy: &'a [u16], pass: &Pass, row: [usize; 3]) -> (&'a [u16], &'a [u16]) {
    let [_, b, c, width] = pass.coarse;
    let index = |row: [usize; 3]| {
        let at = ((row[0] * b + row[1]) * c + row[2]) * width;
        &energy[at..at + width]
    };
    let mut next = row;
    if pass.dim < RANK - 1 {
        next[pass.dim] = (row[pass.dim] + 1).min(pass.coarse[pass.dim] - 1);
    }
    (index(row), index(next))
}

fn code_row<C: Coder>(
    coder: &mut C,
    models: &mut ResidualModels,
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
