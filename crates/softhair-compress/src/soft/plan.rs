//! In which order a chunk is thinned. Looks at originals only; the decoder is told.

use super::lattice::{Lengths, Pass, RANK, count, samples, thinning};
use super::stencil::bits;
use crate::real::Real;

/// About as many elements as a choice looks at per dimension.
const SAMPLES: usize = 4_000;
/// Where residuals take more bits than this, some may not fit.
const MANY_BITS: f64 = 24.0;
/// Coarse lattices of less than this part of a chunk may be kept as they are.
const COARSE_PART: usize = 16;

/// What the payload has room to say.
const MOST_COPIED: usize = 63;

/// How to thin a chunk.
pub(super) struct Plan {
    /// Finest first.
    pub(super) passes: Vec<Pass>,
    /// How many of the last (coarsest) to keep as they are: those whose residuals would not fit.
    pub(super) copied: usize,
}

/// Thins along the dimension whose elements are easiest to interpolate, until one element is left: what is hard to predict
/// is then hard for few elements only.
pub(super) fn plan<T: Real>(values: &[T], lengths: Lengths, step: f64) -> Plan {
    let mut passes: Vec<Pass> = Vec::new();
    let mut first_copied = None;
    loop {
        let candidates: [Pass; RANK] =
            std::array::from_fn(|d| passes.last().map_or(Pass::last(lengths, d), |p| p.before(d)));
        let costs = costs(values, &candidates, step);
        let possible = candidates.iter().zip(costs).filter(|(pass, _)| pass.fresh[pass.dim] > 0);
        let Some((pass, cost)) = possible.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            break;
        };
        let is_coarse = count(&pass.fine) <= values.len() / COARSE_PART;
        if is_coarse && cost > MANY_BITS && first_copied.is_none() {
            first_copied = Some(passes.len());
        }
        passes.push(*pass);
    }
    let copied = first_copied.map_or(0, |first| (passes.len() - first).min(MOST_COPIED));
    Plan { passes, copied }
}

/// For each dimension, mean bits per element if it were interpolated along that dimension, from the same sample of elements
/// for all.
fn costs<T: Real>(values: &[T], candidates: &[Pass; RANK], step: f64) -> [f64; RANK] {
    let Pass { fine, strides, .. } = candidates[0];
    let mut costs = [0.0; RANK];
    let mut seen = 0_usize;
    let inverse = 1.0 / step;
    let each = thinning(count(&fine), SAMPLES);
    for (row, columns) in samples(&fine, each, |_| 0..fine[RANK - 1]) {
        for x in columns {
            seen += 1;
            let index = [row[0], row[1], row[2], x];
            let at = (0..RANK).map(|d| index[d] * strides[d]).sum::<usize>();
            for d in (0..RANK).filter(|&d| fine[d] > 1) {
                let value =
                    |steps: isize| values[at.wrapping_add_signed(steps * strides[d] as isize)].to_f64();
                let (i, left) = (index[d], fine[d] - 1 - index[d]);
                let guess = match (i, left) {
                    (3.., 3..) => 0.5625 * (value(-1) + value(1)) - 0.0625 * (value(-3) + value(3)),
                    (1.., 1..) => 0.5 * (value(-1) + value(1)),
                    // In odd lengths the ends are never fresh.
                    _ if fine[d] % 2 == 1 => value(0),
                    (3.., 0) => 1.5 * value(-1) - 0.5 * value(-3),
                    (0, 3..) => 1.5 * value(1) - 0.5 * value(3),
                    (0, _) => value(1),
                    _ => value(-1),
                };
                costs[d] += bits((value(0) - guess) * inverse);
            }
        }
    }
    costs.map(|cost| cost / seen.max(1) as f64)
}
