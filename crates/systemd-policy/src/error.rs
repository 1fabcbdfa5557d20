//! What can go wrong.

use std::path::PathBuf;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the kernel cannot be read, or does not say what it should.
    #[error("{}: {reason}", path.display())]
    Observed {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The configuration is not valid.
    #[error("{key}: {reason}")]
    Config {
        /// Which key.
        key: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The system refused an action, or cannot do it.
    #[error("{what}: {reason}; {next_step}")]
    Refused {
        /// What was to be done.
        what: String,
        /// Why it was not.
        reason: String,
        /// What to do next.
        next_step: String,
    },
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
