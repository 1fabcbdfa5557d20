//! A cheap look at a chunk: is there anything in it that the float coder does not see? Judging costs about 2 % of
//! coding a chunk of weights. Whether it pays is measured by [`super::choose`], not here.

use crate::DType;

const RUNS: usize = 8;
/// Elements of a run; neighbours, so that repetition and smoothness show.
const RUN: usize = 128;
const SLOTS: usize = 4096;

/// Signs of structure.
#[allow(clippy::struct_excessive_bools)] // Four independent findings, each asked for by its name.
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

/// Looks at up to 1,024 elements.
pub(super) fn signs(dtype: DType, bytes: &[u8]) -> Signs {
    let mantissa = mantissa_bits(dtype);
    match dtype.size_bytes() {
        1 => signs_of::<1>(mantissa, bytes),
        2 => signs_of::<2>(mantissa, bytes),
        4 => signs_of::<4>(mantissa, bytes),
        _ => signs_of::<8>(mantissa, bytes),
    }
}

/// What has been counted so far.
#[derive(Default)]
struct Tally {
    elements: u64,
    zeros: u64,
    words: u64,
    repeated: u64,
    changes: u64,
    change_bits: u64,
    /// Pairs of elements of one run that agree in their lowest bits, and how many would by chance.
    collisions: u64,
    expected: u64,
}

fn signs_of<const N: usize>(mantissa: Option<u32>, bytes: &[u8]) -> Signs {
    let elements = bytes.as_chunks::<N>().0;
    let mut seen = [0u32; SLOTS];
    let mut tally = Tally::default();
    if elements.len() <= RUNS * RUN {
        look_at_run(elements, mantissa, &mut seen, &mut tally);
    } else {
        for run in 0..RUNS {
            let start = (elements.len() - RUN) / (RUNS - 1) * run;
            look_at_run(&elements[start..start + RUN], mantissa, &mut seen, &mut tally);
        }
    }
    Signs {
        repeats: tally.repeated * 16 > tally.words,
        zeros: tally.zeros * 16 > tally.elements,
        smooth: mantissa
            .is_some_and(|bits| tally.changes > 0 && tally.change_bits < tally.changes * u64::from(bits - 2)),
        uneven: mantissa.is_some() && tally.collisions * 2 > tally.expected * 3 + 16,
    }
}

fn look_at_run<const N: usize>(
    run: &[[u8; N]],
    mantissa: Option<u32>,
    seen: &mut [u32; SLOTS],
    tally: &mut Tally,
) {
    for word in run.as_flattened().as_chunks::<8>().0 {
        let mixed = u64::from_le_bytes(*word).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (slot, tag) = ((mixed >> 52) as usize, (mixed >> 20) as u32);
        tally.words += 1;
        tally.repeated += u64::from(seen[slot] == tag);
        seen[slot] = tag;
    }
    let mut any = 0;
    let mut before = run.first().map_or(0, read);
    for value in run.iter().map(read) {
        tally.zeros += u64::from(value == 0);
        any |= value;
        let change = (value as i64).wrapping_sub(before as i64).unsigned_abs();
        tally.change_bits += u64::from(64 - change.leading_zeros());
        before = value;
    }
    tally.elements += run.len() as u64;
    tally.changes += run.len().saturating_sub(1) as u64;
    if let Some(mantissa) = mantissa {
        let zero_bits = any.trailing_zeros().min(mantissa);
        let width = (mantissa - zero_bits).min(8);
        let mut counts = [0u32; 256];
        for value in run.iter().map(read) {
            let slot = &mut counts[(value >> zero_bits & ((1 << width) - 1)) as usize];
            tally.collisions += u64::from(*slot);
            *slot += 1;
        }
        tally.expected += ((run.len() * run.len().saturating_sub(1) / 2) >> width) as u64;
    }
}

/// An element's bits, zero-extended.
fn read<const N: usize>(element: &[u8; N]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(element);
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
