//! Tensors to bytes and back, with an error contract.
//!
//! The caller says how much may be lost ([`Policy`]); [`Codec`] finds the smallest of three families that keeps that
//! promise, measures the error while encoding, and writes it into the [`Frame`]:
//!
//! - *soft*, for smooth data such as wave functions and activation histories: low-frequency modes first, what they
//!   miss as small corrections;
//! - *grain*, for weights and embeddings, which have no smoothness to exploit: block quantisation with an entropy
//!   code made of bit masks;
//! - *exact*, bit for bit, for everything that must not change.
//!
//! ```
//! use softhair_compress::{Codec, DType, FrameReader, Policy, TensorView};
//!
//! let rows: Vec<u8> = (0..4096u32).flat_map(|i| ((i.wrapping_mul(2_654_435_761) as f32) / 1e9).to_le_bytes()).collect();
//! let tensor = TensorView::new(DType::F32, &[64, 64], &rows)?;
//! let frame = Codec::new().compress(tensor, Policy::Default)?;
//! assert!(frame.header().rel_l2_error <= 0.006);
//!
//! let mut restored = Vec::new();
//! FrameReader::new(frame.as_bytes())?.decompress_to(&mut restored)?;
//! assert_eq!(restored.len(), rows.len());
//! # Ok::<(), softhair_compress::Error>(())
//! ```
//!
//! Frames are self-contained, versioned and checksummed; decoding hostile bytes gives an [`Error`], never a panic.

mod choose;
mod chunk;
mod codec;
pub mod device;
mod dtype;
mod error;
mod exact;
mod frame;
mod grain;
mod halves;
mod measure;
mod plan;
mod policy;
mod real;
mod soft;
mod tensor;

pub use codec::Codec;
pub use dtype::DType;
pub use error::{Error, Result};
pub use frame::{Family, Frame, FrameHeader, FrameReader};
pub use policy::{DEFAULT_REL_L2, Policy, RATIO_MIN_ELEMENTS};
pub use tensor::TensorView;

/// Most dimensions a tensor may have.
pub const MAX_RANK: usize = 32;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
