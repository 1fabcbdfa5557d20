//! *Grain*: block quantisation for data without structure between neighbours: weights, embeddings.
//!
//! Blocks of 256 values are rounded to multiples of a step, either one step for the chunk (an absolute bound) or
//! one tied to each block's root mean square (a relative bound). A Gaussian rounded that way has an entropy of
//! log₂(rms / step) + 2.05 bits. Its low bits are as good as random and are stored as they are; the high part is
//! stored in unary, one bit plane for each threshold, each plane holding only the values that passed the one before.
//! With thresholds at about 0.64, 1.28, 1.6, 1.92 … rms each plane splits in halves, so that nothing
//! further could be gained: the code is within a tenth of a bit of the entropy, yet consists of bit masks that 64
//! values share and that `pext` and `pdep` pack and unpack in one instruction.
//!
//! [`quantise`] knows numbers, [`shape`] which bits go where, [`pack`] moves the bits; `avx2` does the same faster,
//! to the same bytes. The payload is documented in `docs/src/frame-format.md`.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod bits;
mod decode;
mod encode;
mod kernel;
mod on_card;
mod pack;
mod quantise;
mod shape;

pub(crate) use decode::decode;
pub(crate) use encode::{Step, encode};
pub(crate) use kernel::Kernels;
pub(crate) use on_card::{CardChunk, CardShape, ROUNDING, SEGMENT_ELEMENTS};

/// Values that share a step.
const BLOCK: usize = 256;
/// Values that share a bit mask.
const GROUP: usize = 64;
/// Blocks whose variable-length bits form one byte-aligned run.
const SEGMENT_BLOCKS: usize = 16;
/// Bytes of the chunk's own header.
const HEADER_BYTES: usize = 16;
/// Block code of a block of nothing but +0.
const ZERO_BLOCK: u8 = 255;
/// Thresholds of the unary part; a value beyond the last is stored as an exception.
const MAX_CLASS: u32 = 63;
/// How a chunk's header says that steps follow each block's root mean square.
const MODE_RMS: u8 = 0;
/// How a chunk's header says that one step serves all.
const MODE_FIXED: u8 = 1;

#[cfg(test)]
mod tests;
