//! A compressed tensor in memory: parsing, checking, and decompressing all chunks in parallel.

mod header;
mod reader;

pub(crate) use header::CHUNK_HEADER_BYTES;
pub use header::{Family, FrameHeader};
pub(crate) use reader::Chunks;
pub use reader::FrameReader;

use rayon::prelude::*;

use crate::{Error, Result, chunk, plan};

/// One compressed tensor: a header and the payloads of its chunks.
///
/// ```
/// use softhair_compress::{Codec, DType, Frame, Policy, TensorView};
///
/// let weights: Vec<u8> = (0..64 * 64).flat_map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes()).collect();
/// let view = TensorView::new(DType::F32, &[64, 64], &weights)?;
/// let frame = Codec::new().compress(view, Policy::MaxAbs(1e-2))?;
///
/// let stored = frame.as_bytes().to_vec();
/// let frame = Frame::parse(stored)?;
/// assert!(frame.header().max_abs_error <= 1e-2);
/// assert_eq!(frame.decompress()?.len(), weights.len());
/// # Ok::<(), softhair_compress::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    header: FrameHeader,
    bytes: Vec<u8>,
}

impl Frame {
    /// Takes the bytes of one whole frame. The header is checked here, the checksum when decompressing.
    ///
    /// # Errors
    /// If the bytes are not a frame, are of a newer version, or are cut short or too long.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let fixed = bytes.first_chunk().ok_or(Error::NotAFrame("it is shorter than a header"))?;
        let length = FrameHeader::length_from(fixed)?;
        let header = FrameHeader::parse(
            bytes.get(..length).ok_or(Error::NotAFrame("it is shorter than its header"))?,
        )?;
        if header.frame_bytes() != bytes.len() as u64 {
            return Err(Error::Damaged("the frame is not as long as its header says"));
        }
        Ok(Self { header, bytes })
    }

    pub(crate) fn from_parts(header: FrameHeader, bytes: Vec<u8>) -> Self {
        Self { header, bytes }
    }

    /// What the frame says about its tensor.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The frame as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame as it is stored.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The tensor's elements, little-endian, in row-major order.
    ///
    /// # Errors
    /// If the checksum or a chunk is wrong.
    pub fn decompress(&self) -> Result<Vec<u8>> {
        self.check()?;
        let chunks = self.chunks()?;
        let bytes = self.header.original_bytes() as usize;
        // Zeros may shrink a thousandfold, so a small frame may honestly declare more than there is.
        if Vec::<u8>::new().try_reserve_exact(bytes).is_err() {
            return Err(Error::Damaged("the tensor does not fit into memory"));
        }
        let mut out = vec![0; bytes];
        self.decode(&chunks, &mut out)?;
        Ok(out)
    }

    /// As [`Self::decompress`], into memory that the caller has.
    ///
    /// # Errors
    /// If `out` does not have the tensor's size, or the checksum or a chunk is wrong; `out` is then unspecified.
    pub fn decompress_into(&self, out: &mut [u8]) -> Result<()> {
        if out.len() as u64 != self.header.original_bytes() {
            return Err(Error::WrongByteCount {
                dtype: self.header.dtype.name(),
                shape: self.header.shape.clone(),
                expected: self.header.original_bytes(),
                actual: out.len() as u64,
            });
        }
        self.check()?;
        self.decode(&self.chunks()?, out)
    }

    /// Compares the checksum with header and payload.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they differ.
    pub fn check(&self) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.payload());
        hasher.update(&self.header.without_checksum());
        if *hasher.finalize().as_bytes() == self.header.checksum {
            Ok(())
        } else {
            Err(Error::Damaged("the checksum does not match"))
        }
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[self.header.header_bytes()..]
    }

    /// Family and payload of each chunk.
    fn chunks(&self) -> Result<Vec<chunk::Stored<'_>>> {
        let mut rest = self.payload();
        let mut chunks = Vec::new();
        for _ in self.header.chunk_sizes() {
            let (head, tail) =
                rest.split_first_chunk::<CHUNK_HEADER_BYTES>().ok_or(Error::Damaged("a chunk is missing"))?;
            let (family, length) = chunk::parse_header(*head)?;
            let (payload, tail) =
                tail.split_at_checked(length).ok_or(Error::Damaged("a chunk is cut short"))?;
            chunks.push(chunk::Stored { family, payload });
            rest = tail;
        }
        if rest.is_empty() { Ok(chunks) } else { Err(Error::Damaged("bytes after the last chunk")) }
    }

    fn decode(&self, chunks: &[chunk::Stored<'_>], out: &mut [u8]) -> Result<()> {
        let dtype = self.header.dtype;
        let step = self.header.chunk_elements as usize * dtype.size_bytes();
        let one = |(stored, out): (&chunk::Stored<'_>, &mut [u8])| {
            let elements = out.len() / dtype.size_bytes();
            stored.decode(dtype, &plan::chunk_dims(&self.header.shape, elements), out)
        };
        if rayon::current_num_threads() == 1 {
            chunks.iter().zip(out.chunks_mut(step)).try_for_each(one)
        } else {
            chunks.par_iter().zip(out.par_chunks_mut(step)).try_for_each(one)
        }
    }
}
