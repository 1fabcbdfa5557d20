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
    pub fn decompress_to(self, out: &mut impl Write) -> Result<FrameHeader> {
        let mut chunks = self.into_chunks();
        let (dtype, shape) = (chunks.header.dtype, chunks.header.shape.clone());
        let window = chunk::window(chunks.header.chunk_elements as usize * dtype.size_bytes());
        let sizes: Vec<usize> = chunks.header.chunk_sizes().take(window).collect();
        let mut decoded = vec![Vec::new(); sizes.len()];
        let mut stored = vec![(crate::Family::Exact, Vec::new()); sizes.len()];
        let mut remaining = chunks.header.chunk_sizes();
        loop {
            let sizes: Vec<usize> = remaining.by_ref().take(window).collect();
            if sizes.is_empty() {
                break;
            }
            for (slot, &elements) in stored.iter_mut().zip(&sizes) {
                slot.0 = chunks.next(elements, &mut slot.1)?;
            }
            let one = |((buffer, &elements), (family, payload)): ((&mut Vec<u8>, &usize), &(_, Vec<u8>))| {
                buffer.resize(elements * dtype.size_bytes(), 0);
                let chunk = chunk::Stored { family: *family, payload };
                chunk.decode(dtype, &plan::chunk_dims(&shape, elements), buffer)
            };
            decoded.par_iter_mut().zip(&sizes).zip(&stored).try_for_each(one)?;
            for buffer in &decoded[..sizes.len()] {
                out.write_all(buffer).map_err(|source| Error::Io { doing: "writing a tensor", source })?;
            }
        }
        chunks.finish()
    }

    /// The stored chunks, one by one.
    pub(crate) fn into_chunks(self) -> Chunks<R> {
        let left = self.header.payload_bytes;
        Chunks { header: self.header, payload: self.payload, left, hasher: blake3::Hasher::new() }
    }
}

/// The chunks of a frame as they are stored, in order. Whoever reads them all must [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct Chunks<R> {
    header: FrameHeader,
    payload: R,
    /// Bytes of the payload that were not read yet.
    left: u64,
    hasher: blake3::Hasher,
}

impl<R: Read> Chunks<R> {
    pub(crate) fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Reads one chunk into `payload`, which grows only as far as a chunk of so many elements may.
    fn next(&mut self, elements: usize, payload: &mut Vec<u8>) -> Result<crate::Family> {
        let (head, family, length) = self.next_header(elements)?;
        self.hasher.update(&head);
        payload.resize(length, 0);
        read_exact(&mut self.payload, payload)?;
        self.hasher.update(payload);
        Ok(family)
    }

    /// Reads one chunk, header and payload, to the start of `into`; gives the length of the payload. What was read is to be
    /// [hashed](Self::hash) by the caller, in order.
    pub(crate) fn next_into(&mut self, elements: usize, into: &mut [u8]) -> Result<(crate::Family, usize)> {
        let (head, family, length) = self.next_header(elements)?;
        let (to_head, to_payload) = into
            .split_first_chunk_mut::<CHUNK_HEADER_BYTES>()
            .ok_or(Error::Damaged("a chunk is larger than its elements"))?;
        *to_head = head;
        let payload =
            to_payload.get_mut(..length).ok_or(Error::Damaged("a chunk is larger than its elements"))?;
        read_exact(&mut self.payload, payload)?;
        Ok((family, length))
    }

    /// Takes what [`next_into`](Self::next_into) read into account, on all threads.
    pub(crate) fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update_rayon(bytes);
    }

    fn next_header(&mut self, elements: usize) -> Result<([u8; CHUNK_HEADER_BYTES], crate::Family, usize)> {
        let mut head = [0; CHUNK_HEADER_BYTES];
        self.left = self.left.checked_sub(head.len() as u64).ok_or(Error::Damaged("a chunk is missing"))?;
        read_exact(&mut self.payload, &mut head)?;
        let (family, length) = chunk::parse_header(head)?;
        self.left = self.left.checked_sub(length as u64).ok_or(Error::Damaged("a chunk is cut short"))?;
        if length > chunk::max_stored_bytes(elements * self.header.dtype.size_bytes()) {
            return Err(Error::Damaged("a chunk is larger than its elements"));
        }
        Ok((head, family, length))
    }

    /// Compares the checksum, after the last chunk.
    pub(crate) fn finish(mut self) -> Result<FrameHeader> {
        if self.left != 0 {
            return Err(Error::Damaged("bytes after the last chunk"));
        }
        self.hasher.update(&self.header.without_checksum());
        if *self.hasher.finalize().as_bytes() != self.header.checksum {
            return Err(Error::Damaged("the checksum does not match"));
        }
        Ok(self.header)
    }
}

fn read_exact(from: &mut impl Read, into: &mut [u8]) -> Result<()> {
    from.read_exact(into).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::NotAFrame("it ends before it should"),
        _ => Error::Io { doing: "reading a frame", source },
    })
}
