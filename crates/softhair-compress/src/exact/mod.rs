//! *Exact*: a chunk comes back bit for bit.

use crate::{DType, Result};

/// Appends the payload of one chunk to `out`.
pub(crate) fn encode(dtype: DType, bytes: &[u8], out: &mut Vec<u8>) {
    let _ = dtype;
    out.extend_from_slice(bytes);
}

/// Fills `out` (whose length is the validated size of the chunk in bytes) from a payload.
///
/// # Errors
/// `Damaged` if the payload does not describe exactly `out.len()` bytes.
pub(crate) fn decode(dtype: DType, payload: &[u8], out: &mut [u8]) -> Result<()> {
    let _ = dtype;
    if payload.len() != out.len() {
        return Err(crate::Error::Damaged("exact chunk has the wrong length"));
    }
    out.copy_from_slice(payload);
    Ok(())
}
