//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

/// Why the settings could not be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path:?}: {source}; check the path, or leave out --config and OMNIMIND_CONFIG")]
    Io { path: PathBuf, source: io::Error },
    /// The file is no TOML.
    #[error("configuration {path:?}: {reason}")]
    Syntax { path: PathBuf, reason: String },
    /// Nothing has this name.
    #[error("{origin}: there is no setting {key:?}; {hint}")]
    Unknown { origin: String, key: String, hint: String },
    /// The value is of another type than the default.
    #[error("{origin}: {key:?} must be {expected}, not {given}")]
    Type { origin: String, key: String, expected: &'static str, given: String },
    /// The value is out of range, or contradicts another.
    #[error("configuration: {reason}; `omnimind config` shows where each value comes from")]
    Value { reason: String },
    /// A value that has to be text is not.
    #[error("{what} is not UTF-8, and settings are text; choose another name")]
    NotUtf8 { what: String },
}
