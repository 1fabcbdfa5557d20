//! Why a verb ended without doing what it was asked to, and the exit code that says so to scripts.

use std::io;
use std::path::PathBuf;

use omnimind_memory::ErrorClass;

use crate::config::ConfigError;
use crate::tensor_file::TensorFileError;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// Something that was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// Some of many could not be done; each was reported already.
    #[error("{0}")]
    Partial(String),
    /// The system does not let it be done, or cannot do it.
    #[cfg(target_os = "linux")]
    #[error("{0}")]
    Refused(String),
    /// Damage was found; what and where is in the result.
    #[error("{0}")]
    Damaged(String),
    /// A file of tensors.
    #[error(transparent)]
    TensorFile(#[from] TensorFileError),
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the facade answered.
    #[error(transparent)]
    Memory(#[from] omnimind_memory::Error),
    /// What the facade answered about a file.
    #[error("{path:?}: {source}")]
    OfFile { path: PathBuf, source: omnimind_memory::Error },
    /// The GPU.
    #[error("{0}")]
    Gpu(String),
    /// The identity of the keyholder.
    #[error("{0}")]
    Keyholder(String),
    /// Whoever holds the key says no, or is not there.
    #[cfg(feature = "homomorphic")]
    #[error(transparent)]
    Custody(encrypted_unconscious::keyholder::KeyholderError),
    /// The keyholder is there, and says nothing.
    #[cfg(feature = "homomorphic")]
    #[error("{0}")]
    Unanswered(String),
    /// Some other file or directory.
    #[error("{what}: {source}; {next}")]
    Io { what: String, source: io::Error, next: &'static str },
    /// Nobody reads the answer.
    #[error("the answer could not be written: {0}")]
    Output(io::Error),
}

impl Failure {
    /// 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 damaged data found.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::NotFound(_) => 3,
            #[cfg(target_os = "linux")]
            Self::Refused(_) => 4,
            Self::Damaged(_) => 5,
            Self::Memory(error) | Self::OfFile { source: error, .. } => match error.class() {
                ErrorClass::NotFound => 3,
                ErrorClass::Refused => 4,
                ErrorClass::Damaged => 5,
                _ => 1,
            },
            #[cfg(feature = "homomorphic")]
            Self::Custody(error) if error.is_refusal() => 4,
            #[cfg(feature = "homomorphic")]
            Self::Unanswered(_) => 4,
            #[cfg(feature = "homomorphic")]
            Self::Custody(encrypted_unconscious::keyholder::KeyholderError::LedgerDamaged { .. }) => 5,
            #[cfg(feature = "homomorphic")]
            Self::Custody(_) => 1,
            Self::Partial(_)
            | Self::TensorFile(_)
            | Self::Gpu(_)
            | Self::Keyholder(_)
            | Self::Io { .. }
            | Self::Output(_) => 1,
        }
    }

    pub(crate) fn from_keyholder(error: impl std::fmt::Display) -> Self {
        Self::Keyholder(error.to_string())
    }

    /// With the next step where the library cannot know it: it has no options.
    #[cfg(feature = "homomorphic")]
    pub(crate) fn from_custody(error: encrypted_unconscious::keyholder::KeyholderError) -> Self {
        use encrypted_unconscious::keyholder::KeyholderError;
        let next = match &error {
            KeyholderError::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run this as the user whom it belongs to, or choose another place with --state or --socket"
                }
                io::ErrorKind::InvalidInput => {
                    "the path of a socket has at most 107 bytes; choose a shorter one with --socket"
                }
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory => {
                    "move it away, or choose another place with --state or --socket"
                }
                _ => return Self::Custody(error),
            },
            _ => return Self::Custody(error),
        };
        Self::Keyholder(format!("{error}; {next}"))
    }

    pub(crate) fn from_gpu(error: impl std::fmt::Display) -> Self {
        Self::Gpu(error.to_string())
    }

    /// Whether the reader of stdout went away, as `head` does. No reason to complain.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
