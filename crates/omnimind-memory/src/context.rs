//! The name of a process context: who consolidates, who recalls. Only the name and its rules; who may recall what
//! is the business of `activation-index`.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{Error, Result};

/// Longest name of a process context, in bytes.
pub const MAX_CONTEXT_BYTES: usize = 256;

/// A process context, for example `embeddings` or `agents/planner`: the name under which a memory is recalled (R25).
///
/// Never empty, at most [`MAX_CONTEXT_BYTES`] long, without control characters.
///
/// ```
/// use omnimind_memory::ProcessContext;
///
/// assert_eq!(ProcessContext::new("embeddings")?.as_str(), "embeddings");
/// assert!(ProcessContext::new("").is_err());
/// # Ok::<(), omnimind_memory::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessContext(String);

impl ProcessContext {
    /// Checks the name.
    ///
    /// # Errors
    /// [`Error::InvalidContext`] with the rule that the name breaks.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        match label_fault(&name) {
            None => Ok(Self(name)),
            Some(reason) => Err(Error::InvalidContext { reason }),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a short text that becomes a column of the catalogue, if anything.
pub(crate) fn label_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > MAX_CONTEXT_BYTES {
        Some("it is longer than 256 bytes")
    } else if text.chars().any(char::is_control) {
        Some("it contains a control character")
    } else {
        None
    }
}

impl fmt::Display for ProcessContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProcessContext {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl Serialize for ProcessContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_short_printable_and_not_empty() {
        // R25
        for good in ["a", "agents/planner", "módulo φ", &"x".repeat(256)] {
            assert_eq!(good.parse::<ProcessContext>().unwrap().as_str(), good);
        }
        for bad in ["", "a\nb", "\u{7f}", &"x".repeat(257)] {
            assert!(ProcessContext::new(bad).is_err(), "{bad:?}");
        }
    }
}
