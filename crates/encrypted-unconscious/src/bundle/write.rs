//! Writing a bundle: the header first, then the frames in its order. Knows nothing of seals.

use std::io::{Read, Write};

use super::{BundleHeader, MAGIC, TensorEntry, VERSION};
use crate::error::{Error, Result};

/// Writes a bundle. Every tensor of the header gets its frame, in order; then [`finish`](Self::finish).
#[derive(Debug)]
#[must_use = "a bundle is whole only after `finish`"]
pub struct BundleWriter<W> {
    out: W,
    tensors: Vec<TensorEntry>,
    written: usize,
}

impl<W: Write> BundleWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`Error::HeaderTooLarge`] (nothing is written then), or what `out` says.
    pub fn new(mut out: W, header: &BundleHeader) -> Result<Self> {
        let bytes = header.to_bytes()?;
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&(bytes.len() as u32).to_le_bytes())?;
        out.write_all(&bytes)?;
        Ok(Self { out, tensors: header.tensors.clone(), written: 0 })
    }

    /// Writes the frame of the next tensor.
    ///
    /// # Errors
    /// [`Error::TooManyFrames`], or what the inner writer says.
    pub fn write_frame(&mut self, frame: &[u8]) -> Result<()> {
        self.write_frame_from(frame.len() as u64, frame)
    }

    /// Writes the frame of the next tensor from a reader, of which `bytes` bytes are taken.
    ///
    /// # Errors
    /// [`Error::TooManyFrames`]; [`Error::ShortFrame`] where the reader ends before, after which the bundle
    /// cannot be finished;
    /// or what the reader or the inner writer says.
    pub fn write_frame_from(&mut self, bytes: u64, frame: impl Read) -> Result<()> {
        let Some(entry) = self.tensors.get(self.written) else {
            return Err(Error::TooManyFrames { declared: self.tensors.len() });
        };
        self.out.write_all(&bytes.to_le_bytes())?;
        let given = std::io::copy(&mut frame.take(bytes), &mut self.out)?;
        if given < bytes {
            return Err(Error::ShortFrame { name: entry.name.clone(), declared: bytes, given });
        }
        self.written += 1;
        Ok(())
    }

    /// Checks that every tensor has its frame and returns the inner writer, which has its own end to write.
    ///
    /// # Errors
    /// [`Error::FramesMissing`].
    pub fn finish(self) -> Result<W> {
        match self.tensors.get(self.written) {
            None => Ok(self.out),
            Some(next) => Err(Error::FramesMissing {
                next: next.name.clone(),
                after: self.tensors.len() - self.written - 1,
            }),
        }
    }
}
