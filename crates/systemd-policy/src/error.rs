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
    /// There is no such unit (any more).
    #[error("{unit}: there is no such unit; if it is to be managed, install and start it")]
    Gone {
        /// Which.
        unit: String,
    },
}

impl Error {
    /// The system refused this, or cannot do it.
    pub(crate) fn refused(
        what: impl Into<String>,
        reason: impl std::fmt::Display,
        next_step: impl Into<String>,
    ) -> Self {
        Self::Refused { what: what.into(), reason: reason.to_string(), next_step: next_step.into() }
    }
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
