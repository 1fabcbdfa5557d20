//! What can go wrong, in words that say what, why, and what to do next. No message holds a part of a secret.

use std::io;
use std::path::PathBuf;

/// The result of sealing, opening, or handling a key.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why it failed.
///
/// A reader or writer of this crate wraps it in an [`io::Error`]; `Error::from` takes it out again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key file is never replaced.
    #[error("{path:?} exists, and a key is never replaced; move it away, or choose another path")]
    AlreadyExists {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// Others than its owner may read, change or run the identity file.
    #[error(
        "{path:?} may be read or changed by others (its mode is {mode:04o}), so it is not used; run: chmod 600 {path:?}"
    )]
    Insecure {
        /// The identity file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file cannot be read or written.
    #[error("{path:?} cannot be {action}: {source}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What was to be done with it: `read`, `written`, `rotated` or `destroyed`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The identity file is protected with a passphrase, and there is none to open it with.
    #[error("{path:?} is protected with a passphrase, which is needed to use it")]
    PassphraseNeeded {
        /// The identity file.
        path: PathBuf,
    },
    /// Asking for a passphrase failed.
    #[error("no passphrase could be had for {path:?}: {source}")]
    PassphraseNotGiven {
        /// The identity file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The identity file is protected with another passphrase.
    #[error("the passphrase does not open {path:?}; try again")]
    WrongPassphrase {
        /// The identity file.
        path: PathBuf,
    },
    /// Nothing was given as a passphrase.
    #[error("an empty passphrase protects nothing; choose another, or do without one")]
    EmptyPassphrase,
    /// Identities are not destroyed in the middle of a rotation.
    #[error("the rotation of {path:?} was interrupted, so nothing is destroyed; finish it by rotating again")]
    RotationUnfinished {
        /// The identity file.
        path: PathBuf,
    },
    /// The file holds no usable identity.
    #[error("{path:?} is not an identity: {reason}")]
    NotAnIdentity {
        /// The file.
        path: PathBuf,
        /// Why, without a word of what it holds.
        reason: &'static str,
    },
    /// The text is not a public key.
    #[error("not a public key: {reason}; it looks like age1… and is in the file ending in .pub")]
    NotARecipient {
        /// Why, without a word of the text.
        reason: &'static str,
    },
    /// The file holds no usable public key.
    #[error("{path:?} is not a public key: {reason}")]
    NotARecipientFile {
        /// The file.
        path: PathBuf,
        /// Why, without a word of what it holds.
        reason: &'static str,
    },
    /// The bytes are not what a [`Sealer`](crate::Sealer) writes.
    #[error("not sealed by this program: {reason}")]
    NotSealed {
        /// What they are instead, as far as can be seen.
        reason: &'static str,
    },
    /// The identity does not fit.
    #[error(
        "sealed for another keyholder (or its first bytes were changed); open it with the identity it was sealed for"
    )]
    WrongKey,
    /// The identity fits, but the bytes before the payload are not what was written.
    #[error(
        "the beginning of the sealed bytes was changed; nothing of it can be trusted, restore it from a backup"
    )]
    BeginningChanged,
    /// The end is missing.
    #[error("the sealed bytes end after {at_byte} bytes, before their end; restore them from a backup")]
    Truncated {
        /// How many bytes there are.
        at_byte: u64,
    },
    /// Bytes are not what was written. What was returned before them is what was written.
    #[error("bytes {from_byte} to {to_byte} of the sealed bytes are not what was written: {}; restore them from a backup",
        if *.at_end { "changed, or the end is missing" } else { "changed" })]
    Damaged {
        /// First byte of the damaged chunk.
        from_byte: u64,
        /// First byte after it.
        to_byte: u64,
        /// Whether it is the last chunk there is, which can be short because the end is missing.
        at_end: bool,
    },
    /// Reading the sealed bytes, or writing them, failed.
    #[error("{0}")]
    Io(io::Error),
    /// A write failed before, so what was sealed is not whole.
    #[error("sealing failed before; what was written so far cannot be opened, begin again")]
    SealingFailed,
    /// `age` refused to seal.
    #[error("cannot seal: {reason}")]
    CannotSeal {
        /// Why.
        reason: String,
    },
    /// What is inside the seal is not a bundle, or not one that this version reads.
    #[error("not a bundle of tensors: {reason}")]
    NotABundle {
        /// What is wrong.
        reason: String,
    },
    /// The header is larger than a reader accepts.
    #[error(
        "the header of the bundle has {bytes} bytes, more than the {limit} that are allowed; put large metadata into a tensor"
    )]
    HeaderTooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bundle ends too early, although its seal is whole: its writer stopped.
    #[error("the bundle ends inside {what}: it was not written to its end")]
    BundleCut {
        /// What it ends in.
        what: String,
    },
    /// Bytes follow the last frame.
    #[error(
        "the bundle goes on after its last frame; it was written by something else, or by a newer version"
    )]
    TrailingBytes,
    /// More frames were written than the header names.
    #[error("the header names {declared} tensors, and this is a frame more")]
    TooManyFrames {
        /// How many tensors the header names.
        declared: usize,
    },
    /// Fewer frames were written than the header names.
    #[error("the frame of {next:?} and {after} more were not written; the bundle is not whole")]
    FramesMissing {
        /// The first tensor without a frame.
        next: String,
        /// How many more there are.
        after: usize,
    },
    /// A frame ended before the size that was declared for it.
    #[error("the frame of {name:?} ended after {given} of {declared} bytes")]
    ShortFrame {
        /// The tensor.
        name: String,
        /// Bytes declared.
        declared: u64,
        /// Bytes that came.
        given: u64,
    },
}

impl Error {
    /// Whether what was sealed is damaged, as opposed to not being there or not being for this identity.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::BeginningChanged
                | Self::Truncated { .. }
                | Self::Damaged { .. }
                | Self::NotABundle { .. }
                | Self::BundleCut { .. }
                | Self::TrailingBytes
        )
    }
}

impl From<io::Error> for Error {
    /// Takes out what a reader or writer of this crate put in.
    fn from(error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Io)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Io(inner) => return inner,
            Error::Truncated { .. } | Error::BundleCut { .. } => io::ErrorKind::UnexpectedEof,
            Error::SealingFailed => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
