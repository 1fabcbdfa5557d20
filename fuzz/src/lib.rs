//! What the fuzz targets share: making the checksum of a frame right, so that inputs get past it.
//!
//! `cargo xtask fuzz` runs the targets and fills their first corpus.

/// Larger tensors only make the fuzzer slow.
pub const MAX_TENSOR_BYTES: u64 = 1 << 22;

/// The frame with its payload length and checksum corrected; unchanged where it is shorter than its header. Offsets as
/// in `docs/src/frame-format.md`, written again here on purpose: the reader under test does not check itself.
#[must_use]
pub fn with_right_checksum(frame: &[u8]) -> Vec<u8> {
    const FIXED_BYTES: usize = 96;
    const RANK: usize = 13;
    const PAYLOAD_BYTES: std::ops::Range<usize> = 56..64;
    const CHECKSUM: std::ops::Range<usize> = 64..96;
    let mut frame = frame.to_vec();
    let header_bytes = FIXED_BYTES + 8 * frame.get(RANK).map_or(0, |rank| usize::from(*rank));
    let Some(payload_bytes) = frame.len().checked_sub(header_bytes) else { return frame };
    frame[PAYLOAD_BYTES].copy_from_slice(&(payload_bytes as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&frame[header_bytes..]);
    hasher.update(&frame[..CHECKSUM.start]);
    hasher.update(&frame[FIXED_BYTES..header_bytes]);
    frame[CHECKSUM].copy_from_slice(hasher.finalize().as_bytes());
    frame
}
