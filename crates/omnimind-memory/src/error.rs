//! What can go wrong when the crates are composed, for people: which memory, why, and what to do next. Errors of the
//! crates below are kept whole; those that came through an `io` interface are brought back to what they were.

use std::io;

use activation_index::IndexError;
use memory_store::ContentHash;

use crate::StillHeld;

/// Why consolidating, recalling or bringing back did not work. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of a process context breaks a rule.
    #[error("this name cannot be a process context: {reason}; use 1 to 256 bytes without control characters")]
    InvalidContext {
        /// The rule.
        reason: &'static str,
    },
    /// An item contradicts itself.
    #[error("the {kind:?} item cannot be consolidated: {reason}")]
    InvalidItem {
        /// Type of the item.
        kind: String,
        /// What is wrong, naming the tensor.
        reason: String,
    },
    /// A framework's tensor is none that could be read where it is.
    #[error("tensor {tensor:?} cannot be taken from its framework: {reason}")]
    Foreign {
        /// The tensor.
        tensor: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The builder was not told where the store is.
    #[error("a consolidator needs a store; name its directory with `builder().store(…)`")]
    NoStore,
    /// A traumatic item, and nobody to seal it for.
    #[error(
        "the {kind:?} item is traumatic (trauma score {trauma_score:.2}) and must be sealed, but no keyholder is configured; \
         make an identity with `omnimind keyholder init` and give its public key (age1…) to the consolidator"
    )]
    NoKeyholder {
        /// Type of the item.
        kind: String,
        /// Its trauma score, above the threshold.
        trauma_score: f64,
    },
    /// The memory is Unconscious: this process may not read it (R7).
    #[error(
        "memory {content_hash} is sealed: it was born of a failure (trauma score {trauma_score:.2}) and is encrypted to a \
         keyholder, so this process cannot read it; only the owner of the keyholder's identity file can open it"
    )]
    Sealed {
        /// The memory.
        content_hash: ContentHash,
        /// Its trauma score.
        trauma_score: f64,
    },
    /// There is no seal to open.
    #[error("memory {0} is not sealed; `omnimind reactivate` brings it back")]
    NotSealed(ContentHash),
    /// What is stored of a memory does not read back.
    #[error(
        "memory {content_hash} is damaged in tensor {tensor:?}: {reason}; `omnimind verify --repair` sets damage aside, and \
         consolidating the same content again heals it"
    )]
    Damaged {
        /// The memory.
        content_hash: ContentHash,
        /// The tensor.
        tensor: String,
        /// What does not match.
        reason: String,
    },
    /// The memory was there, is damaged, and could not be healed by writing it again.
    #[error(
        "memory {0} is damaged in the store and was not replaced, so nothing was freed; set the damage aside with \
         `omnimind verify --repair`, then consolidate again"
    )]
    StillDamaged(ContentHash),
    /// A device tensor changed between two readings, so what would be stored is no state it ever had.
    #[error(
        "tensor {tensor:?} changed while it was being consolidated; stop what writes to it, then try again"
    )]
    TensorChanged {
        /// The tensor.
        tensor: String,
    },
    /// A tensor is to be read from or written to a device, but the consolidator was built without one.
    #[error(
        "tensor {tensor:?} needs a GPU, but this consolidator was built without one; give it one with `builder().gpu(…)`"
    )]
    NoGpu {
        /// The tensor.
        tensor: String,
    },
    /// Reading, allocating or writing device memory failed.
    #[error("tensor {tensor:?}: {source}")]
    Device {
        /// The tensor.
        tensor: String,
        /// What the device answered.
        source: gpu_probe::Error,
    },
    /// The GPU could not say how full it is.
    #[error(transparent)]
    Probe(gpu_probe::Error),
    /// A bound that means nothing.
    #[error(transparent)]
    Policy(softhair_compress::Error),
    /// A tensor could not be compressed, or its frame is of a newer version.
    #[error("tensor {tensor:?}: {source}")]
    Codec {
        /// The tensor.
        tensor: String,
        /// Why.
        source: softhair_compress::Error,
    },
    /// Reading a tensor, or handing it over, failed.
    #[error("tensor {tensor:?}: {source}")]
    Io {
        /// The tensor.
        tensor: String,
        /// Why.
        source: io::Error,
    },
    /// Bringing a memory back onto the device failed, and so did freeing what had been allocated for it.
    #[error("{source}; and {} bytes of device memory could not be freed again", held_bytes(still_held))]
    NotUndone {
        /// Why bringing back failed.
        source: Box<Error>,
        /// What is still held; it can be freed again.
        still_held: Vec<StillHeld>,
    },
    /// A group of pooled tensors is not there, or one of its tensors.
    #[error("the pool has no {}", pooled(tag, tensor.as_deref()))]
    NoSuchGroup {
        /// The tag.
        tag: String,
        /// The tensor, if the group is there.
        tensor: Option<String>,
    },
    /// A group of pooled tensors has no memory now.
    #[error(
        "group {tag:?} is paused as memory {content_hash}, so its tensors have no memory; resume it first"
    )]
    GroupPaused {
        /// The tag.
        tag: String,
        /// The memory that it was paused as.
        content_hash: ContentHash,
    },
    /// Resuming a group failed, and so did giving its memory away again. Its contents are in the store.
    #[error(
        "{source}; and {held_bytes} bytes of group {tag:?} could not be given away again; pause it once more"
    )]
    GroupStillHeld {
        /// The tag.
        tag: String,
        /// Bytes that it still holds.
        held_bytes: u64,
        /// Why resuming failed.
        source: Box<Error>,
    },
    /// Nobody can be asked for scores.
    #[cfg(feature = "homomorphic")]
    #[error(
        "no keyholder can be asked for scores; start one with `omnimind keyholder serve`, and name its socket in \
         [unconscious]"
    )]
    NoScores,
    /// A query of another model.
    #[cfg(feature = "homomorphic")]
    #[error(
        "the query has {query} dimensions, and what is sealed has signatures of {known:?}; ask with a vector of the same model"
    )]
    NoSuchDimension {
        /// Dimensions of the query.
        query: usize,
        /// Dimensions that sealed signatures have.
        known: Vec<usize>,
    },
    /// The keyholder does not answer, or says no.
    #[cfg(feature = "homomorphic")]
    #[error(transparent)]
    Keyholder(#[from] encrypted_unconscious::keyholder::KeyholderError),
    /// A query or a signature has no direction that could be compared.
    #[cfg(feature = "homomorphic")]
    #[error(transparent)]
    Influence(#[from] encrypted_unconscious::InfluenceError),
    /// Sealing failed, or opening what was sealed.
    #[error("the seal of the {kind:?} memory: {source}")]
    Seal {
        /// Type of the item.
        kind: String,
        /// Why.
        source: encrypted_unconscious::Error,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] memory_store::Error),
    /// The store committed, but did not say what.
    #[error("the store did not acknowledge memory {0}; `omnimind show` tells whether it is there")]
    NotAcknowledged(ContentHash),
    /// The classifier's configuration makes no sense.
    #[error(transparent)]
    Classifier(#[from] topic_classifier::ClassifierError),
    /// No snapshot of the index can be made, because there is nowhere to keep it.
    #[error("the index cannot be kept: {reason}")]
    IndexNotKept {
        /// Why not.
        reason: String,
    },
    /// Nobody can ask for memory, because the socket cannot be listened at.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    ReleaseSocket(systemd_policy::Error),
    /// The index refused a query or a signature, or its snapshot could not be made.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The kind of an error, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// It failed, for any other reason.
    Failed,
    /// What was asked for does not exist.
    NotFound,
    /// It exists, and may not be had.
    Refused,
    /// It exists, and is damaged.
    Damaged,
}

impl Error {
    /// What kind of error it is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) if error.is_not_found() => ErrorClass::NotFound,
            Self::Store(error) if error.is_damage() => ErrorClass::Damaged,
            Self::Damaged { .. }
            | Self::StillDamaged(_)
            | Self::Index(IndexError::SnapshotDamaged { .. }) => ErrorClass::Damaged,
            Self::Sealed { .. } => ErrorClass::Refused,
            #[cfg(feature = "homomorphic")]
            Self::Keyholder(error) if error.is_refusal() => ErrorClass::Refused,
            Self::Seal { source, .. } if source.is_damage() => ErrorClass::Damaged,
            Self::NoSuchGroup { .. } => ErrorClass::NotFound,
            Self::NotUndone { source, .. } | Self::GroupStillHeld { source, .. } => source.class(),
            _ => ErrorClass::Failed,
        }
    }

    /// An error of the store or the device that came through an `io` interface, as what it was.
    pub(crate) fn from_io(tensor: &str, source: io::Error) -> Self {
        let source = match source.downcast::<memory_store::Error>() {
            Ok(store) => return Self::Store(store),
            Err(source) => source,
        };
        match source.downcast::<gpu_probe::Error>() {
            Ok(source) => Self::Device { tensor: tensor.to_owned(), source },
            Err(source) => Self::Io { tensor: tensor.to_owned(), source },
        }
    }

    /// An error of the codec while compressing or decompressing.
    pub(crate) fn from_codec(tensor: &str, source: softhair_compress::Error) -> Self {
        match source {
            softhair_compress::Error::Io { source, .. } => Self::from_io(tensor, source),
            softhair_compress::Error::Device { doing, source } => match source.downcast::<gpu_probe::Error>()
            {
                Ok(source) => Self::Device { tensor: tensor.to_owned(), source: *source },
                Err(source) => {
                    let source = softhair_compress::Error::Device { doing, source };
                    Self::Codec { tensor: tensor.to_owned(), source }
                }
            },
            source => Self::Codec { tensor: tensor.to_owned(), source },
        }
    }

    /// An error of sealing, or of the store that the sealed bytes go to.
    pub(crate) fn from_seal(kind: &str, error: encrypted_unconscious::Error) -> Self {
        let seal = |source| Self::Seal { kind: kind.to_owned(), source };
        match error {
            encrypted_unconscious::Error::Io(source) => match source.downcast::<memory_store::Error>() {
                Ok(store) => Self::Store(store),
                Err(source) => seal(encrypted_unconscious::Error::Io(source)),
            },
            error => seal(error),
        }
    }

    /// While a memory is read back: names the memory that damage belongs to.
    pub(crate) fn of_memory(self, content_hash: ContentHash, tensor: &str) -> Self {
        use softhair_compress::Error as Codec;
        let reason = match self {
            Self::Store(error) if error.is_damage() => error.to_string(),
            Self::Codec { source: error @ (Codec::Damaged(_) | Codec::NotAFrame(_)), .. } => {
                error.to_string()
            }
            other => return other,
        };
        Self::Damaged { content_hash, tensor: tensor.to_owned(), reason }
    }
}

fn pooled(tag: &str, tensor: Option<&str>) -> String {
    match tensor {
        None => format!("group {tag:?} with a tensor in it; allocate one first"),
        Some(tensor) => format!("such tensor {tensor:?} in group {tag:?}; it was freed"),
    }
}

fn held_bytes(still_held: &[StillHeld]) -> u64 {
    still_held.iter().map(|held| held.allocation.bytes()).sum()
}

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
