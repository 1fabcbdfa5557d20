//! How far what came back is from what was taken away: computed anew from both, not read from any header.

use omnimind_memory::DType;
use serde::Serialize;

use super::data::HostTensor;
use super::stage::is_compared;

/// The comparison of a whole memory with its original.
#[derive(Debug, Default, Serialize)]
pub(super) struct Comparison {
    /// Tensors that came back bit for bit.
    pub(super) exact_tensors: usize,
    /// Tensors that came back within a bound.
    pub(super) lossy_tensors: usize,
    /// The largest of all tensors, measured against the original.
    pub(super) rel_l2_error: f64,
    pub(super) max_abs_error: f64,
}

impl Comparison {
    /// Adds one tensor. `None` if it is not comparable with its original at all.
    pub(super) fn add(&mut self, original: &HostTensor, dtype: DType, bytes: &[u8]) -> Option<()> {
        if original.dtype != dtype || original.bytes.len() != bytes.len() {
            return None;
        }
        if original.bytes == bytes {
            self.exact_tensors += 1;
            return Some(());
        }
        if !is_compared(dtype) {
            return None;
        }
        let value = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
        let pairs = original.bytes.as_chunks().0.iter().map(value).zip(bytes.as_chunks().0.iter().map(value));
        let (mut error, mut norm) = (0.0, 0.0);
        for (before, after) in pairs {
            let difference = (before - after).abs();
            error += difference * difference;
            norm += before * before;
            self.max_abs_error = self.max_abs_error.max(difference);
        }
        self.lossy_tensors += 1;
        self.rel_l2_error = self.rel_l2_error.max((error / norm).sqrt());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_measured_against_the_original() {
        let tensor = |values: [f32; 2]| HostTensor {
            name: "w".to_owned(),
            dtype: DType::F32,
            shape: vec![2],
            bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        let mut comparison = Comparison::default();
        comparison.add(&tensor([3.0, 4.0]), DType::F32, &tensor([3.0, 4.0]).bytes).unwrap();
        comparison.add(&tensor([3.0, 4.0]), DType::F32, &tensor([3.0, 4.5]).bytes).unwrap();
        assert_eq!((comparison.exact_tensors, comparison.lossy_tensors), (1, 1));
        assert_eq!((comparison.rel_l2_error, comparison.max_abs_error), (0.1, 0.5));
        assert!(comparison.add(&tensor([3.0, 4.0]), DType::F64, &[]).is_none());
    }
}
