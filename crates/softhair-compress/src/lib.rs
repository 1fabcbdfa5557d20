//! Tensors to bytes and back, with an error contract.

mod dtype;
mod error;
mod exact;
mod real;
mod soft;

pub use dtype::DType;
pub use error::{Error, Result};

/// Most dimensions a tensor may have.
pub const MAX_RANK: usize = 32;
