//! A signature as it is kept: encrypted under a key of its own, which lies beside it, sealed to the keyholder.

use std::{fmt, io::Read};

use tfhe::core_crypto::{
    commons::math::random::{DefaultRandomGenerator, RandomGenerator, TUniform},
    seeders::new_seeder,
};
use zeroize::Zeroizing;

use super::{
    error::InfluenceError,
    key::{KeyBits, MAX_SEALED_TICKET_BYTES, OneTimeKey, Ticket},
    parameters::{DELTA_LOG2, MAX_DIMENSION, NOISE_BOUND_LOG2, RING_DIMENSION},
    ring::Mask,
    vector::quantised,
};
use crate::{Identity, KeyRing, Opened, Result, Sealer};

const MAGIC: [u8; 8] = *b"OMNINFL1";
/// Magic, dimension, length of the ticket.
const HEADER_BYTES: usize = 8 + 4 + 4;
const CHECK_CONTEXT: &str = "omnimind-memory 2026 influence ciphertext check v1";

/// A signature that nobody but the keyholder can compare with anything, and that nobody reads.
///
/// Coordinate j is bodyⱼ = (mask · key)ⱼ + error + 2²¹ · signatureⱼ modulo 2⁶⁴. About 8 bytes for each dimension, and 330.
///
/// ```
/// use encrypted_unconscious::{EncryptedSignature, Identity, Query, Sealer, influence};
///
/// let keyholder = Identity::generate();
/// let sealer = Sealer::new(keyholder.recipient()); // all that the other side has
/// let kept = sealer.encrypt_signature([7; 32], &[0.6, 0.8])?.to_bytes();
///
/// let signature = EncryptedSignature::from_bytes(&kept)?;
/// let opened = keyholder.open_signature(&signature)?; // the key of it, not the signature
/// let query = Query::new(&[1.0, 0.0])?;
/// let score = influence::scores(&query, [&opened])?[0];
/// assert!((score.value() - 0.6).abs() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedSignature {
    bodies: Vec<u64>,
    ticket: Vec<u8>,
}

impl Sealer {
    /// Encrypts the direction of a signature, under a new key that is sealed to the keyholder and forgotten.
    ///
    /// `content_hash` is what the memory is known by; budgets are counted by it.
    ///
    /// # Errors
    /// [`InfluenceError`] where the vector has no direction; [`InfluenceError::Ticket`] where the key cannot be sealed.
    pub fn encrypt_signature(
        &self,
        content_hash: [u8; 32],
        signature: &[f32],
    ) -> Result<EncryptedSignature, InfluenceError> {
        let steps = Zeroizing::new(quantised(signature)?);
        let key = OneTimeKey::generate().map_err(InfluenceError::Ticket)?;
        let bodies = encrypt(&key.bits(), &steps);
        let ticket = Ticket { key, check: check(&bodies), content_hash };
        let ticket = ticket.seal(self).map_err(InfluenceError::Ticket)?;
        Ok(EncryptedSignature { bodies, ticket })
    }
}

fn encrypt(key: &KeyBits, steps: &[i16]) -> Vec<u64> {
    let mut generator = RandomGenerator::<DefaultRandomGenerator>::new(new_seeder().seed());
    let mut bodies = vec![0u64; steps.len()];
    generator.fill_slice_with_random_from_distribution(&mut bodies, TUniform::new(NOISE_BOUND_LOG2));
    for (block, part) in bodies.chunks_mut(RING_DIMENSION).enumerate() {
        Mask::of_block(block).multiply_bits_into(&key.0, part);
    }
    for (body, &step) in bodies.iter_mut().zip(steps) {
        *body = body.wrapping_add((i64::from(step) << DELTA_LOG2) as u64);
    }
    bodies
}

fn check(bodies: &[u64]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECK_CONTEXT);
    for chunk in bodies.chunks(512) {
        let mut bytes = [0; 4096];
        for (place, body) in bytes.as_chunks_mut().0.iter_mut().zip(chunk) {
            *place = body.to_le_bytes();
        }
        hasher.update(&bytes[..chunk.len() * 8]);
    }
    *hasher.finalize().as_bytes()
}

