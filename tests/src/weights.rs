//! Tensors like weights, and unlike them in every way that a kernel may stumble over.

use half::{bf16, f16};
use omnimind_memory::DType;

/// The types that there are kernels for.
pub const KERNEL_TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// What a tensor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As weights are.
    Normal,
    /// Some values are a hundred times as large.
    HeavyTailed,
    /// No bell.
    Uniform,
    /// Blocks of zeros, of -0, and of single values among zeros.
    Sparse,
    /// Magnitudes of each block differ by orders.
    Uneven,
    /// Infinities and not-a-numbers here and there.
    NotFinite,
    /// Too small for a full mantissa.
    Subnormal,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Normal,
        Self::HeavyTailed,
        Self::Uniform,
        Self::Sparse,
        Self::Uneven,
        Self::NotFinite,
        Self::Subnormal,
    ];

    fn value(self, i: usize, random: &mut Random) -> f32 {
        let block = (i / 256) as u64;
        match self {
            Self::Normal => 0.02 * random.normal(),
            Self::HeavyTailed => {
                let scale = if random.next().is_multiple_of(97) { 100.0 } else { 1.0 };
                scale * random.normal()
            }
            Self::Uniform => random.uniform() - 0.5,
            Self::Sparse => match block % 4 {
                1 if i % 256 == 17 => -3.5,
                0 | 1 => 0.0,
                2 => -0.0,
                _ => random.normal(),
            },
            Self::Uneven => random.normal() * 2f32.powi((block.wrapping_mul(37) % 40) as i32 - 20),
            Self::NotFinite => match random.next() % 50_000 {
                0 => f32::INFINITY,
                1 => f32::NAN,
                _ => random.normal(),
            },
            Self::Subnormal => 1e-39 * random.normal(),
        }
    }
}

/// Little-endian elements of a float32, float16 or bfloat16 tensor, always the same for one seed.
#[must_use]
pub fn elements(dtype: DType, kind: Kind, count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let values = (0..count).map(|i| kind.value(i, &mut random));
    match dtype {
        DType::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        DType::BF16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        _ => values.flat_map(f32::to_le_bytes).collect(),
    }
}

/// ‖a − b‖₂ / ‖a‖₂ of two tensors of such a type.
///
/// # Panics
/// If they are not of one length.
#[must_use]
pub fn rel_l2_of(dtype: DType, original: &[u8], restored: &[u8]) -> f64 {
    assert_eq!(original.len(), restored.len());
    let (mut error, mut norm) = (0.0, 0.0);
    for (a, b) in values(dtype, original).zip(values(dtype, restored)) {
        error += (a - b) * (a - b);
        norm += a * a;
    }
    if error == 0.0 { 0.0 } else { (error / norm).sqrt() }
}

fn values(dtype: DType, bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
    bytes.chunks_exact(dtype.size_bytes()).map(move |element| match (dtype, element) {
        (DType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f64(),
        (DType::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f64(),
        (DType::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        _ => f64::NAN,
    })
}

/// Numbers that are as good as random, from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Standard normal, near enough: the sum of eight uniform values.
    fn normal(&mut self) -> f32 {
        let halves = [self.next(), self.next()];
        let sum: f32 =
            halves.iter().flat_map(|half| [0, 16, 32, 48].map(|at| f32::from((half >> at) as u16))).sum();
        (sum / 65535.0 - 4.0) * 1.5f32.sqrt()
    }
}
