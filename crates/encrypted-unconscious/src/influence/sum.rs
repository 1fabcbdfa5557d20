//! Sums of signatures that stay encrypted: ciphertexts are added, and so are their keys. A score of the sum costs as much as
//! one of a single memory.

use std::collections::HashSet;

use super::{
    error::InfluenceError,
    key::KeyBits,
    parameters::RING_DIMENSION,
    query::Query,
    score::{Evaluation, Score},
    signature::OpenedSignature,
};

/// A sum over distinct memories of one dimension, in the hands of the keyholder. Its parts cannot be told from it.
///
/// Every memory counts once: one that was added twice would be magnified against the others, so it is refused.
#[derive(Debug, Clone)]
pub struct SignatureSum {
    pub(crate) bodies: Vec<u64>,
    pub(super) key: KeyBits,
    pub(crate) members: HashSet<[u8; 32]>,
}

impl SignatureSum {
    /// Of no memory yet, for signatures of this many dimensions.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { bodies: vec![0; dimension], key: KeyBits(vec![0; RING_DIMENSION]), members: HashSet::new() }
    }

    /// Of all that are given.
    ///
    /// # Errors
    /// [`InfluenceError::Nothing`], [`InfluenceError::Twice`], [`InfluenceError::OtherDimension`].
    pub fn of<'s>(signatures: impl IntoIterator<Item = &'s OpenedSignature>) -> Result<Self, InfluenceError> {
        let mut signatures = signatures.into_iter().peekable();
        let mut sum = Self::new(signatures.peek().ok_or(InfluenceError::Nothing)?.dimension());
        for signature in signatures {
            sum.add(signature)?;
        }
        Ok(sum)
    }

    /// Adds a memory, in microseconds.
    ///
    /// # Errors
    /// [`InfluenceError::Twice`], [`InfluenceError::OtherDimension`]; then the sum is as before.
    pub fn add(&mut self, signature: &OpenedSignature) -> Result<(), InfluenceError> {
        if signature.dimension() != self.bodies.len() {
            let (query, signature) = (self.bodies.len(), signature.dimension());
            return Err(InfluenceError::OtherDimension { query, signature });
        }
        if !self.members.insert(signature.content_hash()) {
            return Err(InfluenceError::Twice);
        }
        add_to(&mut self.bodies, &signature.bodies);
        add_to(&mut self.key.0, &signature.key.bits().0);
        Ok(())
    }

    /// What was kept of a sum; none if it cannot be one.
    pub(crate) fn from_parts(bodies: Vec<u64>, key: &[u64], members: HashSet<[u8; 32]>) -> Option<Self> {
        let most = members.len() as u64;
        let fits = !bodies.is_empty() && key.len() == RING_DIMENSION && key.iter().all(|&sum| sum <= most);
        fits.then(|| Self { bodies, key: KeyBits(key.to_vec()), members })
    }

    /// The sum of the keys: a secret.
    pub(crate) fn key_sum(&self) -> &[u64] {
        &self.key.0
    }

    /// How many memories it is over.
    #[must_use]
    pub fn members(&self) -> u64 {
        self.members.len() as u64
    }

    /// Whether the memory is in it.
    #[must_use]
    pub fn contains(&self, content_hash: &[u8; 32]) -> bool {
        self.members.contains(content_hash)
    }

    /// Number of coordinates.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.bodies.len()
    }

    /// The sum of the scores of all its members.
    ///
    /// # Errors
    /// [`InfluenceError::Nothing`], [`InfluenceError::OtherDimension`], [`InfluenceError::NoHeadroom`].
    pub fn score(&self, query: &Query) -> Result<Score, InfluenceError> {
        if self.members.is_empty() {
            return Err(InfluenceError::Nothing);
        }
        Evaluation::of(query).decrypt(&self.bodies, &self.key, self.members())
    }
}

fn add_to(sum: &mut [u64], more: &[u64]) {
    for (sum, &more) in sum.iter_mut().zip(more) {
        *sum = sum.wrapping_add(more);
    }
}
