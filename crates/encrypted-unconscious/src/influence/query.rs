//! A question in the clear, prepared once for any number of encrypted signatures.

use super::{
    error::InfluenceError,
    parameters::{DELTA_LOG2, DIGIT_BITS, DIGITS, NOISE_BOUND_LOG2, RING_DIMENSION},
    ring::Mask,
    vector::{check_dimension, length, longest, quantised},
};

/// A direction to compare with, never longer than a unit vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    steps: Vec<i16>,
}

impl Query {
    /// The direction of `vector`; its length does not matter.
    ///
    /// # Errors
    /// [`InfluenceError::Dimension`], [`InfluenceError::NotFinite`], [`InfluenceError::Zero`].
    pub fn new(vector: &[f32]) -> Result<Self, InfluenceError> {
        Ok(Self { steps: quantised(vector)? })
    }

    /// A direction in steps of 1/[`SCALE`](super::SCALE), from wherever: its length is checked, because a longer query
    /// would magnify the answer.
    ///
    /// # Errors
    /// [`InfluenceError::Dimension`], [`InfluenceError::Zero`], [`InfluenceError::TooLong`].
    pub fn from_steps(steps: Vec<i16>) -> Result<Self, InfluenceError> {
        check_dimension(steps.len())?;
        if steps.iter().all(|&step| step == 0) {
            return Err(InfluenceError::Zero);
        }
        if length(steps.iter().map(|&step| i64::from(step))) > longest(steps.len()) {
            return Err(InfluenceError::TooLong);
        }
        Ok(Self { steps })
    }

    /// In steps of 1/[`SCALE`](super::SCALE).
    #[must_use]
    pub fn steps(&self) -> &[i16] {
        &self.steps
    }

    /// Number of coordinates.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.steps.len()
    }

    /// How far scores over this query are from the limits of the ciphertext.
    #[must_use]
    pub fn headroom(&self) -> Headroom {
        Headroom::of(&self.digits())
    }

    /// Digits of 64, lowest first, each of them a vector of small numbers.
    pub(super) fn digits(&self) -> [Vec<i64>; DIGITS] {
        let mut rest: Vec<i64> = self.steps.iter().map(|&step| i64::from(step)).collect();
        std::array::from_fn(|position| {
            if position + 1 == DIGITS {
                return std::mem::take(&mut rest);
            }
            rest.iter_mut().map(take_digit).collect()
        })
    }
}

/// The lowest digit, from −32 to 31; what is left is divided by 64.
fn take_digit(rest: &mut i64) -> i64 {
    let half = 1 << (DIGIT_BITS - 1);
    let digit = ((*rest + half) & ((1 << DIGIT_BITS) - 1)) - half;
    *rest = (*rest - digit) >> DIGIT_BITS;
    digit
}

/// A query and its products with the masks: all of the work that is the same for every signature.
#[derive(Debug)]
pub(super) struct PreparedQuery {
    pub(super) digits: [Vec<i64>; DIGITS],
    /// For each digit the mask of the LWE sample of the score, and a place for its body.
    pub(super) samples: [Vec<u64>; DIGITS],
    pub(super) headroom: Headroom,
}

impl PreparedQuery {
    pub(super) fn new(query: &Query) -> Self {
        let digits = query.digits();
        let samples = std::array::from_fn(|position| sample_mask(&digits[position]));
        let headroom = Headroom::of(&digits);
        Self { digits, samples, headroom }
    }

    pub(super) fn dimension(&self) -> usize {
        self.digits[0].len()
    }
}

/// The mask of Σ qⱼ·bodyⱼ as one LWE sample: with r(X) = Σ qⱼ·X⁻ʲ and P = mask · r, its coordinates are P₀, −Pₙ₋₁, …, −P₁.
fn sample_mask(digit: &[i64]) -> Vec<u64> {
    let mut product = vec![0; RING_DIMENSION];
    for (block, part) in digit.chunks(RING_DIMENSION).enumerate() {
        let mut reversed = vec![0; RING_DIMENSION];
        reversed[0] = part[0];
        for (place, &value) in reversed[1..].iter_mut().rev().zip(&part[1..]) {
            *place = -value;
        }
        Mask::of_block(block).multiply_into(&reversed, &mut product);
    }
    product[1..].reverse();
    for coordinate in &mut product[1..] {
        *coordinate = coordinate.wrapping_neg();
    }
    product.push(0);
    product
}

/// What fits between the error of a ciphertext and its modulus, for one query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Headroom {
    /// Most memories whose sum is certain not to leave the range of the ciphertext.
    pub most_members: u64,
    /// Up to how many memories the score is exactly the dot product of the quantised vectors, but for a chance of 2⁻⁶⁴.
    /// Over more, the error of the sum is at most √(members / this) units of the integer dot product in each digit.
    pub exact_members: u64,
}

impl Headroom {
    fn of(digits: &[Vec<i64>; DIGITS]) -> Self {
        let dimension = digits[0].len();
        let noise = f64::from(1u32 << NOISE_BOUND_LOG2);
        let (mut most, mut exact) = (f64::INFINITY, f64::INFINITY);
        for digit in digits {
            let digit_length = length(digit.iter().copied());
            let digit_sum = digit.iter().map(|value| value.abs()).sum::<i64>() as f64;
            // By Cauchy and Schwarz for the message, by the bound of the noise for the error.
            let member = (1u64 << DELTA_LOG2) as f64 * longest(dimension) * digit_length + noise * digit_sum;
            most = most.min(2f64.powi(63) / member);
            // Hoeffding: P(|Σ eⱼ·qⱼ| > t) ≤ 2·exp(−t² / (2·noise²·members·|q|²)), at half a unit.
            let half_unit = 2f64.powi(DELTA_LOG2 as i32 - 1);
            let exponent = 65.0 * std::f64::consts::LN_2;
            exact = exact.min((half_unit / (noise * digit_length)).powi(2) / (2.0 * exponent));
        }
        Self { most_members: most as u64, exact_members: exact as u64 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::influence::parameters::SCALE;

    proptest! {
        #[test]
        fn digits_are_small_and_add_up_to_the_query(step in -SCALE..=SCALE) {
            prop_assume!(step != 0);
            let digits = Query::from_steps(vec![step]).unwrap().digits();
            prop_assert!(digits[0][0].abs() <= 32 && digits[1][0].abs() <= 32 && digits[2][0].abs() <= 8);
            prop_assert_eq!(digits[0][0] + 64 * digits[1][0] + 4096 * digits[2][0], i64::from(step));
        }
    }

    #[test]
    fn a_query_that_would_magnify_is_refused() {
        assert!(Query::from_steps(vec![SCALE, 0]).is_ok());
        assert!(matches!(Query::from_steps(vec![SCALE, SCALE]), Err(InfluenceError::TooLong)));
        assert!(matches!(Query::from_steps(vec![i16::MIN; 3]), Err(InfluenceError::TooLong)));
        assert!(matches!(Query::from_steps(vec![0; 3]), Err(InfluenceError::Zero)));
        assert!(matches!(Query::from_steps(Vec::new()), Err(InfluenceError::Dimension { .. })));
    }

    #[test]
    fn there_is_room_for_a_hundred_thousand_memories_of_384_dimensions() {
        let query: Vec<f32> = (0..384).map(|i| ((i * 37 % 101) as f32 - 50.0).sin()).collect();
        let headroom = Query::new(&query).unwrap().headroom();
        assert!(headroom.most_members >= 200_000, "{headroom:?}");
        assert!(headroom.exact_members >= 500, "{headroom:?}");
    }
}
