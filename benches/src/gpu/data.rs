//! A tensor like weights, of any size: a few pieces of normal values, whose spread differs from row to row, again and again. Nothing
//! looks further than one chunk, so repeating pieces does not make it easier.

use anyhow::{Result, ensure};
use half::{bf16, f16};
use omnimind_memory::DType;
use rayon::prelude::*;

/// Elements of a row.
pub(super) const COLUMNS: usize = 4096;
const PIECE_BYTES: u64 = 64 << 20;
const PIECES: u64 = 4;

pub(super) struct Weights {
    pub(super) bytes: u64,
    dtype: DType,
    pieces: Vec<Vec<u8>>,
}

impl Weights {
    /// As many whole rows as fit into so many bytes.
    pub(super) fn new(dtype: DType, bytes: u64) -> Self {
        let row = (COLUMNS * dtype.size_bytes()) as u64;
        let bytes = bytes / row * row;
        let rows = (PIECE_BYTES.min(bytes) / row) as usize;
        let piece = |piece: u64| {
            let one = |index: usize| self::row(dtype, piece << 32 | index as u64);
            (0..rows).into_par_iter().flat_map_iter(one).collect()
        };
        let pieces = PIECES.min(bytes.div_ceil(PIECE_BYTES));
        Self { bytes, dtype, pieces: (0..pieces).map(piece).collect() }
    }

    /// The whole tensor: pieces, and where each is.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let pieces = self.pieces.iter().cycle();
        (0..self.bytes)
            .step_by(PIECE_BYTES as usize)
            .zip(pieces)
            .map(|(at, piece)| (at, &piece[..piece.len().min((self.bytes - at) as usize)]))
    }

    pub(super) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (_, piece) in self.pieces() {
            hasher.update(piece);
        }
        hasher.finalize()
    }

    /// ‖x − x′‖₂ / ‖x‖₂, with `read` giving a piece of what was restored.
    pub(super) fn rel_l2(&self, mut read: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<f64> {
        let mut restored = Vec::new();
        let (mut error, mut norm) = (0.0, 0.0);
        for (at, piece) in self.pieces() {
            restored.resize(piece.len(), 0);
            read(at, &mut restored)?;
            let size = self.dtype.size_bytes();
            let sums = |(a, b): (&[u8], &[u8])| {
                let pairs = a.chunks_exact(size).zip(b.chunks_exact(size));
                pairs.fold((0.0, 0.0), |(error, norm), (a, b)| {
                    let (a, b) = (value(self.dtype, a), value(self.dtype, b));
                    (error + (a - b) * (a - b), norm + a * a)
                })
            };
            let add = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
            let chunks = piece.par_chunks(1 << 20).zip(restored.par_chunks(1 << 20));
            let sum = chunks.map(sums).reduce(|| (0.0, 0.0), add);
            (error, norm) = add((error, norm), sum);
        }
        ensure!(norm > 0.0, "the tensor has no values");
        Ok((error / norm).sqrt())
    }
}

fn row(dtype: DType, seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let spread = 0.01 * (1.0 + (next(&mut state) % 64) as f32 / 16.0);
    (0..COLUMNS / 2).flat_map(move |_| normal(&mut state)).flat_map(move |value| {
        let value = spread * value;
        let (bytes, count) = match dtype {
            DType::F16 => (widen(f16::from_f32(value).to_le_bytes()), 2),
            DType::BF16 => (widen(bf16::from_f32(value).to_le_bytes()), 2),
            _ => (value.to_le_bytes(), 4),
        };
        bytes.into_iter().take(count)
    })
}

fn widen([a, b]: [u8; 2]) -> [u8; 4] {
    [a, b, 0, 0]
}

fn value(dtype: DType, element: &[u8]) -> f64 {
    match (dtype, element) {
        (DType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f64(),
        (DType::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f64(),
        (_, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        _ => f64::NAN,
    }
}

/// Two independent normal values (Box and Muller).
fn normal(state: &mut u64) -> [f32; 2] {
    let bits = next(state);
    let uniform = |bits: u64| (bits as u32 as f32 + 0.5) / (1u64 << 32) as f32;
    let radius = (-2.0 * uniform(bits).max(f32::MIN_POSITIVE).ln()).sqrt();
    let (sin, cos) = (std::f32::consts::TAU * uniform(bits >> 32)).sin_cos();
    [radius * sin, radius * cos]
}

/// One step of splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
