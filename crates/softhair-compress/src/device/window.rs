//! How much is worked on at once, and where it lies in the scratch and the staging memory of a lane. The sizes mirror the kernels'
//! structures; a test runs kernels and host against each other.

use super::Card;
use crate::{
    DType,
    frame::CHUNK_HEADER_BYTES,
    grain::{CardShape, SEGMENT_ELEMENTS},
    plan::GRAIN_CHUNK_ELEMENTS,
};

/// Staging bytes of a lane with which the bus is kept busy. More is used, less works.
pub const LANE_STAGING_BYTES: usize = 16 << 20;

/// Bytes of scratch on the card for each of three lanes with which both card and bus are kept busy: 63 MiB in all.
pub const LANE_SCRATCH_BYTES: u64 = 21 << 20;

/// Least scratch, and least staging, of a lane.
pub const MIN_LANE_BYTES: u64 = 2 << 20;

/// Chunks that the processor codes or restores at once between those of the card.
pub(super) const RAW_CHUNKS: usize = 4;

/// Segments of a chunk.
pub(super) const CHUNK_SEGMENTS: usize = GRAIN_CHUNK_ELEMENTS / SEGMENT_ELEMENTS;

/// Threads of a block of each kernel, as the kernels' sources have them.
pub(super) mod threads {
    pub(in crate::device) const SURVEY: u32 = 512;
    pub(in crate::device) const ENCODE: u32 = 256;
    pub(in crate::device) const TOTAL: u32 = 32;
    pub(in crate::device) const GATHER: u32 = 64;
    pub(in crate::device) const INDEX: u32 = 64;
    pub(in crate::device) const RESTORE: u32 = 256;
    pub(in crate::device) const DIGEST: u32 = 128;
    pub(in crate::device) const PARENTS: u32 = 512;
}

/// Bytes of a `ChunkRecord`.
pub(super) const CHUNK_RECORD_BYTES: usize = 32;
/// Bytes of a `SegmentRecord`.
const SEGMENT_RECORD_BYTES: usize = 304;
/// Bytes of a `ChunkScale`.
const CHUNK_SCALE_BYTES: usize = 16;
/// `VARIABLE_BYTES`: room for the variable part of a segment.
const VARIABLE_BYTES: usize = 3072;
/// Groups of 64 values in a segment.
const SEGMENT_GROUPS: usize = SEGMENT_ELEMENTS / 64;

/// Whether the kernels have the precision for this relative bound.
pub(super) fn codes(bound: f64) -> bool {
    bound >= 1e-4
}

/// Scratch and staging of a lane while compressing. Scratch offsets are from the start of the lane's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compressing {
    /// Chunks of a window.
    pub(super) chunks: usize,
    pub(super) slot_bytes: usize,
    pub(super) scales: u64,
    pub(super) records: u64,
    pub(super) chunk_records: u64,
    pub(super) slots: u64,
    pub(super) packed: u64,
    /// In staging: after the chunk records comes what is packed, from here on.
    pub(super) staged_packed: usize,
    /// In staging: original elements of chunks that the processor codes, from here on.
    pub(super) staged_raw: usize,
}

impl Compressing {
    pub(super) fn new(card: &impl Card, dtype: DType, shape: CardShape) -> Self {
        let slot_bytes = SEGMENT_GROUPS * shape.fixed_bytes + VARIABLE_BYTES;
        // Headers, codes and lengths of segments.
        let around = CHUNK_HEADER_BYTES + 16 + GRAIN_CHUNK_ELEMENTS / 256 + 2 * CHUNK_SEGMENTS;
        let packed_bytes = around + CHUNK_SEGMENTS * slot_bytes;
        let records_bytes = CHUNK_SEGMENTS * SEGMENT_RECORD_BYTES;
        let scratch_bytes =
            4 + records_bytes + CHUNK_RECORD_BYTES + CHUNK_SEGMENTS * slot_bytes + packed_bytes;
        let raw_bytes = RAW_CHUNKS * GRAIN_CHUNK_ELEMENTS * dtype.size_bytes();
        let (_, scratch) = card.scratch(0);
        let staging = card.staging_bytes() - raw_bytes;
        // Five regions, each aligned.
        let fits = (scratch as usize - 5 * ALIGNMENT) / scratch_bytes;
        let chunks = fits.min((staging - 2 * ALIGNMENT) / (packed_bytes + CHUNK_RECORD_BYTES)).max(1);
        let mut regions = Regions(0);
        Self {
            chunks,
            slot_bytes,
            scales: regions.take(CHUNK_SCALE_BYTES * chunks),
            records: regions.take(records_bytes * chunks),
            chunk_records: regions.take(CHUNK_RECORD_BYTES * chunks),
            slots: regions.take(CHUNK_SEGMENTS * slot_bytes * chunks),
            packed: regions.take(packed_bytes * chunks),
            staged_packed: (CHUNK_RECORD_BYTES * chunks).next_multiple_of(ALIGNMENT),
            staged_raw: card.staging_bytes() - raw_bytes,
        }
    }
}

/// Scratch and staging of a lane while restoring; both begin alike: plans of chunks, plans of segments, the verdict, what was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restoring {
    /// Most chunks of a window.
    pub(super) chunks: usize,
    pub(super) segments: usize,
    pub(super) verdict: usize,
    pub(super) payload: usize,
    /// Where what was read must end.
    pub(super) payload_end: usize,
    /// In scratch only: where groups begin.
    pub(super) positions: u64,
    /// In staging only: restored elements of chunks that the processor restores.
    pub(super) staged_raw: usize,
}

/// Bytes of a `ChunkPlan`, and of a `SegmentPlan`.
pub(super) const PLAN_BYTES: usize = 16;
/// Kernels read whole words, up to this many bytes past what they need.
pub(super) const PADDING: usize = 16;

impl Restoring {
    pub(super) fn new(card: &impl Card, dtype: DType) -> Self {
        let raw_bytes = RAW_CHUNKS * GRAIN_CHUNK_ELEMENTS * dtype.size_bytes();
        let positions_bytes = 4 * SEGMENT_GROUPS * CHUNK_SEGMENTS;
        let tables_bytes = PLAN_BYTES * (1 + CHUNK_SEGMENTS);
        let (_, scratch) = card.scratch(0);
        let staged_raw = card.staging_bytes() - raw_bytes;
        // A chunk at a coarse bound takes half a byte for each element; most take twice that.
        let per_chunk = tables_bytes + positions_bytes + GRAIN_CHUNK_ELEMENTS / 2;
        let chunks = (scratch as usize / per_chunk).max(1);
        let mut regions = Regions(0);
        let _plans = regions.take(PLAN_BYTES * chunks);
        let segments = regions.take(PLAN_BYTES * CHUNK_SEGMENTS * chunks) as usize;
        let verdict = regions.take(4) as usize;
        let payload = regions.take(0) as usize;
        let room = scratch as usize - payload - positions_bytes * chunks - ALIGNMENT;
        let payload_end = (payload + room).min(staged_raw) - PADDING;
        let positions = (payload_end + PADDING).next_multiple_of(ALIGNMENT) as u64;
        Self { chunks, segments, verdict, payload, payload_end, positions, staged_raw }
    }
}

const ALIGNMENT: usize = 256;

/// Hands out aligned regions one behind the other.
struct Regions(u64);

impl Regions {
    fn take(&mut self, bytes: usize) -> u64 {
        let start = self.0;
        self.0 = (start + bytes as u64).next_multiple_of(ALIGNMENT as u64);
        start
    }
}
