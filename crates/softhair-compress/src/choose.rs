//! Which family codes a tensor: measured on a part of it, at the bound asked for.

use crate::{DType, Family, chunk, halves, plan, policy::Target, real::Real};

/// Elements on which families are compared.
const SAMPLE_ELEMENTS: usize = 1 << 16;

/// The family that made a sample from the head of the tensor smallest; soft only if it is clearly smaller.
///
/// A soft trial costs much more than a grain one, so it is made only where neighbours resemble each other.
pub(crate) fn family(dtype: DType, shape: &[usize], head: &[u8], target: Target) -> Family {
    let elements = (head.len() / dtype.size_bytes()).min(sample_elements(shape));
    let sample = &head[..elements * dtype.size_bytes()];
    if !is_smooth(dtype, sample) {
        return Family::Grain;
    }
    let dims = plan::chunk_dims(shape, elements);
    let size = |family| match chunk::encode(dtype, &dims, sample, target, family) {
        Ok(encoded) if encoded.family == family => encoded.payload.len(),
        _ => usize::MAX,
    };
    // Soft takes several times as long, so it must be worth a tenth.
    let (soft, grain) = (size(Family::Soft), size(Family::Grain));
    if soft < grain - grain / 10 { Family::Soft } else { Family::Grain }
}

/// Whole slabs where they fit, so that the sample has the tensor's shape.
fn sample_elements(shape: &[usize]) -> usize {
    let mut inner = 1;
    for &dimension in shape.iter().rev() {
        if inner * dimension > SAMPLE_ELEMENTS {
            break;
        }
        inner *= dimension;
    }
    inner * (SAMPLE_ELEMENTS / inner).max(1)
}

/// Whether differences of neighbours are clearly smaller than the values: for white noise their mean square is
/// twice that of the values.
fn is_smooth(dtype: DType, sample: &[u8]) -> bool {
    fn of<T: Real>(bytes: &[u8]) -> bool {
        let (mut differences, mut squares, mut before) = (0.0, 0.0, 0.0);
        for value in
            bytes.chunks_exact(T::BYTES).map(T::read_le).map(T::to_f64).filter(|value| value.is_finite())
        {
            differences += (value - before) * (value - before);
            squares += value * value;
            before = value;
        }
        differences < 0.5 * squares
    }
    match dtype {
        DType::F32 => of::<f32>(sample),
        DType::F64 => of::<f64>(sample),
        DType::F16 | DType::BF16 => of::<f32>(&halves::widen(dtype, sample)),
        _ => false,
    }
}
