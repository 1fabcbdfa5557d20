//! Influence without reading: the dot product of a query and an encrypted signature.
//!
//! **Method.** Linearly homomorphic RLWE (Lyubashevsky, Peikert and Regev 2010), with a key for each signature that is used
//! once and sealed to the keyholder (a hybrid of key encapsulation and encryption). All ciphertexts share one public
//! random mask, as in the amortised scheme of Peikert, Vaikuntanathan and Waters (2008), so that
//!
//! * a ciphertext is only its bodies: 8 bytes for each dimension;
//! * the product of mask and query, the only costly step, is done once for each query and not for each memory;
//! * ciphertexts under different keys can be added, and the sum of their keys decrypts the sum.
//!
//! **Why not one key for all.** A keyholder that decrypts any LWE sample under one key cannot know which memory a sample is
//! of, nor by how much it was magnified: one memory's budget could be spent on another. Here a sample of one memory
//! means nothing under the key of another, and the keyholder makes the sample itself, from a query whose length it checks and
//! a ciphertext whose check sum is in the ticket.
//!
//! | module | its idea |
//! |---|---|
//! | `parameters` | the numbers, and why they are safe and large enough |
//! | `ring` | products with the public mask |
//! | `vector`, `query` | directions in whole numbers; a question, prepared, and its headroom |
//! | `key`, `signature` | a one-time key in its ticket; a signature as it is kept |
//! | `score`, `sum` | one LWE sample decrypted; sums that stay encrypted |

mod error;
mod key;
mod parameters;
mod query;
mod ring;
mod score;
mod signature;
mod sum;
mod vector;

pub use error::InfluenceError;
pub use parameters::{
    DELTA_LOG2, DIGIT_BITS, DIGITS, MAX_DIMENSION, MODULUS_LOG2, NOISE_BOUND_LOG2, RING_DIMENSION, SCALE,
};
pub use query::{Headroom, Query};
pub(crate) use score::Evaluation;
pub use score::{Score, scores};
pub(crate) use signature::SignatureKey;
pub use signature::{EncryptedSignature, OpenedSignature};
pub use sum::SignatureSum;

#[cfg(test)]
mod tests;
