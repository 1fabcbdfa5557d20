//! One vector: what makes it valid, how it is kept, and how it is rounded to bytes. How alike two vectors are, exactly, is
//! said here and nowhere else.

use crate::config::Metric;
use crate::error::{IndexError, Role};
use crate::kernel::{IntQuery, dot_f32};

/// Dimensions from 1 to this.
pub(crate) const MAX_DIMENSION: usize = 4096;

/// Rows of bytes are padded to a multiple of this: a cache line, and a register of AVX-512.
pub(crate) const LINE: usize = 64;

/// What a byte of a row means: itself less this.
pub(crate) const BIAS: u8 = 128;

/// The largest byte code. −128 is not used, so that a code can be negated.
const MAX_CODE: f32 = 127.0;

/// Adding it to a small number and taking it away again leaves the nearest whole number, ties to even: between 2²³ and 2²⁴ no
/// f32 has a fraction. A call of libm less for each element.
const ROUNDER: f32 = 12_582_912.0;

/// Elements outside these magnitudes (zero apart) would make products of scales overflow or vanish in f32. Vectors with
/// such a largest element are compared in full precision only.
const TAME: std::ops::RangeInclusive<f32> = 1e-15..=1e15;

/// Bytes from one row of codes to the next.
pub(crate) fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(LINE)
}

/// A vector that was found valid; for [`Metric::Cosine`] of length 1.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<f32>);

impl Prepared {
    pub(crate) fn new(role: Role, metric: Metric, vector: &[f32]) -> Result<Self, IndexError> {
        if vector.is_empty() {
            return Err(IndexError::Empty { role });
        }
        if vector.len() > MAX_DIMENSION {
            return Err(IndexError::TooLong { role, given: vector.len() });
        }
        if let Some(position) = vector.iter().position(|x| !x.is_finite()) {
            return Err(IndexError::NotFinite { role, position, value: vector[position] });
        }
        match metric {
            Metric::InnerProduct => Ok(Self(vector.to_vec())),
            Metric::Cosine => {
                let norm = norm(vector);
                if norm == 0.0 {
                    return Err(IndexError::Zero { role });
                }
                Ok(Self(vector.iter().map(|&x| (f64::from(x) / norm) as f32).collect()))
            }
        }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.0
    }

    pub(crate) fn dimension(&self) -> usize {
        self.0.len()
    }
}

/// In f64 no square of an f32 overflows or vanishes.
fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

/// How alike two prepared vectors of one dimension are. Always the same for the same vectors, on every machine.
pub(crate) fn similarity(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let product = dot_f32(a, b);
    match metric {
        // Rounding may carry a vector and itself a hair above 1. Adding zero leaves it one sign.
        Metric::Cosine => product.clamp(-1.0, 1.0) + 0.0,
        Metric::InnerProduct if product.is_finite() => product + 0.0,
        // f32 overflowed on the way; f64 cannot, and the answer is the nearest there is.
        Metric::InnerProduct => {
            let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            product.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
        }
    }
}

/// What is kept of a vector beside its codes: `x ≈ scale · code`, and `‖x − scale · code‖ ≤ residual`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rounding {
    pub(crate) scale: f32,
    /// Infinite if the codes say nothing (the vector is not tame).
    pub(crate) residual: f32,
    /// ‖x‖₂.
    pub(crate) norm: f32,
}

impl Rounding {
    /// Whether the codes say something about the vector.
    pub(crate) fn is_tame(self) -> bool {
        self.residual.is_finite()
    }
}

/// Rounds a vector to codes from −127 to 127, one scale for all, and hands them on.
fn round(vector: &[f32], mut code: impl FnMut(usize, i8)) -> Rounding {
    let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let norm = norm(vector);
    // Upwards, because bounds are made of it.
    let norm_above = (norm * (1.0 + 1e-6)) as f32;
    if largest == 0.0 {
        return Rounding { scale: 0.0, residual: 0.0, norm: 0.0 };
    }
    if !TAME.contains(&largest) {
        return Rounding { scale: 0.0, residual: f32::INFINITY, norm: norm_above };
    }
    let scale = largest / MAX_CODE;
    let mut squared_residual = 0.0_f64;
    for (i, &x) in vector.iter().enumerate() {
        let rounded = ((x / scale + ROUNDER) - ROUNDER).clamp(-MAX_CODE, MAX_CODE);
        code(i, rounded as i8);
        let error = f64::from(x) - f64::from(scale) * f64::from(rounded);
        squared_residual += error * error;
    }
    let residual = (squared_residual.sqrt() * (1.0 + 1e-6)) as f32;
    Rounding { scale, residual, norm: norm_above }
}

/// Appends the codes of a vector to `codes`, biased and padded to the [`stride`].
pub(crate) fn push_codes(vector: &[f32], codes: &mut Vec<u8>) -> Rounding {
    let start = codes.len();
    codes.resize(start + stride(vector.len()), BIAS);
    let row = &mut codes[start..];
    round(vector, |i, code| row[i] = (code as u8).wrapping_add(BIAS))
}

/// A query, exact and in codes.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) exact: Prepared,
    pub(crate) codes: IntQuery,
    pub(crate) rounding: Rounding,
}

