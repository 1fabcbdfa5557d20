//! What is inside a seal: a header that names the tensors, then one frame for each. Frames are opaque here.
//!
//! All integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `OMSB` |
//! | 2 | version, 1 |
//! | 4 | size of the header in bytes, at most 16 MiB |
//! | … | the header: bincode 2 with fixed-width integers, in the order of the fields of [`BundleHeader`] |
//! | 8 | size of the first tensor's frame in bytes |
//! | … | that frame |
//! | … | the same for every other tensor, in the header's order; then the end |
//!
//! In the header a text is its size in bytes (8) and its UTF-8; a list is its length (8) and its elements; an
//! optional value is one byte, 0 or 1, and the value; a signature's number is an IEEE 754 single.
//!
//! A frame's size stands before the frame and not in the header, so that a writer can seal one tensor while
//! it has not compressed the next. Readers hold the header and nothing else; a size that a hostile header
//! claims is not allocated.

mod header;
mod read;
mod write;

pub use header::{BundleHeader, MAX_HEADER_BYTES, TensorEntry};
pub use read::{BundleReader, FrameReader};
pub use write::BundleWriter;

const MAGIC: [u8; 4] = *b"OMSB";
const VERSION: u16 = 1;
