//! What can go wrong when composing the crates, for people: which memory, why, and what to do next. Errors of a crate
//! below are kept whole as the source.

use memory_store::ContentHash;

/// Why consolidating, recalling or bringing back did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of a process context breaks a rule.
    #[error("this name cannot be a process context: {reason}; use 1 to 256 printable bytes")]
    InvalidContext {
        /// The rule.
        reason: &'static str,
    },
    /// An item contradicts itself. Nothing was read, stored or freed.
    #[error("the {kind:?} item cannot be consolidated: {reason}")]
    InvalidItem {
        /// Type of the item.
        kind: String,
        /// What is wrong, naming the tensor.
        reason: String,
    },
    /// A traumatic item, and nobody to seal it for. Nothing was stored or freed.
    #[error(
        "the {kind:?} item is traumatic (trauma score {trauma_score:.2}) and must be sealed, but no keyholder is \
         configured; make an identity with `omnimind keyholder init` and give its public key (age1…) as the keyholder"
    )]
    NoKeyholder {
        /// Type of the item.
        kind: String,
        /// Its trauma score, above the threshold.
        trauma_score: f64,
    },
    /// The memory is Unconscious: this process may not read it (R7).
    #[error(
        "memory {content_hash} is sealed: it was born of a failure (trauma score {trauma_score:.2}) and encrypted to a \
         keyholder, so this process cannot read it; only the owner of the keyholder's identity file can open it"
    )]
    Sealed {
        /// The memory.
        content_hash: ContentHash,
        /// Its trauma score.
        trauma_score: f64,
    },
    /// No such memory.
    #[error("there is no memory {content_hash} in this store; `omnimind list` shows those that are")]
    NotFound {
        /// What was asked for.
        content_hash: ContentHash,
    },
    /// What is stored of a memory does not read back.
    #[error(
        "memory {content_hash} is damaged: tensor {tensor:?} does not read back ({reason}); `omnimind verify` shows all \
         damage, and consolidating the same content again restores it"
    )]
    Damaged {
        /// The memory.
        content_hash: ContentHash,
        /// The tensor.
        tensor: String,
        /// What does not match.
        reason: String,
    },
    /// A device tensor changed between two readings, so what would be stored is no state it ever had.
    #[error("tensor {tensor:?} changed while it was being consolidated; stop what writes to it, then try again")]
    TensorChanged {
        /// The tensor.
        tensor: String,
    },
    /// A tensor is on a device, but the consolidator was built without one.
    #[error("tensor {tensor:?} is on a device, but this consolidator has no GPU; give it one with `builder().gpu(…)`")]
    NoGpu {
        /// The tensor.
        tensor: String,
    },
    /// Reading, allocating or writing device memory failed.
    #[error("tensor {tensor:?} on device {device}: {source}")]
    Device {
        /// The tensor.
        tensor: String,
        /// The device.
        device: u32,
        /// What the device answered.
        source: gpu_probe::Error,
    },
    /// The probe failed.
    #[error("the memory of device {device} could not be read: {source}")]
    Probe {
        /// The device.
        device: u32,
        /// What the device answered.
        source: gpu_probe::Error,
    },
    /// A tensor could not be compressed.
    #[error("tensor {tensor:?}: {source}")]
    Compress {
        /// The tensor.
        tensor: String,
        /// Why.
        source: softhair_compress::Error,
    },
    /// Sealing failed.
    #[error("the {kind:?} item could not be sealed: {source}")]
    Seal {
        /// Type of the item.
        kind: String,
        /// Why.
        source: encrypted_unconscious::Error,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] memory_store::Error),
    /// The index refused a query or a signature.
    #[error(transparent)]
    Index(#[from] activation_index::Error),
    /// The classifier's configuration makes no sense.
    #[error(transparent)]
    Classifier(#[from] topic_classifier::Error),
    /// What the caller does with a tensor that is brought back failed.
    #[error("tensor {tensor:?} could not be handed over: {source}")]
    HandOver {
        /// The tensor.
        tensor: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The kind of an error, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// It failed; trying again may help.
    Failed,
    /// What was asked for does not exist.
    NotFound,
    /// It exists, and may not be had.
    Refused,
    /// It exists, and is damaged.
    Damaged,
}

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
