//! Tensors of which a compressed form is kept in `golden/`, so that what is written today can be read for ever.
//!
//! They are made of integers only: a sine would differ between machines in its last bit.

use std::path::PathBuf;

use omnimind_memory::{DType, Policy};
use softhair_compress::{Codec, Family, Frame, Result, TensorView};

const ROWS: usize = 48;
const COLUMNS: usize = 40;

/// A tensor and how it is to be compressed.
#[derive(Debug, Clone)]
pub struct GoldenCase {
    /// Name of its files, for example `grain-F32`.
    pub name: String,
    /// The family to use.
    pub family: Family,
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension.
    pub shape: Vec<usize>,
    /// The bound.
    pub policy: Policy,
    /// Little-endian elements.
    pub bytes: Vec<u8>,
}

impl GoldenCase {
    /// The frame that this build makes of it.
    ///
    /// # Errors
    /// If the codec refuses it.
    pub fn compress(&self) -> Result<Frame> {
        let view = TensorView::new(self.dtype, &self.shape, &self.bytes)?;
        Codec::new().with_family(self.family).compress(view, self.policy)
    }
}

/// Every element type in the exact family, every floating-point type in the lossy ones, and the shapes at the edges.
#[must_use]
pub fn golden_cases() -> Vec<GoldenCase> {
    let exact = DType::ALL.map(|dtype| case("exact", Family::Exact, dtype, Policy::Exact, noise));
    let floats = DType::ALL.into_iter().filter(|dtype| dtype.is_float());
    let lossy = floats.flat_map(|dtype| {
        [
            case("grain", Family::Grain, dtype, Policy::RelL2(0.02), noise),
            case("soft", Family::Soft, dtype, Policy::MaxAbs(0.02), smooth),
        ]
    });
    exact.into_iter().chain(lossy).chain(edges()).collect()
}

/// Where the frames of the format's first version are.
#[must_use]
pub fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join("frame-v1")
}

fn case(
    prefix: &str,
    family: Family,
    dtype: DType,
    policy: Policy,
    value: fn(usize, usize) -> f64,
) -> GoldenCase {
    let cells = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column)));
    let bytes = cells.flat_map(|(row, column)| element(dtype, value(row, column))).collect();
    GoldenCase { name: format!("{prefix}-{dtype}"), family, dtype, shape: vec![ROWS, COLUMNS], policy, bytes }
}

fn edges() -> [GoldenCase; 3] {
    let edge = |name: &str, shape: &[usize], family, policy, values: &[f32]| GoldenCase {
        name: name.to_owned(),
        family,
        dtype: DType::F32,
        shape: shape.to_vec(),
        policy,
        bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let mut odd: Vec<f32> = (0..1024).map(|at| noise(at / 32, at % 32) as f32).collect();
    odd[..6].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-45, f32::MAX]);
    [
        edge("edge-scalar", &[], Family::Exact, Policy::Default, &[2.5]),
        edge("edge-empty", &[0, 7], Family::Exact, Policy::Default, &[]),
        edge("edge-not-finite", &[32, 32], Family::Grain, Policy::MaxAbs(0.01), &odd),
    ]
}

/// A value in [-1, 1) that looks random.
fn noise(row: usize, column: usize) -> f64 {
    let mixed = ((row * COLUMNS + column) as u32).wrapping_add(1).wrapping_mul(2_654_435_761);
    f64::from((mixed ^ (mixed >> 15)) >> 8) / f64::from(1 << 23) - 1.0
}

/// A hill with its top in the middle.
fn smooth(row: usize, column: usize) -> f64 {
    let along = |at: usize, extent: usize| 4.0 * (at * (extent - at)) as f64 / (extent * extent) as f64;
    along(row, ROWS) * along(column, COLUMNS)
}

fn element(dtype: DType, value: f64) -> Vec<u8> {
    match dtype {
        DType::F64 => value.to_le_bytes().to_vec(),
        DType::F32 => (value as f32).to_le_bytes().to_vec(),
        DType::BF16 => (value as f32).to_le_bytes()[2..].to_vec(),
        DType::F16 => half_bits(value as f32).to_le_bytes().to_vec(),
        DType::Bool => vec![u8::from(value > 0.0)],
        _ => ((value * 100.0) as i64).to_le_bytes()[..dtype.size_bytes()].to_vec(),
    }
}

/// The binary16 nearest to zero from `value`, for values of magnitude below 2 that are not subnormal there.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    if exponent <= 0 { sign } else { sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16 }
}
