//! In which order a chunk is thinned. Looks at originals only; the decoder is told.

use super::lattice::{Lengths, Pass, RANK, count, rows};
use super::stencil::bits;
use crate::real::Real;

/// About as many elements as a choice looks at per dimension.
const SAMPLES: usize = 4_000;

/// The passes, finest first. Thins along the dimension whose odd elements are easiest to interpolate, until one element is
/// left: what is hard to predict is then hard for few elements only.
pub(super) fn plan<T: Real>(values: &[T], lengths: Lengths, step: f64) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    loop {
        let candidates = (0..RANK).map(|d| passes.last().map_or(Pass::last(lengths, d), |p| p.before(d)));
        let possible: Vec<Pass> = candidates.filter(|pass| pass.fresh[pass.dim] > 0).collect();
        let costs = possible.iter().map(|pass| if possible.len() == 1 { 0.0 } else { cost(values, pass, step) });
        match costs.zip(&possible).min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((_, &pass)) => passes.push(pass),
            None => return passes,
        }
    }
}

/// Mean bits per fresh element if it were predicted by a cubic along the pass's dimension.
fn cost<T: Real>(values: &[T], pass: &Pass, step: f64) -> f64 {
    let n = pass.fine[pass.dim];
    let stride = pass.strides[pass.dim] as isize;
    let each = (count(&pass.fresh) / SAMPLES) | 1;
    let inverse = 1.0 / step;
    let (mut sum, mut samples) = (0.0, 0_usize);
    for row in rows(&pass.fresh).step_by(each) {
        let (at, distance) = pass.in_chunk(row);
        for x in 0..pass.fresh[RANK - 1] {
            let along = 2 * if pass.within_rows() { x } else { row[pass.dim] } + 1;
            let value = |steps: isize| values[(at + x * distance).wrapping_add_signed(steps * stride)].to_f64();
            let guess = if along >= 3 && along + 3 < n {
                0.5625 * (value(-1) + value(1)) - 0.0625 * (value(-3) + value(3))
            } else if along + 1 < n {
                0.5 * (value(-1) + value(1))
            } else if along >= 3 {
                1.5 * value(-1) - 0.5 * value(-3)
            } else {
                value(-1)
            };
            sum += bits((value(0) - guess) * inverse);
            samples += 1;
        }
    }
    sum / samples.max(1) as f64
}