impl EncryptedSignature {
    /// Number of coordinates.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.bodies.len()
    }

    /// As it is kept: `OMNINFL1`, the dimension and the length of the ticket (4 bytes each), the ticket, and 8 bytes for each
    /// coordinate. All numbers are little-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.ticket.len() + self.bodies.len() * 8);
        bytes.extend(MAGIC);
        bytes.extend((self.bodies.len() as u32).to_le_bytes());
        bytes.extend((self.ticket.len() as u32).to_le_bytes());
        bytes.extend(&self.ticket);
        bytes.extend(self.bodies.iter().flat_map(|body| body.to_le_bytes()));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made. Whether it was changed since shows when it is opened.
    ///
    /// # Errors
    /// [`InfluenceError::NotASignature`], [`InfluenceError::Truncated`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InfluenceError> {
        let not = |reason| Err(InfluenceError::NotASignature { reason });
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return if bytes.is_empty() || !MAGIC.starts_with(&bytes[..bytes.len().min(8)]) {
                not("it does not begin as one")
            } else {
                Err(InfluenceError::Truncated { bytes: bytes.len(), expected: HEADER_BYTES })
            };
        };
        if header[..8] != MAGIC {
            return not("it does not begin as one, or is of a newer version");
        }
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i])) as usize;
        let (dimension, ticket_bytes) = (number(8), number(12));
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            return not("its dimension is not one that a signature can have");
        }
        if ticket_bytes > MAX_SEALED_TICKET_BYTES {
            return not("its ticket is far longer than a ticket is");
        }
        let expected = HEADER_BYTES + ticket_bytes + dimension * 8;
        match bytes.len().cmp(&expected) {
            std::cmp::Ordering::Less => {
                return Err(InfluenceError::Truncated { bytes: bytes.len(), expected });
            }
            std::cmp::Ordering::Greater => return not("something follows its end"),
            std::cmp::Ordering::Equal => {}
        }
        let (ticket, bodies) = rest.split_at(ticket_bytes);
        let bodies = bodies.as_chunks().0.iter().map(|&chunk| u64::from_le_bytes(chunk)).collect();
        Ok(Self { bodies, ticket: ticket.to_vec() })
    }

    /// The name of ticket and ciphertext as they are: equal only for equal bytes.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&check(&self.bodies));
        hasher.update(&self.ticket);
        *hasher.finalize().as_bytes()
    }

    /// The sealed ticket: an age file.
    pub(crate) fn sealed_ticket(&self) -> &[u8] {
        &self.ticket
    }

    /// With the key that was found in its ticket before. It must be the one of this ticket and this ciphertext: those of one
    /// [fingerprint](Self::fingerprint).
    pub(crate) fn with_key(&self, key: &SignatureKey) -> OpenedSignature {
        OpenedSignature { bodies: self.bodies.clone(), key: key.key.clone(), content_hash: key.content_hash }
    }

    /// Looks into an opened ticket, and whether it belongs to this ciphertext.
    pub(crate) fn admit(&self, opened_ticket: impl Read) -> Result<OpenedSignature, InfluenceError> {
        let ticket = Ticket::read(opened_ticket).map_err(InfluenceError::Ticket)?;
        if ticket.check != check(&self.bodies) {
            return Err(InfluenceError::Changed);
        }
        Ok(OpenedSignature {
            bodies: self.bodies.clone(),
            key: ticket.key,
            content_hash: ticket.content_hash,
        })
    }
}

impl fmt::Debug for EncryptedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedSignature").field("dimension", &self.dimension()).finish_non_exhaustive()
    }
}

/// A ciphertext with the key to scores of it, in the hands of the keyholder.
#[derive(Debug, Clone)]
pub struct OpenedSignature {
    pub(super) bodies: Vec<u64>,
    pub(super) key: OneTimeKey,
    content_hash: [u8; 32],
}

