//! Reads `.safetensors` files that the tests ship. The reader for files of users, which distrusts every byte, is in
//! `omnimind-cli`.

use std::io::{Error, Result};

use omnimind_memory::{DType, NamedTensor};
use serde_json::Value;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// Its name in the file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension.
    pub shape: Vec<usize>,
    /// Little-endian elements, row-major.
    pub bytes: Vec<u8>,
}

impl StoredTensor {
    /// The tensor as an item takes it, borrowed.
    #[must_use]
    pub fn named(&self) -> NamedTensor<'_> {
        NamedTensor::host(&self.name, self.dtype, self.shape.clone(), self.bytes.as_slice())
    }
}

/// The tensors of a `.safetensors` file, in the order of their names.
///
/// # Errors
/// If the bytes are not such a file.
pub fn read_tensors(file: &[u8]) -> Result<Vec<StoredTensor>> {
    let wrong = || Error::other("not a .safetensors file");
    let (length, rest) = file.split_first_chunk::<8>().ok_or_else(wrong)?;
    let (header, data) = rest.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(wrong)?;
    let header: Value = serde_json::from_slice(header)?;
    let tensors = header.as_object().ok_or_else(wrong)?;
    tensors
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, tensor)| read_tensor(name, tensor, data).ok_or_else(wrong))
        .collect()
}

fn read_tensor(name: &str, tensor: &Value, data: &[u8]) -> Option<StoredTensor> {
    let numbers = |key: &str| -> Option<Vec<usize>> {
        tensor.get(key)?.as_array()?.iter().map(|n| n.as_u64().map(|n| n as usize)).collect()
    };
    let &[begin, end] = numbers("data_offsets")?.as_slice() else { return None };
    Some(StoredTensor {
        name: name.to_owned(),
        dtype: DType::from_name(tensor.get("dtype")?.as_str()?)?,
        shape: numbers("shape")?,
        bytes: data.get(begin..end)?.to_vec(),
    })
}
