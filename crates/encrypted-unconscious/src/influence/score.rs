//! Scores: dot products with what stays encrypted. For each digit of the query one LWE sample is made of the ciphertext, and
//! only that sample is decrypted.

use tfhe::core_crypto::prelude::{CiphertextModulus, LweCiphertext, decrypt_lwe_ciphertext};

use super::{
    error::InfluenceError,
    key::KeyBits,
    parameters::{DELTA_LOG2, DIGIT_BITS, DIGITS, RING_DIMENSION, SCALE},
    query::{PreparedQuery, Query},
    signature::OpenedSignature,
};

/// The dot product of a query and a signature, or the sum of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    units: i64,
}

impl Score {
    /// The dot product of the quantised vectors: exact up to [`Headroom::exact_members`](super::Headroom) memories.
    #[must_use]
    pub fn units(self) -> i64 {
        self.units
    }

    /// Each phase is a digit's sum of products, in units, and an error.
    fn of_phases(phases: [u64; DIGITS]) -> Self {
        let units = phases.iter().rev().fold(0, |units: i64, &phase| (units << DIGIT_BITS) + rounded(phase));
        Self { units }
    }

    /// The dot product of the unit vectors: the cosine, or a sum of cosines. For one memory it is within
    /// √dimension / [`SCALE`] of that of the vectors before they were quantised.
    #[must_use]
    pub fn value(self) -> f64 {
        self.units as f64 / f64::from(SCALE).powi(2)
    }
}

/// The score of each signature. The query is prepared once; a further signature of 384 dimensions takes a few microseconds.
///
/// # Errors
/// [`InfluenceError::OtherDimension`].
pub fn scores<'s>(
    query: &Query,
    signatures: impl IntoIterator<Item = &'s OpenedSignature>,
) -> Result<Vec<Score>, InfluenceError> {
    let mut evaluation = Evaluation::of(query);
    signatures.into_iter().map(|signature| evaluation.score(signature)).collect()
}

/// A query that is being asked.
#[derive(Debug)]
pub(crate) struct Evaluation {
    query: PreparedQuery,
}

impl Evaluation {
    pub(crate) fn of(query: &Query) -> Self {
        Self { query: PreparedQuery::new(query) }
    }

    /// Of one signature.
    pub(crate) fn score(&mut self, signature: &OpenedSignature) -> Result<Score, InfluenceError> {
        self.check(signature.dimension(), 1)?;
        let key = signature.key.bits();
        let products = selected_sums(&self.query.samples, &key);
        let phase =
            |digit: usize| dot(&signature.bodies, &self.query.digits[digit]).wrapping_sub(products[digit]);
        Ok(Score::of_phases(std::array::from_fn(phase)))
    }

    /// Of the sum of `members` ciphertexts, with the sum of their keys.
    pub(super) fn decrypt(
        &mut self,
        bodies: &[u64],
        key: &KeyBits,
        members: u64,
    ) -> Result<Score, InfluenceError> {
        self.check(bodies.len(), members)?;
        let key = key.as_lwe();
        let PreparedQuery { digits, samples, .. } = &mut self.query;
        let mut phases = [0; DIGITS];
        for ((phase, digit), sample) in phases.iter_mut().zip(digits.iter()).zip(samples) {
            sample[RING_DIMENSION] = dot(bodies, digit);
            let sample = LweCiphertext::from_container(&sample[..], CiphertextModulus::new_native());
            *phase = decrypt_lwe_ciphertext(&key, &sample).0;
        }
        Ok(Score::of_phases(phases))
    }

    fn check(&self, dimension: usize, members: u64) -> Result<(), InfluenceError> {
        let (query, most) = (self.query.dimension(), self.query.headroom.most_members);
        if dimension != query {
            Err(InfluenceError::OtherDimension { query, signature: dimension })
        } else if members > most {
            Err(InfluenceError::NoHeadroom { members, most })
        } else {
            Ok(())
        }
    }
}

/// For each sample the product of its mask and a binary key: what `tfhe` computes when it decrypts, for all of them at once and
/// without multiplying.
fn selected_sums(samples: &[Vec<u64>; DIGITS], key: &KeyBits) -> [u64; DIGITS] {
    let mut sums = [0u64; DIGITS];
    let [first, second, third] = samples;
    for (((&bit, &first), &second), &third) in key.0.iter().zip(first).zip(second).zip(third) {
        let all_or_nothing = bit.wrapping_neg();
        sums[0] = sums[0].wrapping_add(first & all_or_nothing);
        sums[1] = sums[1].wrapping_add(second & all_or_nothing);
        sums[2] = sums[2].wrapping_add(third & all_or_nothing);
    }
    sums
}

/// Σ qⱼ·bodyⱼ modulo 2⁶⁴.
fn dot(bodies: &[u64], digit: &[i64]) -> u64 {
    let products = bodies.iter().zip(digit).map(|(&body, &value)| body.wrapping_mul(value as u64));
    products.fold(0, u64::wrapping_add)
}

/// The nearest multiple of the unit.
fn rounded(phase: u64) -> i64 {
    (phase as i64).wrapping_add(1 << (DELTA_LOG2 - 1)) >> DELTA_LOG2
}
