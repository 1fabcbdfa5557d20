//! The encoder: cuts a tensor into chunks, chooses a family, codes windows of chunks in parallel.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use rayon::prelude::*;

use crate::{
    DType, Error, Family, Frame, FrameHeader, Policy, Result, TensorView, choose, chunk, measure::Errors,
    plan, policy::Target, tensor::byte_count,
};

/// Compresses tensors. Cheap to clone; holds nothing but settings.
///
/// Work runs on the current rayon pool, chunk by chunk, and gives the same bytes with any number of threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Codec {
    family: Option<Family>,
}

impl Codec {
    /// An encoder that chooses the family of each tensor by measured size.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses this family for every tensor that may be stored with loss, instead of choosing. For measurements.
    #[must_use]
    pub fn with_family(self, family: Family) -> Self {
        Self { family: Some(family) }
    }

    /// Compresses a tensor in memory.
    ///
    /// # Errors
    /// If the bound means nothing, or a ratio cannot be reached. Every other bound is reached, exactly if need be.
    pub fn compress(&self, tensor: TensorView<'_>, policy: Policy) -> Result<Frame> {
        // Weights at the default bound take a quarter.
        let mut bytes = Cursor::new(Vec::with_capacity(tensor.bytes().len() / 4 + 4096));
        let header = self.compress_to(tensor, policy, &mut bytes)?;
        Ok(Frame::from_parts(header, bytes.into_inner()))
    }

    /// Compresses a tensor into `out`, at its current position, with a few chunks in memory at a time.
    ///
    /// The header is written last, over the place left for it: `out` holds no frame until this returns.
    ///
    /// # Errors
    /// As [`Self::compress`], or if writing fails.
    pub fn compress_to(
        &self,
        tensor: TensorView<'_>,
        policy: Policy,
        out: &mut (impl Write + Seek),
    ) -> Result<FrameHeader> {
        let target = Self::target(tensor.dtype(), tensor.shape(), policy)?;
        let head = &tensor.bytes()[..tensor.bytes().len().min(HEAD_BYTES)];
        let mut writer = self.writer(tensor.dtype(), tensor.shape(), policy, target, head, out)?;
        for window in tensor.bytes().chunks(writer.window_bytes) {
            writer.window(window)?;
        }
        writer.finish()
    }

    /// Compresses a tensor that is read in order, for instance from a device or a file.
    ///
    /// # Errors
    /// As [`Self::compress`]; or if `tensor` ends before the shape is filled, or reading or writing fails.
    pub fn compress_from(
        &self,
        dtype: DType,
        shape: &[usize],
        mut tensor: impl Read,
        policy: Policy,
        out: &mut (impl Write + Seek),
    ) -> Result<FrameHeader> {
        let target = Self::target(dtype, shape, policy)?;
        let mut left = byte_count(dtype, shape)? as usize;
        let mut head = vec![0; left.min(HEAD_BYTES)];
        fill(&mut tensor, &mut head)?;
        let mut writer = self.writer(dtype, shape, policy, target, &head, out)?;
        let mut tensor = Cursor::new(head).chain(tensor);
        let mut window = vec![0; left.min(writer.window_bytes)];
        while left > 0 {
            let window = &mut window[..left.min(writer.window_bytes)];
            fill(&mut tensor, window)?;
            writer.window(window)?;
            left -= window.len();
        }
        writer.finish()
    }

    pub(crate) fn target(dtype: DType, shape: &[usize], policy: Policy) -> Result<Target> {
        policy.check()?;
        let elements = byte_count(dtype, shape)? as usize / dtype.size_bytes();
        Ok(policy.target(dtype, shape.len(), elements))
    }

