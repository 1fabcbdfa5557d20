//! The one error type of this crate. Each message names the thing, the reason, and what to do next.

use crate::hash::ContentHash;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the store could not do what it was asked. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of a store is a file or something else that is not a directory.
    #[error("{}: not a directory, so it cannot be a store; name another path", path.display())]
    NotADirectory {
        /// The path that was to be a store.
        path: PathBuf,
    },

    /// A directory that exists, is not empty, and is no store.
    #[error(
        "{}: not a store (it holds {found:?} and no STORE file), and nothing was written into it; name an empty or a new directory",
        path.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// A name found there that no store contains.
        found: String,
    },

    /// The store was written by a newer version of this software.
    #[error(
        "{}: written in format {found}, and this version knows formats up to {supported}; update the software",
        path.display()
    )]
    NewerStore {
        /// The file that carries the version.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version that is understood.
        supported: i64,
    },

    /// The store, or the file system it is on, may not be written by this process.
    #[error(
        "{}: cannot be written ({source}); check its owner and permissions, or whether the file system is mounted read-only",
        path.display()
    )]
    ReadOnly {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The disk, a quota or a file-size limit is exhausted.
    #[error(
        "{}: no space left ({source}); the store is as it was before. Free some space, `forget` and `gc` memories, or raise the limit",
        path.display()
    )]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Any other failure of the file system.
    #[error("{}: cannot {action} ({source})", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Another process held the store for longer than this one was ready to wait.
    #[error(
        "the store is busy: waited {waited:?} for {waiting_for}; try again, or end the process that holds it"
    )]
    Busy {
        /// Whom or what was waited for.
        waiting_for: String,
        /// For how long.
        waited: Duration,
    },

    /// The catalogue is not one of ours, or its structure is damaged. It was not written to.
    #[error(
        "{}: the catalogue is damaged or is not one ({reason}); restore it from a backup (`sqlite3 FILE .recover` may save rows), the objects beside it are untouched",
        path.display()
    )]
    CatalogueDamaged {
        /// The catalogue file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A store that has objects but no catalogue file.
    #[error(
        "{}: the catalogue of this store is gone; restore it from a backup. No new one was made, because its memories would then look as if they had never been",
        path.display()
    )]
    CatalogueMissing {
        /// Where it should be.
        path: PathBuf,
    },

    /// Any other failure of the catalogue.
    #[error("the catalogue could not {action} ({source})")]
    Catalogue {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// No memory has this content hash.
    #[error("no memory {0} in this store; `list` shows those that there are")]
    UnknownMemory(ContentHash),

    /// A hash prefix that matches nothing.
    #[error("no memory begins with {prefix}{}", alike(near))]
    UnknownPrefix {
        /// The prefix asked for.
        prefix: String,
        /// Up to three memories that share its first two digits, in order of their hashes.
        near: Vec<ContentHash>,
    },

    /// A hash prefix that matches several memories.
    #[error("{prefix} is ambiguous: it may be {}{}; give more digits", join(candidates), if *more { " or others" } else { "" })]
    AmbiguousPrefix {
        /// The prefix asked for.
        prefix: String,
        /// Some of the memories that it matches, in order of their hashes.
        candidates: Vec<ContentHash>,
        /// Whether there are more than those.
        more: bool,
    },

    /// Text that is not a hash, or not a usable prefix of one.
    #[error("{text:?} is not a content hash: {reason}")]
    InvalidHash {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A description of a memory that the catalogue refuses.
    #[error("the memory cannot be stored: its {what} {reason}")]
    InvalidMemory {
        /// Which part of it.
        what: String,
        /// What is wrong with that.
        reason: String,
    },

    /// An object that a memory needs is not there.
    #[error(
        "object {object} is missing from {place}; `verify` names the memories it belongs to, and consolidating one of them again heals it"
    )]
    ObjectMissing {
        /// The object.
        object: ContentHash,
        /// Where it should be.
        place: String,
    },

    /// An object whose bytes are not those that were stored.
    #[error(
        "object {object} in {place} is damaged: {reason}; `verify --repair` sets it aside and names the memories it belongs to, and consolidating one of them again heals it"
    )]
    ObjectDamaged {
        /// The object.
        object: ContentHash,
        /// Where it is.
        place: String,
        /// How it differs.
        reason: String,
    },

    /// An object that no memory refers to (any more): its memory was forgotten while it was being read.
    #[error("object {object} belongs to no memory in this store; it may have been forgotten a moment ago")]
    ObjectUnknown {
        /// The object.
        object: ContentHash,
    },

    /// A catalogue row that does not match its own check sum.
    #[error(
        "memory {memory} is damaged in the catalogue: {reason}; consolidate it again to heal it, or `forget` it"
    )]
    MemoryDamaged {
        /// The memory.
        memory: ContentHash,
        /// What does not match.
        reason: String,
    },
}

impl Error {
    /// Whether something that was asked for by name does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::UnknownMemory(_) | Self::UnknownPrefix { .. } | Self::ObjectUnknown { .. })
    }

    /// Whether stored data were found damaged or missing.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::CatalogueDamaged { .. }
                | Self::CatalogueMissing { .. }
                | Self::ObjectMissing { .. }
                | Self::ObjectDamaged { .. }
                | Self::MemoryDamaged { .. }
        )
    }

    /// An error of the file system, sorted by what the user can do about it.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        // An error of ours that came through an `io::Write` of ours comes out as it was.
        let source = match source.downcast::<Self>() {
            Ok(ours) => return ours,
            Err(source) => source,
        };
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidMemory { what: what.into(), reason: reason.into() }
    }
}

/// So that a store error survives an interface that only knows `io::Error`.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { source, .. } | Error::NoSpace { source, .. } | Error::ReadOnly { source, .. } => {
                source.kind()
            }
            e if e.is_damage() => io::ErrorKind::InvalidData,
            e if e.is_not_found() => io::ErrorKind::NotFound,
            Error::Busy { .. } => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

fn join(hashes: &[ContentHash]) -> String {
    hashes.iter().map(ContentHash::to_string).collect::<Vec<_>>().join(", ")
}

fn alike(near: &[ContentHash]) -> String {
    if near.is_empty() {
        "; `list` shows the memories that there are".into()
    } else {
        format!("; with the same two digits begin {}", join(near))
    }
}
