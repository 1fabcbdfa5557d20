//! Which elements belong to which pass, and arrays of them laid out for the loop that reads them. Knows positions, not
//! prediction or coding.
//!
//! A chunk is thinned by dropping every second element along one dimension at a time until one element is left. Decoding
//! walks back: each [`Pass`] takes the coarse lattice and puts the fresh elements between its points. Lattices are stored
//! densely, so every inner loop is over neighbours in memory whatever the stride in the chunk was.

use crate::real::Real;

/// Dimensions that passes distinguish.
pub(super) const RANK: usize = 4;

/// Lengths along four dimensions, outermost first.
pub(super) type Lengths = [usize; RANK];

/// Drops dimensions of one element and merges the outermost ones until at most four are left.
pub(super) fn normalise(dims: &[usize]) -> Lengths {
    let mut lengths = [1; RANK];
    let mut at = RANK;
    for &n in dims.iter().rev().filter(|&&n| n != 1) {
        if at > 0 {
            at -= 1;
        }
        lengths[at] = n.saturating_mul(lengths[at]);
    }
    lengths
}

pub(super) fn count(lengths: &Lengths) -> usize {
    lengths.iter().product()
}

/// One step from a coarse lattice to one with twice the points along `dim`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    pub(super) dim: usize,
    /// After the pass.
    pub(super) fine: Lengths,
    /// Before it.
    pub(super) coarse: Lengths,
    /// What it adds: the elements with an odd index along `dim`.
    pub(super) fresh: Lengths,
}

impl Pass {
    pub(super) fn new(fine: Lengths, dim: usize) -> Self {
        let (mut coarse, mut fresh) = (fine, fine);
        coarse[dim] = fine[dim].div_ceil(2);
        fresh[dim] = fine[dim] / 2;
        Self { dim, fine, coarse, fresh }
    }

    /// Does the last fresh element along `dim` lack a neighbour beyond it?
    pub(super) fn open_ended(&self) -> bool {
        self.fine[self.dim].is_multiple_of(2)
    }
}

/// Every row (index along all but the last dimension) in order.
pub(super) fn rows(lengths: &Lengths) -> impl Iterator<Item = [usize; 3]> + use<> {
    let [a, b, c, _] = *lengths;
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
}

/// Splits a dense array into the elements with even and with odd index along a pass's dimension.
pub(super) fn split<T: Copy>(pass: &Pass, fine: &[T]) -> (Vec<T>, Vec<T>) {
    let mut coarse = Vec::with_capacity(count(&pass.coarse));
    let mut fresh = Vec::with_capacity(count(&pass.fresh));
    if pass.dim == RANK - 1 {
        for row in fine.chunks_exact(pass.fine[3]) {
            coarse.extend(row.iter().step_by(2));
            fresh.extend(row.iter().skip(1).step_by(2));
        }
    } else {
        let run: usize = pass.fine[pass.dim + 1..].iter().product();
        for block in fine.chunks_exact(run * pass.fine[pass.dim]) {
            for (i, part) in block.chunks_exact(run).enumerate() {
                if i % 2 == 0 { coarse.extend_from_slice(part) } else { fresh.extend_from_slice(part) }
            }
        }
    }
    (coarse, fresh)
}

/// The inverse of [`split`].
pub(super) fn merge<T: Copy>(pass: &Pass, coarse: &[T], fresh: &[T]) -> Vec<T> {
    let mut fine = Vec::with_capacity(count(&pass.fine));
    if pass.dim == RANK - 1 {
        let mut fresh_rows = fresh.chunks_exact(pass.fresh[3]);
        for row in coarse.chunks_exact(pass.coarse[3]) {
            let fresh = fresh_rows.next().unwrap_or_default();
            for (&a, &b) in row.iter().zip(fresh) {
                fine.extend_from_slice(&[a, b]);
            }
            fine.extend_from_slice(&row[fresh.len()..]);
        }
    } else {
        let run: usize = pass.fine[pass.dim + 1..].iter().product();
        let mut fresh = fresh.chunks_exact(run);
        for block in coarse.chunks_exact(run * pass.coarse[pass.dim]) {
            let mut left = pass.fresh[pass.dim];
            for part in block.chunks_exact(run) {
                fine.extend_from_slice(part);
                if left > 0 {
                    fine.extend_from_slice(fresh.next().unwrap_or_default());
                    left -= 1;
                }
            }
        }
    }
    fine
}

/// A lattice with one ghost element on either side of each dimension that the chunk has, so that stencils need no
/// special cases at its edges.
pub(super) struct Padded<T> {
    pub(super) values: Vec<T>,
    pub(super) strides: [usize; RANK],
    pad: [usize; RANK],
}

impl<T: Real> Padded<T> {
    /// Copies a dense lattice and fills the ghosts: by a parabola along `dim`, where the next pass interpolates, and by a
    /// straight line across it. `pad` says which dimensions exist (1) and which do not (0).
    pub(super) fn new(dense: &[T], lengths: &Lengths, pad: &[usize; RANK], dim: usize) -> Self {
        let whole: Lengths = std::array::from_fn(|d| lengths[d] + 2 * pad[d]);
        let strides = [whole[1] * whole[2] * whole[3], whole[2] * whole[3], whole[3], 1];
        let mut padded = Self { values: vec![T::default(); count(&whole)], strides, pad: *pad };
        for (row, from) in rows(lengths).zip(dense.chunks_exact(lengths[3])) {
            let at = padded.at(row);
            padded.values[at..at + from.len()].copy_from_slice(from);
        }
        for d in (0..RANK).filter(|&d| pad[d] == 1) {
            padded.fill_ghosts(&whole, d, d == dim);
        }
        padded
    }

    /// Where the first real element of a row is.
    pub(super) fn at(&self, row: [usize; 3]) -> usize {
        (0..3).map(|d| (row[d] + self.pad[d]) * self.strides[d]).sum::<usize>() + self.pad[3]
    }

    fn fill_ghosts(&mut self, whole: &Lengths, d: usize, curved: bool) {
        let (stride, n) = (self.strides[d], whole[d] - 2);
        let (two, three) = (T::from_f64(2.0), T::from_f64(3.0));
        for block in self.values.chunks_exact_mut(stride * whole[d]) {
            for x in 0..stride {
                let mut ghost = |to: usize, a: usize, inward: isize| {
                    let value = |steps: isize| block[(a as isize + steps * inward) as usize * stride + x];
                    block[to * stride + x] = match n {
                        1 => value(0),
                        n if curved && n > 2 => three * (value(0) - value(1)) + value(2),
                        _ => two * value(0) - value(1),
                    };
                };
                ghost(0, 1, 1);
                ghost(n + 1, n, -1);
            }
        }
    }
}
