//! Why a text is not a program that can be run.

/// PTX that cannot be run here: malformed, or with something that this emulator does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {reason}")]
#[non_exhaustive]
pub struct ParseError {
    /// Line of the text, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub reason: String,
}

impl ParseError {
    pub(crate) fn new(line: u32, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

pub(crate) type Result<T> = std::result::Result<T, ParseError>;
