//! A compressed tensor as a stream: a few chunks in memory at a time, whatever the size of the tensor.

use std::io::{Read, Write};

use rayon::prelude::*;

use super::header::{CHUNK_HEADER_BYTES, FIXED_BYTES, FrameHeader};
use crate::{Error, Result, chunk, plan};

/// Decompresses a frame while reading it.
///
/// Memory is bounded by a few chunks per thread. The checksum can only be compared after the last chunk: treat what
/// was written as provisional until [`Self::decompress_to`] returns.
#[derive(Debug)]
pub struct FrameReader<R> {
    header: FrameHeader,
    payload: R,
}

impl<R: Read> FrameReader<R> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// If reading fails, or these bytes do not start a frame that this build reads.
    pub fn new(mut frame: R) -> Result<Self> {
        let mut bytes = vec![0; FIXED_BYTES];
        read_exact(&mut frame, &mut bytes)?;
        let fixed = bytes.first_chunk().ok_or(Error::NotAFrame("it is shorter than a header"))?;
        let length = FrameHeader::length_from(fixed)?;
        bytes.resize(length, 0);
        read_exact(&mut frame, &mut bytes[FIXED_BYTES..])?;
        Ok(Self { header: FrameHeader::parse(&bytes)?, payload: frame })
    }

    /// What the frame says about its tensor.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Writes the tensor's elements, little-endian, in row-major order. Reads exactly the frame, nothing after it.
    ///
    /// # Errors
    /// If reading or writing fails, or the checksum or a chunk is wrong; what was written is then worthless.
    pub fn decompress_to(mut self, out: &mut impl Write) -> Result<FrameHeader> {
        let dtype = self.header.dtype;
        let window = chunk::window(self.header.chunk_elements as usize * dtype.size_bytes());
        let sizes: Vec<usize> = self.header.chunk_sizes().take(window).collect();
        let mut decoded = vec![Vec::new(); sizes.len()];
        let mut stored = vec![(crate::Family::Exact, Vec::new()); sizes.len()];
        let mut hasher = blake3::Hasher::new();
        let mut left = self.header.payload_bytes;
        let mut remaining = self.header.chunk_sizes();
        loop {
            let sizes: Vec<usize> = remaining.by_ref().take(window).collect();
            if sizes.is_empty() {
                break;
            }
            for (slot, &elements) in stored.iter_mut().zip(&sizes) {
                slot.0 = self.next_chunk(elements, &mut left, &mut slot.1, &mut hasher)?;
            }
            let shape = &self.header.shape;
            let one = |((buffer, &elements), (family, payload)): ((&mut Vec<u8>, &usize), &(_, Vec<u8>))| {
                buffer.resize(elements * dtype.size_bytes(), 0);
                let chunk = chunk::Stored { family: *family, payload };
                chunk.decode(dtype, &plan::chunk_dims(shape, elements), buffer)
            };
            decoded.par_iter_mut().zip(&sizes).zip(&stored).try_for_each(one)?;
            for buffer in &decoded[..sizes.len()] {
                out.write_all(buffer).map_err(|source| Error::Io { doing: "writing a tensor", source })?;
            }
        }
        if left != 0 {
            return Err(Error::Damaged("bytes after the last chunk"));
        }
        hasher.update(&self.header.without_checksum());
        if *hasher.finalize().as_bytes() != self.header.checksum {
            return Err(Error::Damaged("the checksum does not match"));
        }
        Ok(self.header)
    }

    /// Reads one stored chunk into `payload`, which grows only as far as a chunk of so many elements may.
    fn next_chunk(
        &mut self,
        elements: usize,
        left: &mut u64,
        payload: &mut Vec<u8>,
        hasher: &mut blake3::Hasher,
    ) -> Result<crate::Family> {
        let mut head = [0; CHUNK_HEADER_BYTES];
        *left = left.checked_sub(head.len() as u64).ok_or(Error::Damaged("a chunk is missing"))?;
        read_exact(&mut self.payload, &mut head)?;
        hasher.update(&head);
        let (family, length) = chunk::parse_header(head)?;
        *left = left.checked_sub(length as u64).ok_or(Error::Damaged("a chunk is cut short"))?;
        if length > chunk::max_stored_bytes(elements * self.header.dtype.size_bytes()) {
            return Err(Error::Damaged("a chunk is larger than its elements"));
        }
        payload.resize(length, 0);
        read_exact(&mut self.payload, payload)?;
        hasher.update(payload);
        Ok(family)
    }
}

fn read_exact(from: &mut impl Read, into: &mut [u8]) -> Result<()> {
    from.read_exact(into).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::NotAFrame("it ends before it should"),
        _ => Error::Io { doing: "reading a frame", source },
    })
}
