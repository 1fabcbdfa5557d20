//! Predicting fresh elements from a coarse lattice. Knows arithmetic, not what becomes of the residuals.
//!
//! A prediction is a sum over groups of neighbours that lie symmetrically about the fresh element, one weight per group.
//! The default weights are cubic interpolation along the pass's dimension. The encoder also fits weights by least squares
//! to the lattice as the decoder will see it (noise included, so they smooth as much as pays) and sends them if that is
//! worth their bytes: a wave that obeys a local law of motion is then predicted by that law.

use super::lattice::{Layout, Pass, RANK, Row, count, samples, thinning};
use crate::real::Real;
use std::ops::Range;

/// Most groups a stencil has.
pub(super) const MAX_GROUPS: usize = 9;
/// Fitted weights are multiples of `2^-WEIGHT_BITS`.
pub(super) const WEIGHT_BITS: u32 = 22;
/// Fitted weights are below `2^WEIGHT_RANGE`.
pub(super) const WEIGHT_RANGE: u32 = 3;
/// Passes with fewer fresh elements use the default weights.
const FIT_FROM: usize = 1024;
/// About as many elements as a fit looks at.
const FIT_SAMPLES: usize = 8_000;
/// Variance of the noise that a fit assumes on each element, in squared steps.
const NOISE: f64 = 0.003;

/// Groups of neighbours, as offsets from the coarse element just before the fresh one.
pub(super) struct Stencil {
    pub(super) groups: Vec<Vec<isize>>,
    pub(super) weights: Vec<f64>,
}

impl Stencil {
    /// Between two coarse elements.
    pub(super) fn inside(pass: &Pass, layout: &Layout) -> Self {
        let step = layout.strides[pass.dim] as isize;
        let across = across(pass, layout);
        let mut groups = vec![vec![0, step], vec![-step, 2 * step]];
        groups.extend(across.iter().map(|&a| vec![-a, a, step - a, step + a]));
        for (i, &a) in across.iter().enumerate() {
            for &b in &across[..i] {
                let corners = [-a - b, a - b, b - a, a + b];
                groups.push(corners.iter().flat_map(|&c| [c, c + step]).collect());
            }
        }
        Self::with_weights(groups, [0.5625, -0.0625])
    }

    /// Beyond the last coarse element: a straight line through the last two.
    pub(super) fn beyond(pass: &Pass, layout: &Layout) -> Self {
        let step = layout.strides[pass.dim] as isize;
        let across = across(pass, layout);
        let mut groups = vec![vec![0], vec![-step]];
        groups.extend(across.iter().map(|&a| vec![-a, a]));
        groups.extend(across.iter().map(|&a| vec![-step - a, -step + a]));
        if pass.coarse[pass.dim] > 2 {
            groups.push(vec![-2 * step]);
        }
        Self::with_weights(groups, [1.5, -0.5])
    }

    fn with_weights(groups: Vec<Vec<isize>>, first: [f64; 2]) -> Self {
        let mut weights = vec![0.0; groups.len()];
        weights[..2].copy_from_slice(&first);
        Self { groups, weights }
    }

    /// Predicts `out.len()` neighbours in memory; `at` is the coarse element before the first.
    pub(super) fn predict<T: Real>(&self, values: &[T], at: usize, out: &mut [T]) {
        out.fill(T::default());
        let length = out.len();
        let row = |offset: isize| &values[at.wrapping_add_signed(offset)..][..length];
        for (group, &weight) in self.groups.iter().zip(&self.weights) {
            if weight == 0.0 {
                continue;
            }
            let weight = T::from_f64(weight);
            let mut rest = &group[..];
            while let Some((&[i, j, k, l], others)) = rest.split_first_chunk() {
                rest = others;
                let pairs = row(i).iter().zip(row(j)).zip(row(k).iter().zip(row(l)));
                for (sum, ((&a, &b), (&c, &d))) in out.iter_mut().zip(pairs) {
                    *sum = *sum + weight * ((a + b) + (c + d));
                }
            }
            if let Some((&[i, j], others)) = rest.split_first_chunk() {
                rest = others;
                for (sum, (&a, &b)) in out.iter_mut().zip(row(i).iter().zip(row(j))) {
                    *sum = *sum + weight * (a + b);
                }
            }
            if let [i] = *rest {
                for (sum, &a) in out.iter_mut().zip(row(i)) {
                    *sum = *sum + weight * a;
                }
            }
        }
    }
}

/// Strides of the dimensions other than the pass's that are long enough to have a shape.
fn across(pass: &Pass, layout: &Layout) -> Vec<isize> {
    (0..RANK)
        .filter(|&d| d != pass.dim && layout.pad[d] == 1 && pass.fresh[d] > 2)
        .map(|d| layout.strides[d] as isize)
        .collect()
}

/// The part of a pass's fresh elements that one stencil predicts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Inside,
    Beyond,
}

/// The columns of a fresh row that belong to `part`.
pub(super) fn columns(pass: &Pass, row: Row, part: Part) -> Range<usize> {
    let width = pass.fresh[3];
    if !pass.open_ended() {
        return if part == Part::Inside { 0..width } else { 0..0 };
    }
    if pass.dim == RANK - 1 {
        return if part == Part::Inside { 0..width - 1 } else { width - 1..width };
    }
    let last = row[pass.dim] + 1 == pass.fresh[pass.dim];
    if last == (part == Part::Beyond) { 0..width } else { 0..0 }
}

