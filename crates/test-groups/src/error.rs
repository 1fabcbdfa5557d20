//! What can go wrong before tests run. A test that fails is no error: it is in the report.

use std::path::PathBuf;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is not valid.
    #[error("{}: {reason}", path.display())]
    Config {
        /// Its file.
        path: PathBuf,
        /// What is wrong where, and the nearest that would be right.
        reason: String,
    },
    /// A program that a group needs is not there.
    #[error("group {group}: the runner {program} cannot be started: {reason}; {next_step}")]
    RunnerMissing {
        /// Which group.
        group: String,
        /// Which program.
        program: String,
        /// Why.
        reason: String,
        /// What to install, or to set.
        next_step: String,
    },
    /// A runner ended without doing what it was asked, before any test ran: a build failed, or nothing could be listed.
    #[error("group {group}: {program} failed before any test ran: {reason}")]
    Runner {
        /// Which group.
        group: String,
        /// Which program.
        program: String,
        /// Its last words.
        reason: String,
    },
}

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
