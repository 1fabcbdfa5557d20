//! 16-bit floats to `f32` and back, as little-endian bytes.

use half::{bf16, f16};

use crate::DType;

/// The same numbers as `f32`; `dtype` is `F16` or `BF16`. NaN payloads survive [`narrow`].
pub(crate) fn widen(dtype: DType, bytes: &[u8]) -> Vec<u8> {
    let widen = |&raw: &[u8; 2]| {
        let bits = u16::from_le_bytes(raw);
        if dtype == DType::F16 { f16::from_bits(bits).to_f32() } else { f32::from_bits(u32::from(bits) << 16) }
    };
    bytes.as_chunks::<2>().0.iter().flat_map(|raw| widen(raw).to_le_bytes()).collect()
}

/// Rounds `f32` to the nearest `dtype`.
pub(crate) fn narrow(dtype: DType, wide: &[u8], out: &mut [u8]) {
    for (raw, out) in wide.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<2>().0) {
        let value = f32::from_le_bytes(*raw);
        let bits = if dtype == DType::F16 {
            f16::from_f32(value).to_bits()
        } else if value.is_nan() {
            (value.to_bits() >> 16) as u16
        } else {
            bf16::from_f32(value).to_bits()
        };
        *out = bits.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_widening_and_narrowing() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [DType::F16, DType::BF16] {
            let mut back = vec![0; all.len()];
            narrow(dtype, &widen(dtype, &all), &mut back);
            let differing: Vec<_> =
                all.as_chunks::<2>().0.iter().zip(back.as_chunks::<2>().0).filter(|(a, b)| a != b).collect();
            assert!(differing.is_empty(), "{dtype}: {differing:x?}");
        }
    }
}