/// Fits weights to the fresh elements, of which `target` writes a stretch of a row, and returns them in units of `2^-WEIGHT_BITS` if
/// they save more bits than they take.
pub(super) fn fit<T: Real>(
    stencil: &Stencil,
    pass: &Pass,
    part: Part,
    (layout, coarse): (&Layout, &[T]),
    target: impl Fn(Row, usize, &mut [T]),
    step: f64,
) -> Option<Vec<i32>> {
    let n = stencil.groups.len();
    let each = sampled(pass, part)?;
    let mut sums = Sums { products: [[0.0; MAX_GROUPS]; MAX_GROUPS], with_target: [0.0; MAX_GROUPS] };
    let mut targets = vec![T::default(); pass.fresh[RANK - 1]];
    let mut seen: Vec<Vec<f64>> = vec![Vec::new(); n + 1];
    for (row, columns) in samples(&pass.fresh, each, |row| columns(pass, row, part)) {
        let targets = &mut targets[columns.clone()];
        target(row, columns.start, targets);
        let at = layout.at(row) + columns.start;
        for (feature, group) in seen.iter_mut().zip(&stencil.groups) {
            let from = feature.len();
            feature.resize(from + columns.len(), 0.0);
            for &offset in group {
                let row = &coarse[at.wrapping_add_signed(offset)..];
                for (sum, value) in feature[from..].iter_mut().zip(row) {
                    *sum += value.to_f64();
                }
            }
        }
        seen[n].extend(targets.iter().map(|t| t.to_f64()));
    }
    for i in 0..n {
        for j in 0..=i {
            sums.products[i][j] = dot(&seen[i], &seen[j]);
        }
        sums.with_target[i] = dot(&seen[i], &seen[n]);
        // As if every element had noise of its own: keeps weights of groups that hardly vary small.
        let noise = seen[n].len() as f64 * step * step * NOISE;
        sums.products[i][i] += noise * stencil.groups[i].len() as f64;
    }
    let fitted = sums.solve(n)?;
    let limit = f64::from(1_u32 << WEIGHT_RANGE);
    if fitted[..n].iter().any(|w| w.is_nan() || w.abs() >= limit) {
        return None;
    }
    let unit = f64::from(1_u32 << WEIGHT_BITS);
    let weights: Vec<i32> = fitted[..n].iter().map(|w| (w * unit) as i32).collect();
    let fitted: Vec<f64> = weights.iter().map(|&w| f64::from(w) / unit).collect();
    let miss = |weights: &[f64], x: usize| {
        let found: f64 = weights.iter().zip(&seen).map(|(w, s)| w * s[x]).sum();
        bits((found - seen[n][x]) / step)
    };
    let judged = (0..seen[n].len()).step_by(4);
    let saved: f64 = judged.map(|x| miss(&stencil.weights, x) - miss(&fitted, x)).sum();
    let price = n as f64 * f64::from(WEIGHT_BITS + WEIGHT_RANGE + 1);
    (saved * 4.0 * each as f64 > price).then_some(weights)
}

/// In eight partial sums, so that it vectorises, always in the same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// A cheap stand-in for the bits that a residual (in steps) will take: logarithmic when large, quadratic when small.
pub(super) fn bits(residual: f64) -> f64 {
    let x = 1.0 + 4.0 * residual * residual;
    // Exponent plus mantissa: within 0.09 of log2, and the same on every machine.
    let raw = x.to_bits();
    0.5 * ((raw >> 52) as f64 - 1023.0 + (raw & ((1 << 52) - 1)) as f64 / (1_u64 << 52) as f64)
}

/// How many samples there are for each that is looked at, if the part is large enough to fit at all.
fn sampled(pass: &Pass, part: Part) -> Option<usize> {
    let mut elements = count(&pass.fresh);
    if part == Part::Beyond {
        elements /= pass.fresh[pass.dim];
    }
    if elements < FIT_FROM {
        return None;
    }
    Some(thinning(elements, FIT_SAMPLES))
}

struct Sums {
    products: [[f64; MAX_GROUPS]; MAX_GROUPS],
    with_target: [f64; MAX_GROUPS],
}

impl Sums {
    /// Solves the normal equations by Cholesky factorisation. `None` if they are degenerate.
    fn solve(&self, n: usize) -> Option<[f64; MAX_GROUPS]> {
        let mut l = [[0.0; MAX_GROUPS]; MAX_GROUPS];
        for i in 0..n {
            for j in 0..=i {
                let known: f64 = l[i][..j].iter().zip(&l[j]).map(|(a, b)| a * b).sum();
                let sum = self.products[i][j] - known;
                if i == j {
                    if sum.is_nan() || sum <= self.products[i][i] * 1e-13 || sum <= 0.0 {
                        return None;
                    }
                    l[i][i] = sum.sqrt();
                } else {
                    l[i][j] = sum / l[j][j];
                }
            }
        }
        let mut x = [0.0; MAX_GROUPS];
        for i in 0..n {
            let mut sum = self.with_target[i];
            for k in 0..i {
                sum -= l[i][k] * x[k];
            }
            x[i] = sum / l[i][i];
        }
        for i in (0..n).rev() {
            let sum: f64 = (i + 1..n).map(|k| l[k][i] * x[k]).sum();
            x[i] = (x[i] - sum) / l[i][i];
        }
        Some(x)
    }
}
