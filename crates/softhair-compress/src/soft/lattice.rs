//! Which elements belong to which pass, and arrays of them laid out for the loop that reads them. Knows positions, not
//! prediction or coding.
//!
//! A chunk is thinned by dropping every second element along one dimension at a time until one element is left. Decoding
//! walks back: each [`Pass`] takes the coarse lattice and puts the fresh elements between its points. Lattices are stored
//! densely, so every inner loop is over neighbours in memory whatever the stride in the chunk was.

use crate::real::Real;
use std::ops::Range;

/// Dimensions that passes distinguish.
pub(super) const RANK: usize = 4;

/// Lengths along four dimensions, outermost first.
pub(super) type Lengths = [usize; RANK];

/// Index of a row: along all dimensions but the last.
pub(super) type Row = [usize; RANK - 1];

/// Drops dimensions of one element and merges the outermost ones until at most four are left.
pub(super) fn normalise(dims: &[usize]) -> Lengths {
    let mut lengths = [1; RANK];
    let mut at = RANK;
    for &n in dims.iter().rev().filter(|&&n| n != 1) {
        at = at.saturating_sub(1);
        lengths[at] = n.saturating_mul(lengths[at]);
    }
    lengths
}

/// Elements in a lattice.
pub(super) fn count(lengths: &Lengths) -> usize {
    lengths.iter().fold(1, |all, &n| all.saturating_mul(n))
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
    /// Distance in memory, in the whole chunk, of neighbours in the fine lattice.
    pub(super) strides: [usize; RANK],
}

impl Pass {
    /// The pass that ends with the whole chunk.
    pub(super) fn last(lengths: Lengths, dim: usize) -> Self {
        let [_, b, c, d] = lengths;
        Self::between(lengths, [b * c * d, c * d, d, 1], dim)
    }

    /// The pass that ends where this one begins.
    pub(super) fn before(&self, dim: usize) -> Self {
        let mut strides = self.strides;
        strides[self.dim] *= 2;
        Self::between(self.coarse, strides, dim)
    }

    fn between(fine: Lengths, strides: [usize; RANK], dim: usize) -> Self {
        let (mut coarse, mut fresh) = (fine, fine);
        coarse[dim] = fine[dim].div_ceil(2);
        fresh[dim] = fine[dim] / 2;
        Self { dim, fine, coarse, fresh, strides }
    }

    /// Does the pass add elements to each row (rather than whole rows)?
    pub(super) fn within_rows(&self) -> bool {
        self.dim == RANK - 1
    }

    /// Does the last fresh element along `dim` lack a neighbour beyond it?
    pub(super) fn open_ended(&self) -> bool {
        self.fine[self.dim].is_multiple_of(2)
    }

    /// Where the first element of a fresh row is in the whole chunk, and the distance to the next.
    pub(super) fn in_chunk(&self, row: Row) -> (usize, usize) {
        let mut strides = self.strides;
        strides[self.dim] *= 2;
        let at = (0..RANK - 1).map(|d| row[d] * strides[d]).sum::<usize>() + self.strides[self.dim];
        (at, strides[RANK - 1])
    }
}

/// Every row in order.
pub(super) fn rows(lengths: &Lengths) -> impl Iterator<Item = Row> + use<> {
    let [a, b, c, _] = *lengths;
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
}

/// Elements looked at together when only some are looked at.
const SAMPLE: usize = 16;

/// How many samples there are for each one that [`samples`] yields, so that it yields about `wanted` of `elements`.
pub(super) fn thinning(elements: usize, wanted: usize) -> usize {
    // Odd: must not keep step with lengths, most of which are even.
    (elements / wanted) | 1
}

/// Every `each`th short stretch of a row, for a choice or a fit that need not see everything.
pub(super) fn samples(
    lengths: &Lengths,
    each: usize,
    columns: impl Fn(Row) -> Range<usize>,
) -> impl Iterator<Item = (Row, Range<usize>)> {
    let stretches = rows(lengths).flat_map(move |row| {
        let Range { start, end } = columns(row);
        (start..end).step_by(SAMPLE).map(move |x| (row, x..end.min(x + SAMPLE)))
    });
    stretches.skip(each / 2).step_by(each)
}

/// Where a dense lattice keeps a row.
pub(super) fn dense(lengths: &Lengths, row: Row) -> Range<usize> {
    let [_, b, c, width] = *lengths;
    let at = ((row[0] * b + row[1]) * c + row[2]) * width;
    at..at + width
}

