//! Scores: dot products with what stays encrypted. For each digit of the query one LWE sample is made of the ciphertext, and
//! only that sample is decrypted.

use tfhe::core_crypto::prelude::{CiphertextModulus, LweCiphertext, decrypt_lwe_ciphertext};

use super::{
    error::InfluenceError,
    key::KeyBits,
    parameters::{DELTA_LOG2, DIGIT_BITS, RING_DIMENSION, SCALE},
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
        self.decrypt(&signature.bodies, &signature.key.bits(), 1)
    }

    /// Of the sum of `members` ciphertexts, with the sum of their keys.
    pub(super) fn decrypt(
        &mut self,
        bodies: &[u64],
        key: &KeyBits,
        members: u64,
    ) -> Result<Score, InfluenceError> {
        let query = &mut self.query;
        if bodies.len() != query.dimension() {
            return Err(InfluenceError::OtherDimension { query: query.dimension(), signature: bodies.len() });
        }
        let most = query.headroom.most_members;
        if members > most {
            return Err(InfluenceError::NoHeadroom { members, most });
        }
        let key = key.as_lwe();
        let mut units = 0i64;
        for (digit, sample) in query.digits.iter().zip(&mut query.samples).rev() {
            sample[RING_DIMENSION] = dot(bodies, digit);
            let sample = LweCiphertext::from_container(&sample[..], CiphertextModulus::new_native());
            let phase = decrypt_lwe_ciphertext(&key, &sample).0;
            units = (units << DIGIT_BITS) + rounded(phase);
        }
        Ok(Score { units })
    }
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