    /// Chooses the family by the first bytes of the tensor and leaves room for the header.
    pub(crate) fn writer<'a, W: Write + Seek>(
        self,
        dtype: DType,
        shape: &[usize],
        policy: Policy,
        target: Target,
        head: &[u8],
        out: &'a mut W,
    ) -> Result<Writer<'a, W>> {
        let family = match (target, self.family) {
            (Target::Exact, _) => Family::Exact,
            (_, Some(family)) => family,
            _ => choose::family(dtype, shape, head, target),
        };
        let chunk_elements = match family {
            Family::Exact => plan::EXACT_CHUNK_BYTES / dtype.size_bytes(),
            Family::Grain => plan::GRAIN_CHUNK_ELEMENTS,
            Family::Soft => plan::soft_chunk_elements(shape),
        };
        let chunk_bytes = chunk_elements * dtype.size_bytes();
        let header = FrameHeader {
            dtype,
            shape: shape.to_vec(),
            policy,
            family,
            max_abs_error: 0.0,
            rel_l2_error: 0.0,
            chunk_elements: chunk_elements as u64,
            payload_bytes: 0,
            checksum: [0; 32],
        };
        let start = out.stream_position().map_err(writing)?;
        out.write_all(&header.to_bytes()).map_err(writing)?;
        Ok(Writer {
            header,
            target,
            chunk_bytes,
            window_bytes: chunk_bytes * chunk::window(chunk_bytes),
            start,
            out,
            hasher: blake3::Hasher::new(),
            errors: Errors::default(),
        })
    }
}

/// Bytes from the head of a tensor by which its family is chosen.
pub(crate) const HEAD_BYTES: usize = 1 << 20;

/// A frame being written.
pub(crate) struct Writer<'a, W> {
    pub(crate) header: FrameHeader,
    pub(crate) target: Target,
    pub(crate) chunk_bytes: usize,
    /// Bytes that [`Self::window`] takes at once.
    pub(crate) window_bytes: usize,
    /// Where in `out` the frame begins.
    start: u64,
    out: &'a mut W,
    hasher: blake3::Hasher,
    errors: Errors,
}

impl<W: Write + Seek> Writer<'_, W> {
    pub(crate) fn finish(mut self) -> Result<FrameHeader> {
        if matches!(self.target, Target::RelL2(bound) if self.errors.rel_l2() > bound) {
            // Each chunk holds the bound, so only sums beyond f64 can end here.
            return Err(Error::UnusableBound {
                policy: self.header.policy.to_string(),
                reason: "the norm of this tensor leaves the range of f64; use an absolute bound or exact",
            });
        }
        self.header.max_abs_error = self.errors.max_abs;
        self.header.rel_l2_error = self.errors.rel_l2();
        self.hasher.update(&self.header.without_checksum());
        self.header.checksum = *self.hasher.finalize().as_bytes();
        let end = self.out.stream_position().map_err(writing)?;
        self.out.seek(SeekFrom::Start(self.start)).map_err(writing)?;
        self.out.write_all(&self.header.to_bytes()).map_err(writing)?;
        self.out.seek(SeekFrom::Start(end)).map_err(writing)?;
        Ok(self.header)
    }

    /// Codes chunks in parallel and writes them in order.
    pub(crate) fn window(&mut self, bytes: &[u8]) -> Result<()> {
        let (dtype, shape, target, family) =
            (self.header.dtype, &self.header.shape, self.target, self.header.family);
        let one = |bytes: &[u8]| {
            let dims = plan::chunk_dims(shape, bytes.len() / dtype.size_bytes());
            chunk::encode(dtype, &dims, bytes, target, family)
        };
        let encoded: Vec<_> = if rayon::current_num_threads() == 1 {
            bytes.chunks(self.chunk_bytes).map(one).collect::<Result<_>>()?
        } else {
            bytes.par_chunks(self.chunk_bytes).map(one).collect::<Result<_>>()?
        };
        for encoded in encoded {
            self.coded(&encoded.header(), [encoded.errors])?;
            self.coded(&encoded.payload, [])?;
        }
        Ok(())
    }

    /// Writes what is coded already: whole chunks with their headers, or parts of one, in order, with the errors of each chunk.
    pub(crate) fn coded(&mut self, bytes: &[u8], errors: impl IntoIterator<Item = Errors>) -> Result<()> {
        // On all threads where that pays.
        if bytes.len() >= 128 << 10 {
            self.hasher.update_rayon(bytes);
        } else {
            self.hasher.update(bytes);
        }
        self.out.write_all(bytes).map_err(writing)?;
        self.header.payload_bytes += bytes.len() as u64;
        errors.into_iter().for_each(|errors| self.errors.merge(errors));
        Ok(())
    }
}

fn writing(source: std::io::Error) -> Error {
    Error::Io { doing: "writing a frame", source }
}

pub(crate) fn fill(tensor: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    tensor.read_exact(bytes).map_err(|source| Error::Io { doing: "reading a tensor", source })
}
