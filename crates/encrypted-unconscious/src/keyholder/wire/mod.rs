//! How a keyholder is asked over a socket: the bytes, so that a client can be written in any language.
//!
//! A Unix stream socket. Numbers are little-endian; floats are IEEE 754.
//!
//! **Greeting.** Both sides send 12 bytes as soon as they are connected: `OMNIKEEP` and the version of the protocol, 4 bytes
//! (now 1). Neither has to wait for the other's before it goes on. A server that does not speak the client's version closes
//! after its own greeting.
//!
//! **Messages** follow, a request and its reply in turn: 4 bytes length of what follows, 1 byte kind, and the fields of the
//! kind. A message is at most 64 MiB long, and names at most 65 536 signatures. Where a message is none, the server says so
//! (kind 255, code 7) and closes.
//!
//! | request | kind | fields | reply |
//! |---|---|---|---|
//! | influence | 1 | query, signatures | 129 |
//! | influence of a set | 2 | query, signatures | 130 |
//! | influence of all | 3 | query, store | 130 |
//! | followed | 4 | store | 131 |
//! | follow | 5 | store, from (u64), to (u64), signatures admitted, hashes forgotten | 132 |
//! | status | 6 | none | 133 |
//!
//! | field | bytes |
//! |---|---|
//! | query | number of dimensions (u32), and for each an i16 in steps of 1/32767; not longer than a unit vector |
//! | signatures | their number (u32); each: its length (u32), and its bytes as [`to_bytes`](crate::EncryptedSignature::to_bytes) makes them |
//! | store | 32 bytes |
//! | hashes | their number (u32), and for each 32 bytes |
//! | text | its length in bytes (u32), and UTF-8 |
//! | refusal | 1 and in how many milliseconds to ask again (u64), or 2 and why the signature cannot be used (text) |
//!
//! | reply | kind | fields |
//! |---|---|---|
//! | influence | 129 | number of answers (u32), as many as signatures; each: 0 and the level (f32), or a refusal |
//! | sum | 130 | the sum (f64), members (u64) |
//! | followed | 131 | position (u64), members (u64) |
//! | taken in | 132 | none |
//! | status | 133 | public key (text), retired keys (u64), number of levels (u32) and the levels (f32), audit records (u64), head of the audit log (text), memories asked about (u64), memories over budget (u64), members (u64) |
//! | no answer | 255 | code (u8), and its fields |
//!
//! | code | why there is no answer | fields |
//! |---|---|---|
//! | 0 | the keyholder failed | what it says (text) |
//! | 1 | the sum is refused | refusal |
//! | 2 | the caller is over its budget | uid (u32), milliseconds (u64) |
//! | 3 | the caller is not allowed; closed afterwards | uid (u32) |
//! | 4 | the question makes no sense | in which way (u8), two numbers that belong to it (u64 each) |
//! | 5 | too many signatures | how many, and how many may be (u64 each) |
//! | 6 | the step begins elsewhere | how far the store is followed, where the step begins (u64 each) |
//! | 7 | the message is not understood; closed afterwards | why (text) |
//!
//! | way | why the question makes no sense | numbers |
//! |---|---|---|
//! | 1 | the query's dimension cannot be used | dimension, most |
//! | 2 | the query is zero | 0, 0 |
//! | 3 | query and signature are of different dimensions | of the query, of the signature |
//! | 4 | the query is longer than a unit vector | 0, 0 |
//! | 5 | a signature is cut short | its bytes, bytes expected |
//! | 6 | a signature was changed | 0, 0 |
//! | 7 | a memory is named twice in a sum | 0, 0 |
//! | 8 | a sum of no memories | 0, 0 |
//! | 9 | a sum of more than the ciphertext is safe for | members, most |
//!
//! One signature that cannot be used is refused by itself in a reply 129, spoils a sum, and is passed over in a step.

mod fields;
mod reply;
mod request;
#[cfg(test)]
mod tests;

#[cfg(unix)]
use crate::influence::EncryptedSignature;
use crate::influence::InfluenceError;

pub use reply::Reply;
pub use request::Request;

/// Most bytes of a message behind its length.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Most signatures in one message.
pub const MAX_SIGNATURES: usize = 65_536;

/// Bytes of the greeting.
pub const GREETING_BYTES: usize = 12;

/// The version of the protocol that is spoken here.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"OMNIKEEP";

/// What both sides say first.
#[must_use]
pub fn greeting() -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// # Errors
/// [`WireError::NotUnderstood`] if the other side speaks something else.
pub fn check_greeting(bytes: &[u8]) -> Result<(), WireError> {
    let Some((magic, version)) = bytes.split_at_checked(8).filter(|_| bytes.len() == GREETING_BYTES) else {
        return Err(not_understood("its greeting is cut short"));
    };
    if magic != MAGIC {
        return Err(not_understood("it does not greet as one does here"));
    }
    if version != VERSION.to_le_bytes() {
        return Err(not_understood("it speaks another version of the protocol"));
    }
    Ok(())
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// They cannot be told apart into fields.
    #[error("{reason}")]
    NotUnderstood {
        /// What is wrong.
        reason: &'static str,
    },
    /// They can, and what they ask makes no sense.
    #[error(transparent)]
    Question(#[from] InfluenceError),
}

fn not_understood(reason: &'static str) -> WireError {
    WireError::NotUnderstood { reason }
}

/// How many of the signatures, from the first, fit into a message of at most `bytes` with so many `others`: of a query or of
/// hashes.
#[cfg(unix)]
pub(super) fn fitting(signatures: &[EncryptedSignature], others: usize, bytes: usize) -> usize {
    // A kind, a store, two positions and two counts are less than 64.
    let mut room = bytes.saturating_sub(64 + others);
    let fits = |signature: &&EncryptedSignature| {
        let left = room.checked_sub(20 + signature.sealed_ticket().len() + 8 * signature.dimension());
        left.map(|left| room = left).is_some()
    };
    signatures.iter().take(MAX_SIGNATURES).take_while(fits).count()
}
