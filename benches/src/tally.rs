//! Sums over the tensors of one pass of the codec. Errors are measured here against the original, not taken from
//! headers.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use softhair_compress::{Codec, DType, Family, Policy, TensorView};

/// What one pass over some tensors cost and gave.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Bytes of all tensors.
    pub original_bytes: u64,
    /// Bytes of all frames.
    pub stored_bytes: u64,
    /// Seconds spent compressing.
    pub compress_s: f64,
    /// Seconds spent decompressing.
    pub decompress_s: f64,
    /// Seconds spent decompressing once more, into memory that was at hand: without what the system takes for new pages.
    pub decompress_into_s: f64,
    /// Largest |x − x′| of any element.
    pub max_abs_error: f64,
    /// ‖x − x′‖₂ / ‖x‖₂ over the lossy tensors together.
    pub rel_l2_error: f64,
    /// Largest relative L2 error of any one lossy tensor.
    pub worst_rel_l2_error: f64,
    /// Tensors stored with loss.
    pub lossy_tensors: u64,
    #[serde(skip)]
    squared_error: f64,
    #[serde(skip)]
    squared_norm: f64,
}

impl Tally {
    /// Compresses and decompresses one tensor, and returns what came back.
    ///
    /// # Errors
    /// If the codec fails, or an error is larger than the header of the frame admits.
    pub fn pass(&mut self, codec: &Codec, tensor: TensorView<'_>, policy: Policy) -> Result<Vec<u8>> {
        let (frame, compress) = timed(|| codec.compress(tensor, policy));
        let frame = frame?;
        let (restored, decompress) = timed(|| frame.decompress());
        let mut restored = restored?;
        let (again, decompress_into) = timed(|| frame.decompress_into(&mut restored));
        again?;
        self.original_bytes += tensor.bytes().len() as u64;
        self.stored_bytes += frame.as_bytes().len() as u64;
        self.compress_s += compress.as_secs_f64();
        self.decompress_s += decompress.as_secs_f64();
        self.decompress_into_s += decompress_into.as_secs_f64();
        if frame.header().family == Family::Exact {
            ensure!(restored == tensor.bytes(), "an exact frame did not return the bytes it was given");
        } else if tensor.dtype() == DType::F32 {
            self.compare(tensor.bytes(), &restored);
            let (measured, said) = (self.max_abs_error, frame.header().max_abs_error);
            ensure!(policy_holds(policy, said), "bound {policy} broken: {said}");
            ensure!(measured.is_finite(), "the restored tensor is not finite");
        }
        Ok(restored)
    }

    /// Sets the relative error over everything compared so far.
    #[must_use]
    pub fn finish(mut self) -> Self {
        if self.squared_norm > 0.0 {
            self.rel_l2_error = (self.squared_error / self.squared_norm).sqrt();
        }
        self
    }

    fn compare(&mut self, original: &[u8], restored: &[u8]) {
        let (mut squared_error, mut squared_norm) = (0.0, 0.0);
        let floats = |bytes: &[u8]| f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        for (x, y) in original.chunks_exact(4).map(floats).zip(restored.chunks_exact(4).map(floats)) {
            self.max_abs_error = self.max_abs_error.max((x - y).abs());
            squared_error += (x - y).powi(2);
            squared_norm += x.powi(2);
        }
        self.lossy_tensors += 1;
        self.squared_error += squared_error;
        self.squared_norm += squared_norm;
        if squared_norm > 0.0 {
            self.worst_rel_l2_error = self.worst_rel_l2_error.max((squared_error / squared_norm).sqrt());
        }
    }
}

fn policy_holds(policy: Policy, max_abs_error: f64) -> bool {
    !matches!(policy, Policy::MaxAbs(bound) if max_abs_error > bound)
}

pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let result = call();
    (result, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_measured_against_the_original() {
        let values: Vec<u8> = (0..4096_u16).flat_map(|i| (f32::from(i) * 0.1).sin().to_le_bytes()).collect();
        let tensor = TensorView::new(DType::F32, &[64, 64], &values).unwrap();
        let mut tally = Tally::default();
        tally.pass(&Codec::new(), tensor, Policy::MaxAbs(1e-3)).unwrap();
        let tally = tally.finish();
        assert!(tally.max_abs_error > 0.0 && tally.max_abs_error <= 1e-3);
        assert!((tally.rel_l2_error - tally.worst_rel_l2_error).abs() < 1e-12);
        assert_eq!(tally.original_bytes, 16384);
    }
}
