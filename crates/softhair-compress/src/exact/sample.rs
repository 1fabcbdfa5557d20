//! A cheap look at a chunk: is there anything in it that the float coder does not see? Judging costs about 3 % of
//! coding a chunk of weights. Whether it pays is measured by [`super::choose`], not here.

use crate::DType;

const RUNS: usize = 8;
/// Elements of a run; neighbours, so that repetition and smoothness show.
const RUN: usize = 256;
const SLOTS: usize = 4096;

/// Signs of structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signs {
    /// More than 1 in 16 words of eight bytes was seen before.
    pub(super) repeats: bool,
    /// More than 1 in 16 elements is zero.
    pub(super) zeros: bool,
    /// Neighbours differ by far less than their mantissa.
    pub(super) smooth: bool,
    /// The lowest bits of floats are not evenly spread.
    pub(super) uneven: bool,
}

impl Signs {
    pub(super) fn any(self) -> bool {
        self != Self::default()
    }
}

/// Looks at up to 2,048 elements.
pub(super) fn signs(dtype: DType, bytes: &[u8]) -> Signs {
    let element = dtype.size_bytes();
    let count = bytes.len() / element;
    let mantissa = mantissa_bits(dtype);
    let mut seen = [0u32; SLOTS];
    let (mut words, mut repeated, mut zeros, mut elements) = (0, 0, 0, 0);
    let (mut change_bits, mut changes) = (0u64, 0u64);
    let (mut collisions, mut expected) = (0u64, 0u64);
    let runs = if count <= RUNS * RUN { 1 } else { RUNS };
    let run = if runs == 1 { count } else { RUN };
    for index in 0..runs {
        let start = (count - run) * index / RUNS.max(2).min(runs.max(2)) * element;
        let piece = &bytes[start..start + run * element];
        for word in piece.as_chunks::<8>().0 {
            let mixed = u64::from_le_bytes(*word).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (slot, tag) = ((mixed >> 52) as usize, (mixed >> 20) as u32);
            words += 1;
            repeated += u32::from(seen[slot] == tag);
            seen[slot] = tag;
        }
        let mut any = 0;
        let mut before = None;
        for value in piece.chunks_exact(element).map(read) {
            elements += 1;
            zeros += u32::from(value == 0);
            any |= value;
            if let Some(before) = before {
                change_bits +=
                    u64::from(64 - (value as i64).wrapping_sub(before as i64).unsigned_abs().leading_zeros());
                changes += 1;
            }
            before = Some(value);
        }
        if let Some(mantissa) = mantissa {
            let zero_bits = any.trailing_zeros().min(mantissa);
            let width = (mantissa - zero_bits).min(8);
            let mut counts = [0u32; 256];
            for value in piece.chunks_exact(element).map(read) {
                counts[((value >> zero_bits) & ((1 << width) - 1)) as usize] += 1;
            }
            collisions += counts
                .iter()
                .map(|count| u64::from(*count) * u64::from(count.saturating_sub(1)))
                .sum::<u64>();
            expected += (run as u64 * (run as u64).saturating_sub(1)) >> width;
        }
    }
    Signs {
        repeats: repeated * 16 > words,
        zeros: zeros * 16 > elements,
        smooth: mantissa.is_some_and(|bits| changes > 0 && change_bits < changes * u64::from(bits - 2)),
        uneven: mantissa.is_some() && collisions * 2 > expected * 3,
    }
}

/// An element's bits, zero-extended.
fn read(element: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..element.len()].copy_from_slice(element);
    u64::from_le_bytes(bytes)
}

fn mantissa_bits(dtype: DType) -> Option<u32> {
    match dtype {
        DType::F16 => Some(10),
        DType::BF16 => Some(7),
        DType::F32 => Some(23),
        DType::F64 => Some(52),
        _ => None,
    }
}
