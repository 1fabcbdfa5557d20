//! The fixed header of a frame: its fields, their bytes, and every check that needs no payload.
//!
//! The layout is documented in `docs/src/frame-format.md`; a change here is a new [`VERSION`].

use crate::{DType, Error, MAX_RANK, Policy, Result, tensor::byte_count};

pub(crate) const MAGIC: [u8; 8] = *b"SOFTHAIR";

/// Newest format version, the one that is written.
pub(crate) const VERSION: u16 = 1;

/// Bytes before the shape.
pub(crate) const FIXED_BYTES: usize = 96;

/// Bytes of a chunk header.
pub(crate) const CHUNK_HEADER_BYTES: usize = 8;

/// How the chunks of a tensor were coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Bit for bit.
    Exact,
    /// Block quantisation: weights, embeddings.
    Grain,
    /// Low-frequency modes and what they miss: smooth data.
    Soft,
}

impl Family {
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Exact, Self::Grain, Self::Soft].into_iter().find(|family| family.code() == code)
    }

    /// `exact`, `grain` or `soft`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Grain => "grain",
            Self::Soft => "soft",
        }
    }
}

/// What a frame says about its tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FrameHeader {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The error contract asked for.
    pub policy: Policy,
    /// The family chosen for the tensor. Single chunks may fall back to [`Family::Exact`].
    pub family: Family,
    /// Largest |x − x′| measured over the finite elements.
    pub max_abs_error: f64,
    /// ‖x − x′‖₂ / ‖x‖₂ measured over the finite elements.
    pub rel_l2_error: f64,
    /// Elements of every chunk but the last, which may have fewer.
    pub chunk_elements: u64,
    /// Bytes after the header.
    pub payload_bytes: u64,
    /// BLAKE3 of the payload followed by the header without this field.
    pub checksum: [u8; 32],
}

impl FrameHeader {
    /// Bytes of the header in front of the payload.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        FIXED_BYTES + 8 * self.shape.len()
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.header_bytes() as u64 + self.payload_bytes
    }

    /// Bytes of the tensor before compression.
    #[must_use]
    pub fn original_bytes(&self) -> u64 {
        (self.elements() * self.dtype.size_bytes()) as u64
    }

    /// Elements of the tensor. [`Self::parse`] made sure that the product fits.
    pub(crate) fn elements(&self) -> usize {
        // The product of the others may overflow where one extent is zero.
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    /// Elements of each chunk in order.
    pub(crate) fn chunk_sizes(&self) -> impl Iterator<Item = usize> + use<> {
        let (elements, step) = (self.elements(), self.chunk_elements as usize);
        (0..elements).step_by(step).map(move |start| step.min(elements - start))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.without_checksum();
        let shape = bytes.split_off(FIXED_BYTES - 32);
        bytes.extend_from_slice(&self.checksum);
        bytes.extend_from_slice(&shape);
        bytes
    }

    /// All fields but the checksum: what is hashed after the payload.
    pub(crate) fn without_checksum(&self) -> Vec<u8> {
        let (policy, bound) = self.policy.to_code();
        let mut bytes = Vec::with_capacity(self.header_bytes());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[
            self.family.code(),
            self.dtype.code(),
            policy,
            self.shape.len() as u8,
            0,
            0,
        ]);
        for number in [bound, self.max_abs_error, self.rel_l2_error] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.chunk_elements, 0, self.payload_bytes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for &dimension in &self.shape {
            bytes.extend_from_slice(&(dimension as u64).to_le_bytes());
        }
        bytes
    }

    /// Bytes of the header that starts with `fixed`.
    ///
    /// # Errors
    /// If these bytes are not the start of a frame that this build reads.
    pub(crate) fn length_from(fixed: &[u8; FIXED_BYTES]) -> Result<usize> {
        if fixed[..8] != MAGIC {
            return Err(Error::NotAFrame("it does not begin with SOFTHAIR"));
        }
        let version = u16::from_le_bytes([fixed[8], fixed[9]]);
        match version {
            0 => return Err(Error::NotAFrame("version 0 never existed")),
            VERSION => {}
            found => return Err(Error::NewerVersion { found, supported: VERSION }),
        }
        let rank = usize::from(fixed[13]);
        if rank > MAX_RANK {
            return Err(Error::TooManyDimensions(rank));
        }
        Ok(FIXED_BYTES + 8 * rank)
    }

    /// Reads a header of exactly the length that [`Self::length_from`] gave.
    ///
    /// # Errors
    /// If a field has no meaning or fields contradict each other.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = Error::Damaged;
        let fixed: &[u8; FIXED_BYTES] =
            bytes.first_chunk().ok_or(Error::NotAFrame("it is shorter than a header"))?;
        if Self::length_from(fixed)? != bytes.len() {
            return Err(Error::NotAFrame("it is shorter than its header"));
        }
        let word = |at: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&bytes[at..at + 8]);
            raw
        };
        let family = Family::from_code(fixed[10]).ok_or(damaged("unknown family"))?;
        let dtype = DType::from_code(fixed[11]).ok_or(damaged("unknown element type"))?;
        let policy =
            Policy::from_code(fixed[12], f64::from_le_bytes(word(16))).ok_or(damaged("unknown bound"))?;
        let shape = (FIXED_BYTES..bytes.len())
            .step_by(8)
            .map(|at| usize::try_from(u64::from_le_bytes(word(at))))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| damaged("a dimension does not fit into memory"))?;
        let original_bytes = byte_count(dtype, &shape)?;
        let mut checksum = [0; 32];
        checksum.copy_from_slice(&fixed[64..]);
        let header = Self {
            dtype,
            shape,
            policy,
            family,
            max_abs_error: f64::from_le_bytes(word(24)),
            rel_l2_error: f64::from_le_bytes(word(32)),
            chunk_elements: u64::from_le_bytes(word(40)),
            payload_bytes: u64::from_le_bytes(word(56)),
            checksum,
        };
        // One header, one spelling: reserved fields are zero, and so on.
        if header.to_bytes() != bytes {
            return Err(damaged("reserved fields are not what this version writes"));
        }
        let elements = original_bytes / dtype.size_bytes() as u64;
        if header.chunk_elements == 0 || header.chunk_elements > MAX_CHUNK_ELEMENTS {
            return Err(damaged("chunk size out of range"));
        }
        // Every chunk has a header, so a small payload cannot claim a large tensor beyond this factor.
        let chunks = elements.div_ceil(header.chunk_elements);
        if header.payload_bytes < chunks.saturating_mul(CHUNK_HEADER_BYTES as u64) {
            return Err(damaged("the payload is too short for the shape"));
        }
        Ok(header)
    }
}

/// Most elements of a chunk; what one chunk may allocate follows from it.
const MAX_CHUNK_ELEMENTS: u64 = 1 << 22;
