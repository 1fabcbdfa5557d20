//! What can go wrong: a log that cannot be read, a file of patterns that makes no sense. What is *in* a log is never an error.

use std::io;

/// The result of reading.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log could not be read on.
    #[error("{log}: reading failed after {bytes} bytes: {source}")]
    Read {
        /// Which log.
        log: String,
        /// So much of it was read, unpacked.
        bytes: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// The file of patterns is no TOML, or has keys that are not known.
    #[error("patterns: {message}")]
    Toml {
        /// Line, key and reason, as the TOML reader gives them.
        message: String,
    },
    /// A pattern in it makes no sense.
    #[error("patterns: line {line}: pattern {name:?}: {key}: {reason}")]
    Pattern {
        /// Where the pattern's value stands, from 1.
        line: usize,
        /// The pattern's name.
        name: String,
        /// The key in question.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A threshold or target that nothing or everything would reach.
    #[error("{name} is {value}; {wanted}")]
    OutOfRange {
        /// Which one.
        name: &'static str,
        /// What it was set to.
        value: f64,
        /// What it may be.
        wanted: &'static str,
    },
    /// A saved report of another version, or no report at all.
    #[error(
        "this is a report of schema {found}, but schema {known} is what this version reads; make it anew from the log"
    )]
    Schema {
        /// What the report says.
        found: u32,
        /// What is known here.
        known: u32,
    },
    /// The report could not be written as XML.
    #[error("JUnit: {message}")]
    JUnit {
        /// What the writer said.
        message: String,
    },
}
