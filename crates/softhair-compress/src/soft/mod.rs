//! *Soft*: smooth data, kept as its low-frequency part plus what that misses.

use crate::{Error, Result, real::Real};

/// Appends the payload of one chunk to `out` so that every finite element is within `max_abs` of the original and
/// every other element (NaN, ±Inf) comes back bit for bit. `None`, with `out` untouched, if it cannot promise that.
pub(crate) fn encode<T: Real>(values: &[T], dims: &[usize], max_abs: f64, out: &mut Vec<u8>) -> Option<()> {
    let _ = (values, dims, max_abs, out);
    None
}

/// Fills `out`, of `dims` product elements, from a payload.
///
/// # Errors
/// `Damaged` if the payload does not describe exactly that many elements.
pub(crate) fn decode<T: Real>(payload: &[u8], dims: &[usize], out: &mut [T]) -> Result<()> {
    let _ = (payload, dims, out);
    Err(Error::Damaged("soft chunk"))
}