impl Query {
    pub(crate) fn new(metric: Metric, vector: &[f32]) -> Result<Self, IndexError> {
        let exact = Prepared::new(Role::Query, metric, vector)?;
        let mut rounded = vec![0_i8; exact.dimension()];
        let rounding = round(exact.as_slice(), |i, code| rounded[i] = code);
        let mut codes = IntQuery::with_stride(stride(exact.dimension()));
        codes.fill(rounded.into_iter());
        Ok(Self { exact, codes, rounding })
    }

    pub(crate) fn dimension(&self) -> usize {
        self.exact.dimension()
    }

    /// By how much the similarity that codes give may be off, for a row with this rounding:
    /// |⟨q, x⟩ − ⟨q̂, x̂⟩| ≤ ‖q‖ ‖x − x̂‖ + ‖x̂‖ ‖q − q̂‖, and what rounding in f32 adds.
    pub(crate) fn error_bound(&self, row_residual: f32, row_norm: f32) -> f32 {
        let q = self.rounding;
        let sums = (self.dimension() + 8) as f32 * f32::EPSILON * q.norm * row_norm;
        let bound = q.norm * row_residual + (row_norm + row_residual) * q.residual + 2.0 * sums;
        // Zero times infinity: nothing is known.
        if bound.is_nan() { f32::INFINITY } else { bound }
    }

    /// By how much it is off, but for rare cases: rounding errors point in any direction, so that their product with a vector is
    /// that of the lengths by √d, in standard deviations; this is four of them.
    pub(crate) fn likely_error(&self, row_residual: f32, row_norm: f32) -> f32 {
        let deviations = 4.0 / (self.dimension() as f32).sqrt();
        self.error_bound(row_residual, row_norm) * deviations.min(1.0)
    }
}

#[cfg(test)]
// Sums of small integers are exact.
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compare(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
        let prepare = |role, v| Prepared::new(role, metric, v).unwrap();
        similarity(metric, prepare(Role::Signature, a).as_slice(), prepare(Role::Query, b).as_slice())
    }

    #[test]
    fn every_element_counts_whatever_the_dimension() {
        for dimension in [1, 2, 15, 16, 17, 31, 33, 384] {
            let a: Vec<f32> = (0..dimension).map(|i| (i % 5) as f32).collect();
            let expected: f32 = a.iter().map(|x| x * x).sum();
            assert_eq!(compare(Metric::InnerProduct, &a, &a), expected, "{dimension}");
        }
    }

    #[test]
    fn a_cosine_stays_between_minus_one_and_one_for_tiny_and_huge_vectors() {
        for scale in [1e-45_f32, 1e-30, 1.0, 1e30, 3e38] {
            let a = [scale, scale, scale];
            let b = [-1.0, -1.0, -1.0];
            let there = compare(Metric::Cosine, &a, &a);
            assert!(there <= 1.0 && there > 0.999_999, "{scale}: {there}");
            let back = compare(Metric::Cosine, &a, &b);
            assert!((-1.0..-0.999_999).contains(&back), "{scale}: {back}");
        }
    }

    #[test]
    fn an_inner_product_that_overflows_is_the_largest_number_and_never_nan() {
        let a = [f32::MAX, f32::MAX];
        assert_eq!(compare(Metric::InnerProduct, &a, &a), f32::MAX);
        assert_eq!(compare(Metric::InnerProduct, &a, &[-f32::MAX, -1.0]), f32::MIN);
        assert_eq!(compare(Metric::InnerProduct, &a, &[f32::MAX, -f32::MAX]), 0.0);
    }

    #[test]
    fn zero_has_one_sign() {
        assert!(compare(Metric::Cosine, &[-1.0, 0.0], &[0.0, 1.0]).is_sign_positive());
    }

    #[test]
    fn vectors_that_would_overflow_as_codes_say_so() {
        let mut codes = Vec::new();
        assert!(!push_codes(&[1e30, 1.0], &mut codes).is_tame());
        assert!(!push_codes(&[1e-30], &mut codes).is_tame());
        assert!(push_codes(&[0.0, 0.0], &mut codes).is_tame());
        assert_eq!(codes, [BIAS; 3 * LINE]);
    }

    proptest! {
        #[test]
        fn the_similarity_of_codes_is_within_its_bound(
            (a, b) in (1..200_usize).prop_flat_map(|n| {
                let vector = prop::collection::vec(-1e3_f32..1e3, n);
                (vector.clone(), vector)
            }),
            metric in prop_oneof![Just(Metric::Cosine), Just(Metric::InnerProduct)],
        ) {
            prop_assume!(norm(&a) > 1e-3 && norm(&b) > 1e-3);
            let row = Prepared::new(Role::Signature, metric, &a).unwrap();
            let query = Query::new(metric, &b).unwrap();
            let mut codes = Vec::new();
            let rounding = push_codes(row.as_slice(), &mut codes);
            let mut product = [0];
            crate::kernel::Kernel::best().scan(&codes, &query.codes, &mut product);
            let approximate = product[0] as f32 * rounding.scale * query.rounding.scale;
            let exact = similarity(metric, row.as_slice(), query.exact.as_slice());
            prop_assert!((approximate - exact).abs() <= query.error_bound(rounding.residual, rounding.norm));
        }
    }
}