/// How a lattice with ghosts is laid out: one ghost element on either side of each dimension that the chunk has, so that
/// stencils need no special cases at its edges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    lengths: Lengths,
    /// One for dimensions with ghosts, zero for others.
    pub(super) pad: [usize; RANK],
    pub(super) strides: [usize; RANK],
}

impl Layout {
    pub(super) fn new(lengths: Lengths, pad: [usize; RANK]) -> Self {
        let whole: Lengths = std::array::from_fn(|d| lengths[d] + 2 * pad[d]);
        Self { lengths, pad, strides: [whole[1] * whole[2] * whole[3], whole[2] * whole[3], whole[3], 1] }
    }

    pub(super) fn len(&self) -> usize {
        self.strides[0] * (self.lengths[0] + 2 * self.pad[0])
    }

    /// Where the first real element of a row is.
    pub(super) fn at(&self, row: Row) -> usize {
        (0..RANK - 1).map(|d| (row[d] + self.pad[d]) * self.strides[d]).sum::<usize>() + self.pad[RANK - 1]
    }

    /// Fills the ghosts of a lattice: by a parabola along `dim`, where the next pass interpolates, and by a straight line
    /// across it.
    pub(super) fn fill_ghosts<T: Real>(&self, values: &mut [T], dim: usize) {
        for d in (0..RANK).filter(|&d| self.pad[d] == 1) {
            let (stride, n) = (self.strides[d], self.lengths[d]);
            for block in values[..self.len()].chunks_exact_mut(stride * (n + 2)) {
                extrapolate(block, stride, n, d == dim);
            }
        }
    }
}

/// Fills the first and the last of the `n + 2` slices of a block from those next to them.
fn extrapolate<T: Real>(block: &mut [T], stride: usize, n: usize, curved: bool) {
    let (two, three) = (T::from_f64(2.0), T::from_f64(3.0));
    let (first, inner) = block.split_at_mut(stride);
    let (inner, last) = inner.split_at_mut(n * stride);
    let slice = |i: usize| &inner[i * stride..(i + 1) * stride];
    let ends = [(first, [0, 1, 2]), (last, [n - 1, n.wrapping_sub(2), n.wrapping_sub(3)])];
    for (ghost, [i, j, k]) in ends {
        match n {
            1 => ghost.copy_from_slice(slice(i)),
            3.. if curved => {
                for (((g, &a), &b), &c) in ghost.iter_mut().zip(slice(i)).zip(slice(j)).zip(slice(k)) {
                    *g = three * (a - b) + c;
                }
            }
            _ => {
                for ((g, &a), &b) in ghost.iter_mut().zip(slice(i)).zip(slice(j)) {
                    *g = two * a - b;
                }
            }
        }
    }
}

/// Puts a fresh row and the coarse rows beside it where they belong in the fine lattice.
pub(super) fn place<T: Copy>(
    pass: &Pass,
    row: Row,
    (from, coarse): (&Layout, &[T]),
    fresh: &[T],
    (to, fine): (&Layout, &mut [T]),
) {
    let source = &coarse[from.at(row)..][..pass.coarse[RANK - 1]];
    if pass.within_rows() {
        let target = &mut fine[to.at(row)..][..pass.fine[RANK - 1]];
        interleave(source, fresh, target);
        return;
    }
    let mut target = row;
    target[pass.dim] *= 2;
    fine[to.at(target)..][..source.len()].copy_from_slice(source);
    target[pass.dim] += 1;
    fine[to.at(target)..][..fresh.len()].copy_from_slice(fresh);
    if row[pass.dim] + 1 == pass.fresh[pass.dim] && !pass.open_ended() {
        let mut beyond = row;
        beyond[pass.dim] += 1;
        target[pass.dim] += 1;
        let source = &coarse[from.at(beyond)..][..source.len()];
        fine[to.at(target)..][..source.len()].copy_from_slice(source);
    }
}

fn interleave<T: Copy>(even: &[T], odd: &[T], out: &mut [T]) {
    for ((pair, &a), &b) in out.chunks_exact_mut(2).zip(even).zip(odd) {
        pair.copy_from_slice(&[a, b]);
    }
    if let (true, Some(last), Some(&a)) = (even.len() > odd.len(), out.last_mut(), even.last()) {
        *last = a;
    }
}
