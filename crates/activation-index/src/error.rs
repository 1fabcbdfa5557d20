//! What can be wrong with an entry, a query or a configuration. An error leaves the index as it was.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::Metric;
use crate::entry::{Hex, MemoryId};

/// Every error of this crate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// No memory has this id.
    #[error("the index knows no memory {}; insert it first, or check the hash", Hex(.id))]
    UnknownMemory {
        /// The id that was asked for.
        id: MemoryId,
    },
    /// A vector without elements.
    #[error("the {role} has no elements; give it at least one, or leave it out")]
    Empty {
        /// Whose vector it is.
        role: Role,
    },
    /// A vector with more elements than any model makes.
    #[error("the {role} has {given} elements; at most {} can be compared", crate::vector::MAX_DIMENSION)]
    TooLong {
        /// Whose vector it is.
        role: Role,
        /// How many elements it has.
        given: usize,
    },
    /// A vector with NaN or an infinity in it.
    #[error(
        "element {position} of the {role} is {value}; similarity needs finite numbers, so recompute the embedding"
    )]
    NotFinite {
        /// Whose vector it is.
        role: Role,
        /// Which element, from 0.
        position: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// A vector of zeros, which has no direction.
    #[error("the {role} is all zeros and has no direction to compare by cosine; recompute the embedding")]
    Zero {
        /// Whose vector it is.
        role: Role,
    },
    /// A query whose dimension no signature has.
    #[error(
        "the query has {given} elements, but the signatures in this index have {}; \
         make the query with the model that made them",
        Choice(.known)
    )]
    UnknownDimension {
        /// The dimension of the query.
        given: usize,
        /// The dimensions there are, ascending.
        known: Vec<usize>,
    },
    /// A familiarity threshold that no similarity can be compared with.
    #[error("familiar_threshold is {value}, but {metric} {}; choose one in that range", range(*.metric))]
    Threshold {
        /// What was given.
        value: f32,
        /// How similarity is measured.
        metric: Metric,
    },
    /// A recall that no search can be asked for.
    #[error("recall is {value}; choose one from 0.5 to 1, where 1 means that every search is exact")]
    Recall {
        /// What was given.
        value: f32,
    },
    /// A snapshot that holds something else than was written. It is of no use: the index has to be filled again.
    #[error(
        "the snapshot {} is damaged: {what}; it will be made again from what it was derived from", 
        path.display()
    )]
    SnapshotDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another process is making a snapshot.
    #[error("another process is compacting the index in {}; wait until it has finished", path.display())]
    Compacting {
        /// The directory of the index.
        path: PathBuf,
    },
    /// Another process has swapped in a snapshot that goes further than this index.
    #[error("the snapshot in {} is newer than this index; open it again", path.display())]
    Superseded {
        /// The directory of the index.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {reason}{}", path.display(), next_step(*kind))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What kind of error it is.
        kind: io::ErrorKind,
        /// What the system said.
        reason: String,
    },
    /// More entries, contexts or traces than 32-bit numbers can name.
    #[error("the index is full: it can hold {} {what}; split the store", u32::MAX)]
    Full {
        /// What there are too many of.
        what: &'static str,
    },
}

impl IndexError {
    pub(crate) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), kind: error.kind(), reason: error.to_string() }
    }
}

fn next_step(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "; check who owns it",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space and try again",
        _ => "",
    }
}

/// Whose vector an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The vector of a memory.
    Signature,
    /// The vector that is searched for.
    Query,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Query => "query",
        })
    }
}

fn range(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "similarity runs from -1 to 1",
        Metric::InnerProduct => "similarity is a finite number",
    }
}

/// `384`, `384 or 768`, `3, 384 or 768`.
struct Choice<'a>(&'a [usize]);

impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, dimension) in self.0.iter().enumerate() {
            let before = match i {
                0 => "",
                _ if i + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{before}{dimension}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_dimension_is_answered_with_all_there_are() {
        for (known, text) in [(vec![384], "have 384;"), (vec![3, 384, 768], "have 3, 384 or 768;")] {
            let error = IndexError::UnknownDimension { given: 5, known }.to_string();
            assert!(error.contains("has 5 elements") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn an_unknown_memory_is_named_in_hex() {
        let error = IndexError::UnknownMemory { id: [0xab; 32] }.to_string();
        assert!(error.contains(&"ab".repeat(32)), "{error}");
    }
}
