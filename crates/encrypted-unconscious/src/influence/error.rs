//! What can be wrong with a vector, a ciphertext or a question about it.

/// Why there is no encrypted signature, or no score.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InfluenceError {
    /// The vector has no dimension, or too many.
    #[error("a vector of {dimension} dimensions cannot be used; it must have 1 to {most}")]
    Dimension {
        /// How many it has.
        dimension: usize,
        /// How many it may have.
        most: usize,
    },
    /// A coordinate is not a number, or infinite.
    #[error(
        "coordinate {at} of the vector is {value}, not a finite number; look at where the vector comes from"
    )]
    NotFinite {
        /// Which coordinate, from 0.
        at: usize,
        /// What it is.
        value: f32,
    },
    /// A vector without direction resembles nothing.
    #[error("the vector is zero in every coordinate, so it has no direction to compare")]
    Zero,
    /// Query and signature are not of one length.
    #[error(
        "the query has {query} dimensions and the signature {signature}; ask with a vector of the same model"
    )]
    OtherDimension {
        /// Dimensions of the query.
        query: usize,
        /// Dimensions of the signature.
        signature: usize,
    },
    /// A query that is longer than a unit vector would magnify what it asks about.
    #[error("the query is longer than a unit vector, so it is not answered")]
    TooLong,
    /// The bytes are not an encrypted signature.
    #[error("not an encrypted signature: {reason}")]
    NotASignature {
        /// What is wrong.
        reason: &'static str,
    },
    /// The bytes end too early.
    #[error(
        "the encrypted signature has {bytes} of {expected} bytes; its end is missing, restore it from a backup"
    )]
    Truncated {
        /// How many there are.
        bytes: usize,
        /// How many its beginning announces.
        expected: usize,
    },
    /// The ciphertext is not the one that was sealed with its key.
    #[error("the encrypted signature was changed after it was sealed; restore it from a backup")]
    Changed,
    /// The key of the signature cannot be opened.
    #[error("the key of the encrypted signature cannot be opened: {0}")]
    Ticket(#[source] crate::Error),
    /// The same memory twice in one sum would count twice.
    #[error("a memory is named twice in one sum; name each once")]
    Twice,
    /// Nothing to sum.
    #[error("a sum of no memories has no score; name at least one")]
    Nothing,
    /// The sum of so many memories could leave the range of the ciphertext.
    #[error(
        "the sum over {members} memories could exceed the range of the ciphertext, which is safe for {most}"
    )]
    NoHeadroom {
        /// How many it is over.
        members: u64,
        /// How many would be safe with this query.
        most: u64,
    },
}
