//! What can go wrong, for people: each message names the thing and the reason.

/// Why a tensor could not be compressed or a frame could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shape, element type and byte count of a tensor disagree.
    #[error("a {dtype} tensor of shape {shape:?} needs {expected} bytes, but {actual} were given")]
    WrongByteCount {
        /// Name of the element type.
        dtype: &'static str,
        /// Shape that was given.
        shape: Vec<usize>,
        /// Bytes that the shape asks for; `u64::MAX` if that does not fit.
        expected: u64,
        /// Bytes given.
        actual: u64,
    },
    /// More than [`crate::MAX_RANK`] dimensions.
    #[error("a tensor has {0} dimensions; at most {max} are supported", max = crate::MAX_RANK)]
    TooManyDimensions(usize),
    /// A bound that is not a positive finite number.
    #[error("the bound {policy} is not usable: {reason}")]
    UnusableBound {
        /// The policy as text.
        policy: String,
        /// What a usable bound looks like.
        reason: &'static str,
    },
    /// A target ratio that this tensor cannot reach.
    #[error(
        "a ratio of {asked} cannot be reached for this {dtype} tensor; the smallest reached was {reached:.4}"
    )]
    RatioOutOfReach {
        /// Ratio asked for.
        asked: f64,
        /// Smallest ratio reached.
        reached: f64,
        /// Name of the element type.
        dtype: &'static str,
    },
    /// The bytes are not a frame.
    #[error("not a frame: {0}")]
    NotAFrame(&'static str),
    /// A frame of a newer format.
    #[error("frame version {found} is newer than {supported}, the newest this build reads")]
    NewerVersion {
        /// Version in the frame.
        found: u16,
        /// Newest version this build reads.
        supported: u16,
    },
    /// The frame contradicts itself or its checksum.
    #[error("damaged frame: {0}")]
    Damaged(&'static str),
    /// A card failed while a tensor was compressed or restored on it.
    #[error("{doing}: {source}")]
    Device {
        /// What was being done.
        doing: &'static str,
        /// What the card's driver said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A card was made ready with too little.
    #[error(
        "a card with {lanes} lanes of {bytes} bytes cannot compress: it takes at least one lane with {needed} bytes of scratch and of staging"
    )]
    Lanes {
        /// How many lanes there are.
        lanes: usize,
        /// The lesser of a lane's scratch and staging.
        bytes: u64,
        /// [`crate::device::MIN_LANE_BYTES`].
        needed: u64,
    },
    /// Reading or writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
