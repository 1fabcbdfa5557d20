//! Smooth data as two float32 planes, and passes of the codec over them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use softhair_compress::{Codec, DType, Policy, TensorView};

use crate::{Tally, schroedinger};

/// The real and the imaginary part of a wave packet over time.
#[derive(Debug, Default)]
pub struct Planes {
    shape: Vec<usize>,
    bytes: [Vec<u8>; 2],
}

impl Planes {
    /// Computes the packet and writes both planes as raw little-endian float32, for the peers.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn make(frames: usize, out: [&Path; 2]) -> Result<Self> {
        let shape = vec![frames, schroedinger::SIDE, schroedinger::SIDE];
        let little_endian = |plane: Vec<f32>| plane.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let bytes = schroedinger::packet(frames).map(little_endian);
        for (path, plane) in out.iter().zip(&bytes) {
            std::fs::write(path, plane).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(Self { shape, bytes })
    }

    /// Dimensions of each plane.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// One pass of the codec, each plane with its own bound on the error of every element.
    ///
    /// # Errors
    /// If there is not one bound per plane, or the codec fails or breaks its bound.
    pub fn pass(&self, max_abs_errors: &[f64]) -> Result<Tally> {
        ensure!(max_abs_errors.len() == self.bytes.len(), "one bound per plane is needed");
        let (codec, mut tally) = (Codec::new(), Tally::default());
        for (bytes, &bound) in self.bytes.iter().zip(max_abs_errors) {
            tally.pass(&codec, TensorView::new(DType::F32, &self.shape, bytes)?, Policy::MaxAbs(bound))?;
        }
        Ok(tally.finish())
    }
}
