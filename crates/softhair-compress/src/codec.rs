//! The encoder: cuts a tensor into chunks, chooses a family, codes windows of chunks in parallel.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use rayon::prelude::*;

use crate::{
    DType, Error, Family, Frame, FrameHeader, Policy, Result, TensorView, chunk, choose, measure::Errors, plan,
    policy::Target, tensor::byte_count,
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
        let mut bytes = Cursor::new(Vec::new());
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
        self.compress_from(tensor.dtype(), tensor.shape(), tensor.bytes(), policy, out)
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
        policy.check()?;
        let elements = byte_count(dtype, shape)? as usize / dtype.size_bytes();
        let target = policy.target(dtype, shape.len(), elements);

        // The family is chosen by the first run of elements; single chunks may still fall back.
        let mut head = vec![0; elements.min(plan::SOFT_CHUNK_ELEMENTS) * dtype.size_bytes()];
        fill(&mut tensor, &mut head)?;
        let family = match (target, self.family) {
            (Target::Exact, _) => Family::Exact,
            (_, Some(family)) => family,
            _ => choose::family(dtype, shape, &head, target),
        };
        let chunk_elements = match family {
            Family::Exact => plan::EXACT_CHUNK_BYTES / dtype.size_bytes(),
            Family::Grain => plan::GRAIN_CHUNK_ELEMENTS,
            Family::Soft => plan::soft_chunk_elements(shape),
        };
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
        let tensor = Cursor::new(head).chain(tensor);
        Writer { header, target, out, hasher: blake3::Hasher::new(), errors: Errors::default() }.run(elements, tensor)
    }
}

struct Writer<'a, W> {
    header: FrameHeader,
    target: Target,
    out: &'a mut W,
    hasher: blake3::Hasher,
    errors: Errors,
}

impl<W: Write + Seek> Writer<'_, W> {
    fn run(mut self, elements: usize, mut tensor: impl Read) -> Result<FrameHeader> {
        let start = self.out.stream_position().map_err(writing)?;
        self.out.write_all(&self.header.to_bytes()).map_err(writing)?;
        let chunk_bytes = self.header.chunk_elements as usize * self.header.dtype.size_bytes();
        let mut left = elements * self.header.dtype.size_bytes();
        let mut window = vec![0; left.min(chunk_bytes * chunk::window(chunk_bytes))];
        while left > 0 {
            let window = &mut window[..left.min(chunk_bytes * chunk::window(chunk_bytes))];
            fill(&mut tensor, window)?;
            self.window(window, chunk_bytes)?;
            left -= window.len();
        }
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
        self.out.seek(SeekFrom::Start(start)).map_err(writing)?;
        self.out.write_all(&self.header.to_bytes()).map_err(writing)?;
        self.out.seek(SeekFrom::Start(end)).map_err(writing)?;
        Ok(self.header)
    }

    fn window(&mut self, bytes: &[u8], chunk_bytes: usize) -> Result<()> {
        let (dtype, shape, target, family) = (self.header.dtype, &self.header.shape, self.target, self.header.family);
        let one = |bytes: &[u8]| {
            let dims = plan::chunk_dims(shape, bytes.len() / dtype.size_bytes());
            chunk::encode(dtype, &dims, bytes, target, family)
        };
        let encoded: Vec<_> = if rayon::current_num_threads() == 1 {
            bytes.chunks(chunk_bytes).map(one).collect::<Result<_>>()?
        } else {
            bytes.par_chunks(chunk_bytes).map(one).collect::<Result<_>>()?
        };
        for encoded in encoded {
            for part in [&encoded.header()[..], &encoded.payload] {
                self.hasher.update(part);
                self.out.write_all(part).map_err(writing)?;
            }
            self.header.payload_bytes += encoded.stored_bytes() as u64;
            self.errors.merge(encoded.errors);
        }
        Ok(())
    }
}

fn writing(source: std::io::Error) -> Error {
    Error::Io { doing: "writing a frame", source }
}

fn fill(tensor: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    tensor.read_exact(bytes).map_err(|source| Error::Io { doing: "reading a tensor", source })
}
