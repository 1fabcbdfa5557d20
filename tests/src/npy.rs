//! Reads the one kind of `.npy` file that the tests ship: little-endian float32 in rows. Everything else is refused.

use std::io::{Error, Result};

/// The rows of a version 1.0 `.npy` file of shape `(rows, columns)`, row-major float32.
///
/// # Errors
/// If the bytes are anything else.
pub fn read_rows(bytes: &[u8], columns: usize) -> Result<Vec<Vec<f32>>> {
    let wrong = || Error::other(format!("not a version 1.0 .npy file of float32 rows of {columns}"));
    let header_bytes = usize::from(u16::from_le_bytes([*bytes.get(8).ok_or_else(wrong)?, bytes[9]]));
    let header = bytes.get(10..10 + header_bytes).ok_or_else(wrong)?;
    let text = std::str::from_utf8(header).map_err(|_| wrong())?;
    let expected = ["'descr': '<f4'", "'fortran_order': False", &format!(", {columns})")];
    let elements = &bytes[10 + header_bytes..];
    let whole = !elements.is_empty() && elements.len().is_multiple_of(4 * columns);
    if !bytes.starts_with(b"\x93NUMPY\x01\x00") || !expected.iter().all(|part| text.contains(part)) || !whole
    {
        return Err(wrong());
    }
    let (values, _) = elements.as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
    Ok(values.chunks_exact(columns).map(<[f32]>::to_vec).collect())
}
