//! Signatures of one dimension, and how alike two vectors are. The vectors lie one after the other in one allocation,
//! which a scan reads front to back. Which memory a vector belongs to is a number here.

use crate::config::Metric;
use crate::error::{IndexError, Role};
use crate::trace::EntryNumber;

/// Sums kept side by side: enough for two AVX-512 or eight SSE registers, and the reason why LLVM may vectorise the
/// loop. A sum in one variable would have to be added in order. Rows are padded to a multiple of it with zeros.
const LANES: usize = 16;

/// Where in its [`Column`] a signature lies. Changes when another is removed.
pub(crate) type Slot = u32;

/// A vector that was found valid, padded, and for [`Metric::Cosine`] of length 1.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<f32>);

impl Prepared {
    pub(crate) fn new(role: Role, metric: Metric, vector: &[f32]) -> Result<Self, IndexError> {
        if vector.is_empty() {
            return Err(IndexError::Empty { role });
        }
        if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
            return Err(IndexError::NotFinite { role, position, value: vector[position] });
        }
        let mut row = Vec::with_capacity(vector.len().next_multiple_of(LANES));
        match metric {
            Metric::InnerProduct => row.extend_from_slice(vector),
            Metric::Cosine => {
                // In f64 no square of an f32 overflows or vanishes.
                let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
                if norm == 0.0 {
                    return Err(IndexError::Zero { role });
                }
                row.extend(vector.iter().map(|&x| (f64::from(x) / norm) as f32));
            }
        }
        row.resize(vector.len().next_multiple_of(LANES), 0.0);
        Ok(Self(row))
    }
}

/// All signatures of one dimension.
#[derive(Debug)]
pub(crate) struct Column {
    metric: Metric,
    /// Elements a row takes: the dimension, padded.
    stride: usize,
    rows: Vec<f32>,
    /// Whose row it is, by slot.
    owners: Vec<EntryNumber>,
}

impl Column {
    pub(crate) fn new(metric: Metric, dimension: usize) -> Self {
        Self { metric, stride: dimension.next_multiple_of(LANES), rows: Vec::new(), owners: Vec::new() }
    }

    /// Adds the signature of `owner`, of this column's dimension.
    pub(crate) fn push(&mut self, owner: EntryNumber, row: &Prepared) -> Slot {
        debug_assert_eq!(row.0.len(), self.stride);
        let slot = self.owners.len() as Slot;
        self.rows.extend_from_slice(&row.0);
        self.owners.push(owner);
        slot
    }

    /// Removes a signature in constant time: the last one takes its slot. Answers whose that was, if it moved.
    pub(crate) fn swap_remove(&mut self, slot: Slot) -> Option<EntryNumber> {
        let slot = slot as usize;
        let last = self.owners.len() - 1;
        self.rows.copy_within(last * self.stride.., slot * self.stride);
        self.rows.truncate(last * self.stride);
        self.owners.swap_remove(slot);
        self.owners.get(slot).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    /// Calls `visit` with the owner of every signature and how alike it is to `query`.
    pub(crate) fn scan(&self, query: &Prepared, mut visit: impl FnMut(EntryNumber, f32)) {
        for (row, &owner) in self.rows.chunks_exact(self.stride).zip(&self.owners) {
            visit(owner, self.similarity_of(row, query));
        }
    }

    /// How alike one signature is to `query`.
    pub(crate) fn similarity(&self, slot: Slot, query: &Prepared) -> f32 {
        self.similarity_of(&self.rows[slot as usize * self.stride..][..self.stride], query)
    }

    fn similarity_of(&self, row: &[f32], query: &Prepared) -> f32 {
        let product = dot(row, &query.0);
        match self.metric {
            // Rounding may carry a vector and itself a hair above 1.
            Metric::Cosine => product.clamp(-1.0, 1.0) + 0.0,
            Metric::InnerProduct if product.is_finite() => product + 0.0,
            // f32 overflowed on the way; f64 cannot, and the answer is the nearest there is.
            Metric::InnerProduct => {
                dot_f64(row, &query.0).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
            }
        }
    }
}

/// The inner product of two padded rows. Always the same for the same rows: the order of additions is fixed.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

fn dot_f64(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
// Sums of small integers are exact.
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    fn similarity(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
        let mut column = Column::new(metric, a.len());
        column.push(0, &Prepared::new(Role::Signature, metric, a).unwrap());
        column.similarity(0, &Prepared::new(Role::Query, metric, b).unwrap())
    }

    #[test]
    fn every_element_counts_whatever_the_dimension() {
        for dimension in [1, 2, 15, 16, 17, 31, 33, 384] {
            let a: Vec<f32> = (0..dimension).map(|i| (i % 5) as f32).collect();
            let expected: f32 = a.iter().map(|x| x * x).sum();
            assert_eq!(similarity(Metric::InnerProduct, &a, &a), expected, "{dimension}");
        }
    }

    #[test]
    fn a_cosine_stays_between_minus_one_and_one_for_tiny_and_huge_vectors() {
        for scale in [1e-45_f32, 1e-30, 1.0, 1e30, 3e38] {
            let a = [scale, scale, scale];
            let b = [-1.0, -1.0, -1.0];
            let there = similarity(Metric::Cosine, &a, &a);
            assert!(there <= 1.0 && there > 0.999_999, "{scale}: {there}");
            let back = similarity(Metric::Cosine, &a, &b);
            assert!((-1.0..-0.999_999).contains(&back), "{scale}: {back}");
        }
    }

    #[test]
    fn an_inner_product_that_overflows_is_the_largest_number_and_never_nan() {
        let a = [f32::MAX, f32::MAX];
        assert_eq!(similarity(Metric::InnerProduct, &a, &a), f32::MAX);
        assert_eq!(similarity(Metric::InnerProduct, &a, &[-f32::MAX, -1.0]), f32::MIN);
        assert_eq!(similarity(Metric::InnerProduct, &a, &[f32::MAX, -f32::MAX]), 0.0);
    }

    #[test]
    fn zero_has_one_sign() {
        assert!(similarity(Metric::Cosine, &[-1.0, 0.0], &[0.0, 1.0]).is_sign_positive());
    }
}