/// What was in a ticket, so that it need not be opened again.
#[derive(Debug, Clone)]
pub(crate) struct SignatureKey {
    key: OneTimeKey,
    content_hash: [u8; 32],
}

impl OpenedSignature {
    /// What to remember of it: a secret.
    pub(crate) fn to_key(&self) -> SignatureKey {
        SignatureKey { key: self.key.clone(), content_hash: self.content_hash }
    }

    /// Which memory this is the signature of.
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        self.content_hash
    }

    /// Number of coordinates.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.bodies.len()
    }

    /// The signature with its key sealed to another keyholder. The ciphertext stays as it is.
    ///
    /// # Errors
    /// [`InfluenceError::Ticket`] where the key cannot be sealed.
    pub fn sealed_to(&self, sealer: &Sealer) -> Result<EncryptedSignature, InfluenceError> {
        let ticket =
            Ticket { key: self.key.clone(), check: check(&self.bodies), content_hash: self.content_hash };
        let ticket = ticket.seal(sealer).map_err(InfluenceError::Ticket)?;
        Ok(EncryptedSignature { bodies: self.bodies.clone(), ticket })
    }
}

impl KeyRing {
    /// Opens the key of an encrypted signature with whichever identity fits.
    ///
    /// # Errors
    /// As [`Identity::open_signature`].
    pub fn open_signature(
        &self,
        signature: &EncryptedSignature,
    ) -> Result<Opened<'_, OpenedSignature>, InfluenceError> {
        let Opened { reader, identity, is_current } =
            self.open(signature.sealed_ticket()).map_err(InfluenceError::Ticket)?;
        Ok(Opened { reader: signature.admit(reader)?, identity, is_current })
    }
}

impl Identity {
    /// Opens the key of an encrypted signature: to scores of it, as [`scores`](super::scores) gives them.
    ///
    /// # Errors
    /// [`InfluenceError::Ticket`] where the identity does not fit or the ticket was changed; [`InfluenceError::Changed`] where
    /// the ciphertext is another than the ticket's.
    pub fn open_signature(&self, signature: &EncryptedSignature) -> Result<OpenedSignature, InfluenceError> {
        signature.admit(self.open(signature.sealed_ticket()).map_err(InfluenceError::Ticket)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coordinate_has_an_error_of_its_own_as_large_as_the_security_rests_on() {
        let steps: Vec<i16> = (0..RING_DIMENSION as i16).map(|step| step - 2000).collect();
        let key = OneTimeKey::generate().unwrap().bits();
        let errors = || -> Vec<i64> {
            let mut product = vec![0; RING_DIMENSION];
            Mask::of_block(0).multiply_bits_into(&key.0, &mut product);
            let bodies = encrypt(&key, &steps);
            let parts = bodies.iter().zip(product).zip(&steps);
            parts
                .map(|((body, product), &step)| {
                    body.wrapping_sub(product) as i64 - (i64::from(step) << DELTA_LOG2)
                })
                .collect()
        };
        let (one, other) = (errors(), errors());
        assert!(one.iter().all(|error| error.abs() <= 1 << NOISE_BOUND_LOG2));
        assert!([-8, -1, 0, 1, 8].iter().all(|error| one.contains(error)));
        let variance = one.iter().map(|error| (error * error) as f64).sum::<f64>() / one.len() as f64;
        // (2^7 + 1) / 6; of so many the deviation is 0.3.
        assert!((variance - 21.5).abs() < 2.0, "{variance}");
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < 500, "{same} of 4096 alike: the errors are not drawn anew");
    }

    #[test]
    fn half_of_a_key_s_bits_are_set_and_no_two_keys_are_alike() {
        let (one, other) = (OneTimeKey::generate().unwrap().bits(), OneTimeKey::generate().unwrap().bits());
        let set = one.0.iter().sum::<u64>();
        assert!(one.0.iter().all(|&bit| bit <= 1) && (1800..2300).contains(&set), "{set}");
        let same = one.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        assert!((1800..2300).contains(&same), "{same}");
    }
}
