//! 16-bit floats to `f32` and back, as little-endian bytes.

use half::{bf16, f16};

use crate::DType;

/// The same numbers as `f32`; `dtype` is `F16` or `BF16`. Payloads of NaN survive [`narrow`].
pub(crate) fn widen(dtype: DType, bytes: &[u8]) -> Vec<u8> {
    let widen = |&raw: &[u8; 2]| {
        let bits = u16::from_le_bytes(raw);
        match dtype {
            DType::F16 if f16::from_bits(bits).is_nan() => {
                let (sign, payload) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x03ff) << 13);
                f32::from_bits(sign | 0x7f80_0000 | payload)
            }
            DType::F16 => f16::from_bits(bits).to_f32(),
            _ => f32::from_bits(u32::from(bits) << 16),
        }
    };
    bytes.as_chunks::<2>().0.iter().flat_map(|raw| widen(raw).to_le_bytes()).collect()
}

/// Rounds `f32` to the nearest `dtype`. Of a NaN it keeps the upper bits of the payload.
pub(crate) fn narrow(dtype: DType, wide: &[u8], out: &mut [u8]) {
    for (raw, out) in wide.as_chunks::<4>().0.iter().zip(out.as_chunks_mut::<2>().0) {
        let value = f32::from_le_bytes(*raw);
        let bits = value.to_bits();
        let rounded = match dtype {
            DType::F16 if value.is_nan() => ((bits >> 16) & 0x8000 | 0x7c00 | (bits >> 13) & 0x03ff) as u16,
            DType::F16 => f16::from_f32(value).to_bits(),
            _ if value.is_nan() => (bits >> 16) as u16,
            _ => bf16::from_f32(value).to_bits(),
        };
        *out = rounded.to_le_bytes();
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
