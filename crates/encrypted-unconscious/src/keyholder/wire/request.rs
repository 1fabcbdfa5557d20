//! What a keyholder is asked.

use super::{
    super::{Step, StoreId},
    WireError,
    fields::{Fields, Message},
    not_understood,
};
use crate::influence::{EncryptedSignature, InfluenceError, Query};

const INFLUENCE: u8 = 1;
const INFLUENCE_OF_SET: u8 = 2;
const INFLUENCE_OF_ALL: u8 = 3;
const FOLLOWED: u8 = 4;
const FOLLOW: u8 = 5;
const STATUS: u8 = 6;

/// A signature as it came, or why it cannot be used.
type Received = Result<EncryptedSignature, InfluenceError>;

/// A request as it arrives. The methods of [`Keyholder`](super::super::Keyholder) say what each means.
#[derive(Debug)]
#[expect(missing_docs, reason = "named as the arguments of the methods of the trait")]
#[non_exhaustive]
pub enum Request {
    /// About each memory.
    Influence { query: Query, signatures: Vec<Received> },
    /// About a set, together.
    InfluenceOfSet { query: Query, signatures: Vec<Received> },
    /// About all that were followed.
    InfluenceOfAll { query: Query, store: StoreId },
    /// How far the store was followed.
    Followed { store: StoreId },
    /// More memories for the sums of the store.
    Follow { store: StoreId, from: u64, to: u64, admitted: Vec<Received>, forgotten: Vec<[u8; 32]> },
    /// What the keyholder holds.
    Status,
}

impl Request {
    /// From the kind and the fields of a message: all of it but its length.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes);
        let request = match fields.u8()? {
            INFLUENCE => Self::Influence { query: fields.query()?, signatures: fields.signatures()? },
            INFLUENCE_OF_SET => {
                Self::InfluenceOfSet { query: fields.query()?, signatures: fields.signatures()? }
            }
            INFLUENCE_OF_ALL => Self::InfluenceOfAll { query: fields.query()?, store: fields.array()? },
            FOLLOWED => Self::Followed { store: fields.array()? },
            FOLLOW => Self::Follow {
                store: fields.array()?,
                from: fields.u64()?,
                to: fields.u64()?,
                admitted: fields.signatures()?,
                forgotten: fields.hashes()?,
            },
            STATUS => Self::Status,
            _ => return Err(not_understood("a request is of no kind that is known")),
        };
        fields.end()?;
        Ok(request)
    }

    /// The message that asks about each memory. The signatures must [fit](super::MAX_MESSAGE_BYTES).
    #[must_use]
    pub fn influence(query: &Query, signatures: &[EncryptedSignature]) -> Vec<u8> {
        about(INFLUENCE, query, signatures)
    }

    /// The message that asks about a set. The signatures must [fit](super::MAX_MESSAGE_BYTES).
    #[must_use]
    pub fn influence_of_set(query: &Query, signatures: &[EncryptedSignature]) -> Vec<u8> {
        about(INFLUENCE_OF_SET, query, signatures)
    }

    /// The message that asks about all.
    #[must_use]
    pub fn influence_of_all(query: &Query, store: &StoreId) -> Vec<u8> {
        let mut message = Message::new(INFLUENCE_OF_ALL);
        message.query(query);
        message.bytes(store);
        message.finish()
    }

    /// The message that asks how far a store was followed.
    #[must_use]
    pub fn followed(store: &StoreId) -> Vec<u8> {
        let mut message = Message::new(FOLLOWED);
        message.bytes(store);
        message.finish()
    }

    /// The message that takes more memories in. The signatures must [fit](super::MAX_MESSAGE_BYTES).
    #[must_use]
    pub fn follow(store: &StoreId, step: Step<'_>) -> Vec<u8> {
        let mut message = Message::new(FOLLOW);
        message.bytes(store);
        message.u64(step.from);
        message.u64(step.to);
        message.signatures(step.admitted);
        message.hashes(step.forgotten);
        message.finish()
    }

    /// The message that asks for the status.
    #[must_use]
    pub fn status() -> Vec<u8> {
        Message::new(STATUS).finish()
    }
}

fn about(kind: u8, query: &Query, signatures: &[EncryptedSignature]) -> Vec<u8> {
    let mut message = Message::new(kind);
    message.query(query);
    message.signatures(signatures);
    message.finish()
}
