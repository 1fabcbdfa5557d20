//! Vectors to compare with: the rows of a float `.npy` array.

use std::path::Path;

use omnimind_memory::DType;

use super::{TensorFile, TensorFileError};

/// The rows of an array of shape `[d]` (one row) or `[n, d]`, as float32.
///
/// # Errors
/// As [`TensorFile::open`]; and if the file holds several arrays, elements other than float32 or float64, or more
/// than two dimensions.
pub fn read_vectors(path: &Path) -> Result<Vec<Vec<f32>>, TensorFileError> {
    let file = TensorFile::open(path)?;
    let unsupported = |reason: String| TensorFileError::Unsupported {
        path: path.to_owned(),
        reason,
        next: "a vector is a float32 or float64 .npy array of shape [d] or [n, d]".to_owned(),
    };
    let [tensor] = file.tensors() else {
        return Err(unsupported(format!("holds {} arrays instead of one", file.tensors().len())));
    };
    let ([width] | [_, width]) = tensor.shape[..] else {
        return Err(unsupported(format!("holds an array of shape {:?}", tensor.shape)));
    };
    let values: Vec<f32> = match tensor.dtype {
        DType::F32 => file.bytes(0).as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        DType::F64 => {
            file.bytes(0).as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect()
        }
        other => return Err(unsupported(format!("holds elements of type {other}"))),
    };
    if values.is_empty() {
        return Err(unsupported(format!("is an empty array of shape {:?}", tensor.shape)));
    }
    Ok(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
}
