//! What can be wrong with a file of tensors. Every message names the file, the reason and the next step.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file of tensors was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFileError {
    /// The system refused.
    #[error("{path:?}: {source}; check that it exists and that you may read it")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory was named.
    #[error("{path:?}: is a directory; name the files in it")]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// A pipe, a socket or a device was named.
    #[error("{path:?}: is not a regular file, and only those can be mapped; copy it into one")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{path:?}: is empty; was it cut short while it was copied?")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Neither its beginning nor its name is one that is known.
    #[error(
        "{path:?}: is neither .safetensors, .npy nor .npz; convert it, for example with safetensors.torch.save_file"
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file contradicts itself, or ends too early.
    #[error("{path:?}: {reason}; the file is damaged or was cut short: fetch or write it again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong there.
        reason: String,
    },
    /// The file is sound, but holds something that a memory cannot hold.
    #[error("{path:?}: {reason}; {next}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it holds.
        reason: String,
        /// What to do instead.
        next: String,
    },
    /// The file to be written exists.
    #[error("{path:?}: exists already; choose another name, or replace it with --force")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written. Nothing is left of it, and what was there before is still there.
    #[error(
        "{path:?}: cannot be written: {source}; nothing was left there: check the directory and its free space"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A [`TensorFileError`] that does not know yet which file it is about.
#[derive(Debug)]
pub(super) enum Fault {
    UnknownFormat,
    Io(io::Error),
    Damaged(String),
    Unsupported { reason: String, next: &'static str },
}

impl Fault {
    pub(super) fn of(self, path: &Path) -> TensorFileError {
        let path = path.to_owned();
        match self {
            Self::UnknownFormat => TensorFileError::UnknownFormat { path },
            Self::Io(source) => TensorFileError::Io { path, source },
            Self::Damaged(reason) => TensorFileError::Damaged { path, reason },
            Self::Unsupported { reason, next } => {
                TensorFileError::Unsupported { path, reason, next: next.to_owned() }
            }
        }
    }

    /// The same, with the member of an archive in front.
    pub(super) fn in_member(self, member: &str) -> Self {
        match self {
            Self::Damaged(reason) => Self::Damaged(format!("member {member:?}: {reason}")),
            Self::Unsupported { reason, next } => {
                Self::Unsupported { reason: format!("member {member:?}: {reason}"), next }
            }
            other => other,
        }
    }
}
