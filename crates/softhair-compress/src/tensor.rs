//! A borrowed tensor: element type, shape and little-endian bytes that are known to agree.

use crate::{DType, Error, MAX_RANK, Result};

/// A dense, row-major (C order) tensor that somebody else owns.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// A view of `bytes` as elements of `dtype` in `shape`, outermost dimension first. An empty shape is a scalar.
    ///
    /// # Errors
    /// If the shape has more than [`MAX_RANK`] dimensions, or does not match the number of bytes.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<Self> {
        let expected = byte_count(dtype, shape)?;
        if expected != bytes.len() as u64 {
            return Err(Error::WrongByteCount {
                dtype: dtype.name(),
                shape: shape.to_vec(),
                expected,
                actual: bytes.len() as u64,
            });
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size_bytes()
    }
}

/// Bytes that a tensor of this type and shape has.
///
/// # Errors
/// If there are too many dimensions, or the product does not fit into 63 bits.
pub(crate) fn byte_count(dtype: DType, shape: &[usize]) -> Result<u64> {
    if shape.len() > MAX_RANK {
        return Err(Error::TooManyDimensions(shape.len()));
    }
    // A zero anywhere makes the tensor empty, however large the other dimensions claim to be.
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(dtype.size_bytes() as u64, |product, &dimension| product.checked_mul(dimension as u64))
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(|| Error::WrongByteCount {
            dtype: dtype.name(),
            shape: shape.to_vec(),
            expected: u64::MAX,
            actual: 0,
        })
}
