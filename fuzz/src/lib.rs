//! What the fuzz targets share: making checksums right, so that inputs get past them.
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

/// The snapshot of an index with its length and all its check sums corrected; unchanged where it is no snapshot. Offsets as in
/// `docs/src/index-format.md`.
#[must_use]
pub fn with_right_check_sums(snapshot: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 128;
    const SECTION_BYTES: usize = 32;
    let mut snapshot = snapshot.to_vec();
    let length = snapshot.len();
    if length < HEADER_BYTES {
        return snapshot;
    }
    let number =
        |bytes: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])) as usize;
    let sections_at = number(&snapshot, 64);
    if sections_at <= length {
        for line in (sections_at..=length.saturating_sub(SECTION_BYTES)).step_by(SECTION_BYTES) {
            let (at, bytes) = (number(&snapshot, line + 8), number(&snapshot, line + 16));
            let content = snapshot.get(at..).and_then(|rest| rest.get(..bytes));
            if let Some(check) = content.map(xxhash_rust::xxh3::xxh3_64) {
                snapshot[line + 24..line + 32].copy_from_slice(&check.to_le_bytes());
            }
        }
        let check = xxhash_rust::xxh3::xxh3_64(&snapshot[sections_at..]);
        snapshot[88..96].copy_from_slice(&check.to_le_bytes());
    }
    snapshot[80..88].copy_from_slice(&(length as u64).to_le_bytes());
    let check = xxhash_rust::xxh3::xxh3_64(&snapshot[..HEADER_BYTES - 8]);
    snapshot[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
    snapshot
}
