//! What a card is told about a chunk: the card's kernels know one shape for all blocks, and no exceptions. Everything else stays
//! with the processor.

use super::{
    BLOCK, MODE_RMS, SEGMENT_BLOCKS, ZERO_BLOCK,
    decode::Payload,
    shape::{Classes, Shape},
};
use crate::Result;

/// Sums in `f32` over a block are off by at most 32 roundings; errors are reported that much larger.
pub(crate) const ROUNDING: f64 = 1.0 + 4e-6;

/// Elements of a segment, whose variable parts form one run.
pub(crate) const SEGMENT_ELEMENTS: usize = SEGMENT_BLOCKS * BLOCK;

/// The shape of all blocks for a step of so many root mean squares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CardShape {
    /// Low bits, and above eight bits the number of wide classes.
    pub(crate) packed: u32,
    /// Bytes of the fixed part of a group.
    pub(crate) fixed_bytes: usize,
}

impl CardShape {
    pub(crate) fn for_step(step_rms: f64) -> Self {
        Self::of(Shape::for_rms(1.0 / step_rms, <f32 as super::quantise::Grain>::MAX_LOW_BITS))
    }

    fn of(shape: Shape) -> Self {
        Self { packed: shape.low_bits | shape.classes.wide() << 8, fixed_bytes: shape.fixed_bytes() }
    }
}

/// Where the parts of one segment begin, in bytes from the start of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentParts {
    pub(crate) codes: usize,
    pub(crate) fixed: usize,
    pub(crate) variable: usize,
    pub(crate) variable_end: usize,
}

/// A chunk that a card can restore.
#[derive(Debug)]
pub(crate) struct CardChunk {
    /// Bits of the unit, which is a normal `f32`.
    pub(crate) unit: u32,
    pub(crate) shape: CardShape,
    pub(crate) segments: Vec<SegmentParts>,
}

impl CardChunk {
    /// The parts of a payload, all of which lie inside it; `None` if only the processor can restore it.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`] if the payload does not describe that many values.
    pub(crate) fn parse(payload: &[u8], elements: usize) -> Result<Option<Self>> {
        let parts = Payload::<f32>::parse(payload, elements)?;
        let plain = parts.mode == MODE_RMS && parts.exceptions.is_empty();
        if !plain || parts.shape.classes == Classes::Flat || !parts.unit.is_normal() {
            return Ok(None);
        }
        let shape = CardShape::of(parts.shape);
        let codes = super::HEADER_BYTES;
        let fixed = codes + parts.codes.len() + parts.segments.len();
        let (mut fixed, mut variable) = (fixed, fixed + parts.fixed.len());
        let mut segments = Vec::with_capacity(parts.segments.len() / 2);
        for (index, length) in parts.segments.as_chunks::<2>().0.iter().enumerate() {
            let variable_end = variable + usize::from(u16::from_le_bytes(*length));
            let first = index * SEGMENT_BLOCKS;
            segments.push(SegmentParts { codes: codes + first, fixed, variable, variable_end });
            let of_segment = &parts.codes[first..parts.codes.len().min(first + SEGMENT_BLOCKS)];
            let stored = of_segment.iter().filter(|&&code| code != ZERO_BLOCK).count();
            // Only the last block can be short, and nothing follows it.
            fixed += stored * (BLOCK / super::GROUP) * shape.fixed_bytes;
            variable = variable_end;
        }
        Ok(Some(Self { unit: parts.unit.to_bits(), shape, segments }))
    }
}
