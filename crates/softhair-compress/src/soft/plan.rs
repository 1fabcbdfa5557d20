//! In which order a chunk is thinned. Looks at originals only; the decoder is told.

use super::lattice::{Lengths, Pass, RANK, count, rows, split};
use super::stencil::bits;
use crate::real::Real;

/// About as many elements as a choice looks at per dimension.
const SAMPLES: usize = 8_000;

/// The passes, finest first, and what each adds.
pub(super) struct Plan<T> {
    pub(super) passes: Vec<Pass>,
    pub(super) fresh: Vec<Vec<T>>,
}

/// Thins along the dimension whose odd elements are easiest to interpolate, until one element is left: what is hard to
/// predict is then hard for few elements only.
pub(super) fn plan<T: Real>(values: &[T], lengths: Lengths, step: f64) -> Plan<T> {
    let (mut passes, mut fresh) = (Vec::new(), Vec::new());
    let mut lattice = values.to_vec();
    let mut fine = lengths;
    while let Some(dim) = easiest(&lattice, &fine, step) {
        let pass = Pass::new(fine, dim);
        let (even, odd) = split(&pass, &lattice);
        lattice = even;
        fine = pass.coarse;
        passes.push(pass);
        fresh.push(odd);
    }
    Plan { passes, fresh }
}

fn easiest<T: Real>(lattice: &[T], fine: &Lengths, step: f64) -> Option<usize> {
    let candidates = (0..RANK).filter(|&d| fine[d] > 1);
    let costs = candidates.map(|d| (cost(lattice, &Pass::new(*fine, d), step), d));
    costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, d)| d)
}

/// Mean bits per fresh element if it were predicted by a cubic along the pass's dimension.
fn cost<T: Real>(lattice: &[T], pass: &Pass, step: f64) -> f64 {
    let n = pass.fine[pass.dim];
    let stride: usize = pass.fine[pass.dim + 1..].iter().product();
    let width = pass.fresh[3];
    let each = (count(&pass.fresh) / SAMPLES) | 1;
    let (mut sum, mut samples) = (0.0, 0_usize);
    for row in rows(&pass.fresh).step_by(each) {
        for x in 0..width {
            let mut index = [row[0], row[1], row[2], x];
            index[pass.dim] = 2 * index[pass.dim] + 1;
            let along = index[pass.dim];
            let [_, b, c, d] = pass.fine;
            let at = ((index[0] * b + index[1]) * c + index[2]) * d + index[3];
            let value = |steps: isize| lattice[at.wrapping_add_signed(steps * stride as isize)].to_f64();
            let guess = if along >= 3 && along + 3 < n {
                0.5625 * (value(-1) + value(1)) - 0.0625 * (value(-3) + value(3))
            } else if along + 1 < n {
                0.5 * (value(-1) + value(1))
            } else if along >= 3 {
                1.5 * value(-1) - 0.5 * value(-3)
            } else {
                value(-1)
            };
            sum += bits((value(0) - guess) / step);
            samples += 1;
        }
    }
    sum / samples.max(1) as f64
}
