//! The one-time key of a signature, and the ticket in which it travels to the keyholder.
//!
//! A ticket is one small age file: it holds the seed of the key, the check sum of the ciphertext that the key belongs to, and
//! the memory's content hash. Nobody who has only ciphertexts can make a second ticket for the same key, or put another
//! ciphertext behind it: that is what budgets rest on.

use std::{fmt, io::Read};

use tfhe::core_crypto::prelude::LweSecretKey;
use zeroize::{Zeroize, Zeroizing};

use super::parameters::RING_DIMENSION;
use crate::{Error, Result, Sealer};

const KEY_CONTEXT: &str = "omnimind-memory 2026 influence one-time key v1";
const SEED_BYTES: usize = 32;
const TICKET_BYTES: usize = SEED_BYTES + 32 + 32;

/// The bits of each byte, lowest first.
static BITS_OF_BYTE: [[u64; 8]; 256] = {
    let mut bits = [[0; 8]; 256];
    let mut at = 0;
    while at < 256 * 8 {
        bits[at / 8][at % 8] = ((at / 8) >> (at % 8) & 1) as u64;
        at += 1;
    }
    bits
};

/// Longest sealed ticket that is accepted. Sealed to one key, a ticket has about 300 bytes.
pub(super) const MAX_SEALED_TICKET_BYTES: usize = 4096;

/// The seed of a binary ring key. Wiped when dropped.
#[derive(Clone)]
pub(super) struct OneTimeKey {
    seed: Zeroizing<[u8; SEED_BYTES]>,
}

impl OneTimeKey {
    /// From the system's random numbers.
    pub(super) fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        getrandom::fill(&mut *seed).map_err(|error| Error::Io(std::io::Error::other(error)))?;
        Ok(Self { seed })
    }

    /// The coefficients, 0 or 1.
    pub(super) fn bits(&self) -> KeyBits {
        let mut bytes = Zeroizing::new([0u8; RING_DIMENSION / 8]);
        blake3::Hasher::new_derive_key(KEY_CONTEXT).update(&*self.seed).finalize_xof().fill(&mut *bytes);
        let mut bits = vec![0; RING_DIMENSION];
        for (place, &byte) in bits.as_chunks_mut().0.iter_mut().zip(bytes.iter()) {
            *place = BITS_OF_BYTE[usize::from(byte)];
        }
        KeyBits(bits)
    }
}

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeKey")
    }
}

/// Coefficients of one key, or the sum of those of several. Wiped when dropped.
#[derive(Clone)]
pub(super) struct KeyBits(pub(super) Vec<u64>);

impl KeyBits {
    pub(super) fn as_lwe(&self) -> LweSecretKey<&[u64]> {
        LweSecretKey::from_container(&self.0[..])
    }
}

impl Drop for KeyBits {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for KeyBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBits")
    }
}

/// What the keyholder finds in a ticket.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) key: OneTimeKey,
    /// Of the ciphertext.
    pub(super) check: [u8; 32],
    /// Of the memory.
    pub(super) content_hash: [u8; 32],
}

impl Ticket {
    pub(super) fn seal(&self, sealer: &Sealer) -> Result<Vec<u8>> {
        use std::io::Write;
        let mut plain = Zeroizing::new([0; TICKET_BYTES]);
        plain[..32].copy_from_slice(&*self.key.seed);
        plain[32..64].copy_from_slice(&self.check);
        plain[64..].copy_from_slice(&self.content_hash);
        let mut writer = sealer.seal(Vec::with_capacity(512))?;
        writer.write_all(&*plain)?;
        writer.finish()
    }

    /// Reads what a ticket holds, once it is open.
    pub(super) fn read(mut opened: impl Read) -> Result<Self> {
        let mut plain = Zeroizing::new([0; TICKET_BYTES]);
        opened.read_exact(&mut *plain)?;
        // The end is authentic only once it has been read.
        if opened.read(&mut [0])? != 0 {
            return Err(Error::NotSealed { reason: "it is longer than the ticket of a signature" });
        }
        let part = |at: usize| -> [u8; 32] { std::array::from_fn(|i| plain[at + i]) };
        Ok(Self {
            key: OneTimeKey { seed: Zeroizing::new(part(0)) },
            check: part(32),
            content_hash: part(64),
        })
    }
}
