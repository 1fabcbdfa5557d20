//! Compressing and restoring tensors where they are: on a card. The bytes are those that [`Codec`] makes, so that it does not matter
//! later who made a frame.
//!
//! Weights at a relative bound are coded by kernels ([`runs_on_card`]): only what is kept crosses the bus, a quarter of it. What
//! the kernels cannot promise (a chunk with infinities, say, or one that misses its bound at the first attempt) is coded by the
//! processor from the original elements, and so are all other tensors and bounds: every call gives the same frame as the
//! processor would, only sooner or later.
//!
//! This module knows no driver. It launches the kernels of [`PTX`] through a [`Card`]: lanes with scratch and staging memory that were
//! taken beforehand, so that nothing must be found when the card is full.
//!
//! | module | idea |
//! |---|---|
//! | `card` | what is needed of a card |
//! | `window` | how much is worked on at once, and where it lies in scratch and staging |
//! | `compress`, `restore`, `digest` | the three pipelines |
//! | `copies` | a tensor on a card as a stream, for what the processor does |
//! | `kernels/` | CUDA C++, and what `cargo xtask kernels` makes of it |

mod card;
mod compress;
mod copies;
mod digest;
mod restore;
mod window;

use std::io::{Read, Seek, Write};

pub use card::Card;
pub use window::{LANE_SCRATCH_BYTES, LANE_STAGING_BYTES, MIN_LANE_BYTES};

/// How many lanes keep card, bus and processor busy at once.
pub const LANES: usize = 3;

use crate::{
    Codec, DType, Error, Family, FrameHeader, FrameReader, Policy, Result, codec, policy::Target,
    tensor::byte_count,
};

/// The kernels, as text that any NVIDIA driver since 520 compiles for the card it has (compute capability 7.0 and above).
pub const PTX: &str = include_str!("kernels/kernels.ptx");

/// Whether kernels code a tensor of this type at this bound, if it is not smooth.
#[must_use]
pub fn runs_on_card(dtype: DType, shape: &[usize], policy: Policy) -> bool {
    kernel_suffix(dtype).is_some()
        && matches!(Codec::target(dtype, shape, policy), Ok(Target::RelL2(bound)) if window::codes(bound))
}

/// How the kernels for this type end; `None` if there are none.
fn kernel_suffix(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("f32"),
        DType::F16 => Some("f16"),
        DType::BF16 => Some("bf16"),
        _ => None,
    }
}

/// Compresses and restores tensors on one card.
///
/// ```no_run
/// use softhair_compress::{DType, FrameHeader, Policy, Result, device::{Card, DeviceCodec}};
///
/// fn consolidate(card: impl Card, address: u64) -> Result<(FrameHeader, Vec<u8>)> {
///     let mut codec = DeviceCodec::new(card)?;
///     let mut frame = std::io::Cursor::new(Vec::new());
///     let header = codec.compress_to(DType::BF16, &[4096, 4096], address, Policy::Default, &mut frame)?;
///     Ok((header, frame.into_inner()))
/// }
/// ```
#[derive(Debug)]
pub struct DeviceCodec<C> {
    card: C,
}

impl<C: Card> DeviceCodec<C> {
    /// A codec on a card that has loaded [`PTX`].
    ///
    /// # Errors
    /// [`Error::Lanes`] if there is no lane, or its scratch or staging is below [`MIN_LANE_BYTES`].
    pub fn new(card: C) -> Result<Self> {
        let (_, scratch) = if card.lanes() == 0 { (0, 0) } else { card.scratch(0) };
        let bytes = scratch.min(card.staging_bytes() as u64);
        if bytes < MIN_LANE_BYTES {
            return Err(Error::Lanes { lanes: card.lanes(), bytes, needed: MIN_LANE_BYTES });
        }
        Ok(Self { card })
    }

    /// The card.
    pub fn card(&mut self) -> &mut C {
        &mut self.card
    }

    /// Compresses the row-major tensor at `address` into `out`: the frame that [`Codec::compress_to`] makes.
    ///
    /// # Errors
    /// As [`Codec::compress_to`], and [`Error::Device`]; what was written to `out` is then worthless.
    pub fn compress_to(
        &mut self,
        dtype: DType,
        shape: &[usize],
        address: u64,
        policy: Policy,
        out: &mut (impl Write + Seek),
    ) -> Result<FrameHeader> {
        let target = Codec::target(dtype, shape, policy)?;
        let bytes = byte_count(dtype, shape)?;
        let mut head = vec![0; bytes.min(codec::HEAD_BYTES as u64) as usize];
        codec::fill(&mut copies::Source::new(&mut self.card, address, head.len() as u64), &mut head)?;
        let mut writer = Codec::new().writer(dtype, shape, policy, target, &head, out)?;
        match target {
            Target::RelL2(bound)
                if writer.header.family == Family::Grain && runs_on_card(dtype, shape, policy) =>
            {
                compress::compress(&mut self.card, &mut writer, address, bound)?;
            }
            _ => {
                let mut source = copies::Source::new(&mut self.card, address, bytes);
                let mut window = vec![0; bytes.min(writer.window_bytes as u64) as usize];
                let mut left = bytes;
                while left > 0 {
                    let window = &mut window[..left.min(writer.window_bytes as u64) as usize];
                    codec::fill(&mut source, window)?;
                    writer.window(window)?;
                    left -= window.len() as u64;
                }
            }
        }
        writer.finish()
    }

    /// Restores a frame to `address`, where there is room for its tensor. Reads exactly the frame, nothing after it.
    ///
    /// # Errors
    /// As [`FrameReader::decompress_to`], and [`Error::Device`]; what is at `address` is then worthless.
    pub fn restore_from(&mut self, frame: impl Read, address: u64) -> Result<FrameHeader> {
        self.restore(FrameReader::new(frame)?, address)
    }

    /// As [`restore_from`](Self::restore_from), for a frame whose header was read.
    ///
    /// # Errors
    /// As [`restore_from`](Self::restore_from).
    pub fn restore<R: Read>(&mut self, frame: FrameReader<R>, address: u64) -> Result<FrameHeader> {
        if frame.header().family == Family::Grain && kernel_suffix(frame.header().dtype).is_some() {
            restore::restore(&mut self.card, frame, address)
        } else {
            let mut sink = copies::Sink::new(&mut self.card, address);
            let header = frame.decompress_to(&mut sink)?;
            sink.finish()?;
            Ok(header)
        }
    }

    /// BLAKE3 of `bytes` bytes at `address`.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn digest(&mut self, address: u64, bytes: u64) -> Result<blake3::Hash> {
        digest::digest(&mut self.card, address, bytes)
    }
}

/// A card's error, with what was being done.
fn failed<E: std::error::Error + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Device { doing, source: Box::new(source) }
}
