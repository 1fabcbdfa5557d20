//! Which way of coding a chunk is smallest: the float coder at once where nothing else can win, otherwise a trial of
//! all candidates on a sample of the chunk.

use super::planes::{self, Transform};
use super::sample::{self, Signs};
use super::simd::Level;
use super::{Mode, sparse, zstandard};
use crate::DType;

/// Chunks up to this many bytes are tried whole.
const SMALL: usize = 1 << 16;
/// Bytes of each of the two pieces that stand for a larger chunk.
const PIECE: usize = 1 << 14;

/// One way of coding a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Float,
    Planes(Transform),
    Whole,
    Sparse,
}

/// What to code, and with what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) level: Level,
    pub(super) dtype: DType,
    pub(super) bytes: &'a [u8],
    /// Whether zeros may be taken out; not within what is left when they were.
    pub(super) may_be_sparse: bool,
}

/// Appends a payload: never more than one byte longer than the chunk.
pub(super) fn encode(job: Job<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    let Job { dtype, bytes, .. } = job;
    let start = out.len();
    let element = dtype.size_bytes();
    if bytes.len() > element && bytes[element..] == bytes[..bytes.len() - element] {
        out.push(Mode::Same as u8);
        out.extend_from_slice(&bytes[..element]);
        return;
    }
    // Counts are 32 bits wide; callers' chunks are far smaller.
    if u32::try_from(bytes.len()).is_ok() && !bytes.is_empty() {
        let signs = sample::signs(dtype, bytes);
        if dtype.is_float() && !signs.any() {
            run(job, Way::Float, scratch, out);
        } else {
            try_all(job, signs, scratch, out);
        }
        if (1..=bytes.len()).contains(&(out.len() - start)) {
            return;
        }
    }
    out.truncate(start);
    out.push(Mode::Raw as u8);
    out.extend_from_slice(bytes);
}

/// Tries what might pay and appends the smallest.
fn try_all(job: Job<'_>, signs: Signs, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    let element = job.dtype.size_bytes();
    let joined;
    let sample = if job.bytes.len() <= SMALL {
        job.bytes
    } else {
        let place = |part: usize| job.bytes.len() / 8 * part / element * element;
        let piece = |start: usize| &job.bytes[start..start + PIECE];
        joined = [piece(place(2)), piece(place(5))].concat();
        &joined
    };
    let mut tried: Vec<(Way, Vec<u8>)> = Vec::new();
    for way in ways(job, signs) {
        let mut payload = Vec::new();
        run(Job { bytes: sample, ..job }, way, scratch, &mut payload);
        if (1..=sample.len()).contains(&payload.len()) {
            tried.push((way, payload));
        }
    }
    tried.sort_by_key(|(_, payload)| payload.len());
    if sample.len() == job.bytes.len() {
        out.extend(tried.into_iter().next().map(|(_, payload)| payload).unwrap_or_default());
        return;
    }
    // A sample may promise what the chunk does not keep. Who promised less is tried as well where that would be smaller.
    let (start, mut smallest) = (out.len(), usize::MAX);
    let mut payload = Vec::new();
    for (way, promise) in tried {
        let promised = promise.len() as f64 * job.bytes.len() as f64 / sample.len() as f64;
        if smallest as f64 <= promised * 1.02 {
            break;
        }
        payload.clear();
        run(job, way, scratch, &mut payload);
        if (1..=job.bytes.len()).contains(&payload.len()) && payload.len() < smallest {
            smallest = payload.len();
            out.truncate(start);
            out.extend_from_slice(&payload);
        }
    }
}

fn ways(job: Job<'_>, signs: Signs) -> impl Iterator<Item = Way> {
    let wide = job.dtype.size_bytes() > 1;
    [
        job.dtype.is_float().then_some(Way::Float),
        Some(Way::Planes(Transform::Plain)),
        Some(Way::Planes(Transform::Delta)),
        wide.then_some(Way::Whole),
        (signs.zeros && job.may_be_sparse).then_some(Way::Sparse),
    ]
    .into_iter()
    .flatten()
}

/// Appends the payload of one way; nothing if it does not apply.
fn run(job: Job<'_>, way: Way, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    let Job { level, dtype, bytes, .. } = job;
    let element = dtype.size_bytes();
    match way {
        Way::Float => {
            out.push(Mode::Float as u8);
            if !level.float_encode(dtype, bytes, scratch, out) {
                out.pop();
            }
        }
        Way::Planes(transform) => {
            out.push(Mode::Planes as u8);
            planes::encode(level, element, transform, bytes, scratch, out);
        }
        Way::Whole => {
            out.push(Mode::Whole as u8);
            out.extend_from_slice(&zstandard::compress(bytes));
        }
        Way::Sparse => {
            let (mask, others) = sparse::split(element, bytes);
            let mut coded = Vec::new();
            let part = Job { may_be_sparse: false, ..job };
            encode(Job { dtype: DType::U8, bytes: &mask, ..part }, scratch, &mut coded);
            out.push(Mode::Sparse as u8);
            super::reader::write_length(coded.len(), out);
            out.extend_from_slice(&coded);
            encode(Job { bytes: &others, ..part }, scratch, out);
        }
    }
}
