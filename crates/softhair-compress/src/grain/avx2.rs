//! The hot loops with AVX2 and BMI2, to the same bytes as the reference.
//!
//! Responsible for speed only: what is computed is defined in [`super::quantise`] and [`super::pack`], and tests compare
//! the two. Eight values make a row (one register); masks of 64 values are gathered with `pext`, scattered with `pdep`.
#![allow(unsafe_code)] // Loads, stores and calls of functions that need AVX2; each is checked where it stands.

#[allow(clippy::wildcard_imports)] // Sixty intrinsics, all with names that no other thing has.
use std::arch::x86_64::*;

use super::{
    BLOCK, GROUP, MAX_CLASS,
    bits::{BitReader, BitWriter},
    kernel::Kernel,
    quantise::{Block, Quantised},
    shape::{Classes, Shape},
};

/// Rows of a group.
const ROWS: usize = GROUP / 8;

/// This kernel, if the processor has what it needs.
pub(super) fn kernel() -> Option<Kernel<f32>> {
    let supported = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("lzcnt");
    // SAFETY (of all five): the features were detected just now, and processors do not lose them.
    supported.then_some(Kernel {
        largest_magnitude: |values| unsafe { largest_magnitude(values) },
        squared_norm: |block, prescale| unsafe { squared_norm(block, prescale) },
        quantise: |block, step, inverse| unsafe { quantise(block, step, inverse) },
        pack: |block, groups, shape, fixed, variable| unsafe { pack(block, groups, shape, fixed, variable) },
        restore: |fixed, shape, variable, step, block| unsafe {
            restore(fixed, shape, variable, step, block);
        },
    })
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(values: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers the 32 bytes read; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_row(row: &[u32; 8]) -> __m256i {
    // SAFETY: as in `load`.
    unsafe { _mm256_loadu_si256(row.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_words(words: &mut [u8; 32], row: __m256i) {
    // SAFETY: the reference covers the 32 bytes written; the store needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), row) }
}

/// Folds 32 lanes in the order of the reference: 16 apart, 8 apart, 4, 2, 1.
#[inline]
#[target_feature(enable = "avx2")]
fn fold(lanes: [__m256; 4]) -> f32 {
    let eight = _mm256_add_ps(_mm256_add_ps(lanes[0], lanes[2]), _mm256_add_ps(lanes[1], lanes[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[target_feature(enable = "avx2")]
fn largest_magnitude(values: &[f32]) -> f32 {
    let (rows, rest) = values.as_chunks::<8>();
    let mut largest = _mm256_setzero_si256();
    for row in rows {
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), load(row));
        largest = _mm256_max_epu32(largest, _mm256_castps_si256(magnitude));
    }
    let rest = rest.iter().fold(0, |largest, value| largest.max(value.abs().to_bits()));
    f32::from_bits(lanes_of(largest).into_iter().fold(rest, u32::max))
}

/// The eight lanes of a row.
#[inline]
#[target_feature(enable = "avx2")]
fn lanes_of(row: __m256i) -> [u32; 8] {
    let mut lanes = [0; 8];
    // SAFETY: the array has the 32 bytes written.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), row) };
    lanes
}

#[target_feature(enable = "avx2")]
fn squared_norm(block: &Block<f32>, prescale: f32) -> f32 {
    let prescale = _mm256_set1_ps(prescale);
    let mut lanes = [_mm256_setzero_ps(); 4];
    for rows in block.as_chunks::<8>().0.as_chunks::<4>().0 {
        for (lane, row) in lanes.iter_mut().zip(rows) {
            let scaled = _mm256_mul_ps(load(row), prescale);
            *lane = _mm256_add_ps(*lane, _mm256_mul_ps(scaled, scaled));
        }
    }
    fold(lanes)
}

#[target_feature(enable = "avx2")]
fn quantise(block: &Block<f32>, step: f32, inverse: f32) -> Quantised<f32> {
    let (step, inverse) = (_mm256_set1_ps(step), _mm256_set1_ps(inverse));
    let sign = _mm256_set1_ps(-0.0);
    let mut squares = [_mm256_setzero_ps(); 4];
    let (mut max_error, mut largest) = (_mm256_setzero_ps(), _mm256_setzero_si256());
    let mut magnitudes = [0; BLOCK];
    let mut signs = [0; BLOCK / GROUP];
    let rows = block.as_chunks::<8>().0.iter().zip(magnitudes.as_chunks_mut::<8>().0);
    for (i, (values, magnitudes)) in rows.enumerate() {
        let values = load(values);
        // Rounds to nearest, ties to even; beyond the range it gives 2^31, as the reference does.
        let magnitude = _mm256_cvtps_epi32(_mm256_andnot_ps(sign, _mm256_mul_ps(values, inverse)));
        let size = _mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), step);
        let restored = _mm256_or_ps(size, _mm256_and_ps(values, sign));
        let error = _mm256_andnot_ps(sign, _mm256_sub_ps(values, restored));
        let in_steps = _mm256_mul_ps(error, inverse);
        squares[i % 4] = _mm256_add_ps(squares[i % 4], _mm256_mul_ps(in_steps, in_steps));
        max_error = _mm256_max_ps(max_error, error);
        largest = _mm256_max_epu32(largest, magnitude);
        // SAFETY: the reference covers the 32 bytes written; the store needs no alignment.
        unsafe { _mm256_storeu_si256(magnitudes.as_mut_ptr().cast(), magnitude) };
        signs[i / ROWS] |= u64::from(_mm256_movemask_ps(values) as u32) << (8 * (i % ROWS));
    }
    Quantised {
        magnitudes,
        signs,
        largest: lanes_of(largest).into_iter().fold(0, u32::max),
        max_error: lanes_of(_mm256_castps_si256(max_error))
            .into_iter()
            .map(f32::from_bits)
            .fold(0.0, f32::max),
        squared_error_steps: fold(squares),
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn pack(block: &Quantised<f32>, groups: usize, shape: Shape, fixed: &mut Vec<u8>, variable: &mut BitWriter) {
    let magnitudes = block.magnitudes.as_chunks::<GROUP>().0;
    for (magnitudes, &signs) in magnitudes.iter().zip(&block.signs).take(groups) {
        pack_group(magnitudes, signs, shape, fixed, variable);
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn pack_group(
    magnitudes: &[u32; GROUP],
    signs: u64,
    shape: Shape,
    fixed: &mut Vec<u8>,
    variable: &mut BitWriter,
) {
    let mut rows = [_mm256_setzero_si256(); ROWS];
    for (row, magnitudes) in rows.iter_mut().zip(magnitudes.as_chunks::<8>().0) {
        *row = load_row(magnitudes);
    }
    fixed.extend_from_slice(&signs.to_le_bytes());
    let nibble = _mm256_set1_epi32(15);
    for layer in 0..shape.nibble_layers() {
        let shift = _mm_cvtsi32_si128(4 * layer as i32);
        let mut words = _mm256_setzero_si256();
        for &row in rows.iter().rev() {
            let low = _mm256_and_si256(_mm256_srl_epi32(row, shift), nibble);
            words = _mm256_or_si256(_mm256_slli_epi32::<4>(words), low);
        }
        let mut bytes = [0; 32];
        store_words(&mut bytes, words);
        fixed.extend_from_slice(&bytes);
    }
    for plane in 0..shape.low_planes() {
        let shift = _mm_cvtsi32_si128(31 - (4 * shape.nibble_layers() + plane) as i32);
        let mut mask = 0;
        for (i, &row) in rows.iter().enumerate() {
            let bits = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sll_epi32(row, shift)));
            mask |= u64::from(bits as u32) << (8 * i);
        }
        fixed.extend_from_slice(&mask.to_le_bytes());
    }
    if shape.classes == Classes::Flat {
        return;
    }
    let shift = _mm_cvtsi32_si128(shape.low_bits as i32);
    let high = [high_bytes(&rows[..4], shift), high_bytes(&rows[4..], shift)];
    let wide_classes = shape.classes.wide();
    let at_least = |class: u32| {
        let first_high = if class <= wide_classes { 2 * class } else { class + wide_classes };
        let below = _mm256_set1_epi8(first_high as i8 - 1);
        joined(_mm256_cmpgt_epi8(high[0], below), _mm256_cmpgt_epi8(high[1], below))
    };
    let mut passed = at_least(1);
    fixed.extend_from_slice(&passed.to_le_bytes());
    let mut class = 2;
    while passed != 0 && class <= MAX_CLASS {
        let next = at_least(class);
        variable.put(_pext_u64(next, passed), passed.count_ones());
        passed = next;
        class += 1;
    }
    if wide_classes > 0 {
        let odd = joined(_mm256_slli_epi16::<7>(high[0]), _mm256_slli_epi16::<7>(high[1]));
        let wide = !at_least(wide_classes);
        variable.put(_pext_u64(odd, wide), wide.count_ones());
    }
}

/// The high parts of four rows as bytes in order. They are below 128, so saturation never happens.
#[inline]
#[target_feature(enable = "avx2")]
fn high_bytes(rows: &[__m256i], shift: __m128i) -> __m256i {
    let high = |i: usize| _mm256_srl_epi32(rows[i], shift);
    let bytes =
        _mm256_packus_epi16(_mm256_packus_epi32(high(0), high(1)), _mm256_packus_epi32(high(2), high(3)));
    // Packing works within halves of a register: this puts the dwords back in order.
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// The top bits of 64 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn joined(low: __m256i, high: __m256i) -> u64 {
    u64::from(_mm256_movemask_epi8(low) as u32) | u64::from(_mm256_movemask_epi8(high) as u32) << 32
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn restore(fixed: &[u8], shape: Shape, variable: &mut BitReader<'_>, step: f32, block: &mut Block<f32>) {
    for (fixed, values) in fixed.chunks_exact(shape.fixed_bytes()).zip(block.as_chunks_mut::<GROUP>().0) {
        restore_group(fixed, shape, variable, step, values);
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn restore_group(
    fixed: &[u8],
    shape: Shape,
    variable: &mut BitReader<'_>,
    step: f32,
    values: &mut [f32; GROUP],
) {
    let (nibbles, planes) = (shape.nibble_layers(), shape.low_planes());
    let word = |index: usize| {
        fixed.get(8 * index..).and_then(<[u8]>::first_chunk).map_or(0, |raw| u64::from_le_bytes(*raw))
    };
    let signs = word(0);

    let mut high = [0u8; GROUP];
    if shape.classes != Classes::Flat {
        let [low_half, high_half] = high_parts(word(1 + 4 * nibbles + planes), shape, variable);
        let (low, rest) = high.split_at_mut(32);
        if let (Ok(low), Ok(rest)) = (low.try_into(), rest.try_into()) {
            store_words(low, low_half);
            store_words(rest, high_half);
        }
    }
    let shift = _mm_cvtsi32_si128(shape.low_bits as i32);
    let nibble = _mm256_set1_epi32(15);
    let step = _mm256_set1_ps(step);
    let sign_bit = _mm256_set1_epi32(i32::MIN);
    let to_top = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        // SAFETY: `high` has 64 bytes and `i` is below 8, so eight bytes are there.
        let high = unsafe { _mm_loadl_epi64(high.as_ptr().add(8 * i).cast()) };
        let mut magnitude = _mm256_sll_epi32(_mm256_cvtepu8_epi32(high), shift);
        for layer in 0..nibbles {
            let Some(words) = fixed.get(8 + 32 * layer..).and_then(<[u8]>::first_chunk::<32>) else { return };
            // SAFETY: `words` has the 32 bytes read.
            let words = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
            let low = _mm256_and_si256(_mm256_srl_epi32(words, _mm_cvtsi32_si128(4 * i as i32)), nibble);
            magnitude =
                _mm256_or_si256(magnitude, _mm256_sll_epi32(low, _mm_cvtsi32_si128(4 * layer as i32)));
        }
        for plane in 0..planes {
            let mask = word(1 + 4 * nibbles + plane);
            let bits = _mm256_sllv_epi32(_mm256_set1_epi32((mask >> (8 * i)) as i32), to_top);
            let bit = _mm256_srl_epi32(
                _mm256_and_si256(bits, sign_bit),
                _mm_cvtsi32_si128(31 - (4 * nibbles + plane) as i32),
            );
            magnitude = _mm256_or_si256(magnitude, bit);
        }
        let negative = _mm256_sllv_epi32(_mm256_set1_epi32((signs >> (8 * i)) as i32), to_top);
        let size = _mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), step);
        let value = _mm256_xor_ps(size, _mm256_castsi256_ps(_mm256_and_si256(negative, sign_bit)));
        // SAFETY: the reference covers the 32 bytes written.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), value) };
    }
}

/// The high parts of 64 magnitudes as bytes, from the mask of the first threshold and the variable bits.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn high_parts(first: u64, shape: Shape, variable: &mut BitReader<'_>) -> [__m256i; 2] {
    let wide_classes = shape.classes.wide();
    let mut high = [_mm256_setzero_si256(); 2];
    let mut wide = if wide_classes > 0 { u64::MAX } else { 0 };
    let mut passed = first;
    let mut class = 1;
    while passed != 0 {
        let bytes = spread(passed);
        // A set byte is −1: subtracting it counts.
        high = [_mm256_sub_epi8(high[0], bytes[0]), _mm256_sub_epi8(high[1], bytes[1])];
        if class <= wide_classes {
            high = [_mm256_sub_epi8(high[0], bytes[0]), _mm256_sub_epi8(high[1], bytes[1])];
            if class == wide_classes {
                wide = !passed;
            }
        }
        if class == MAX_CLASS {
            break;
        }
        passed = _pdep_u64(variable.take(passed.count_ones()), passed);
        class += 1;
    }
    if wide_classes > 0 {
        let odd = spread(_pdep_u64(variable.take(wide.count_ones()), wide));
        high = [_mm256_sub_epi8(high[0], odd[0]), _mm256_sub_epi8(high[1], odd[1])];
    }
    high
}

/// 64 bits to 64 bytes: 0xff where the bit is set.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(mask: u64) -> [__m256i; 2] {
    let select = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let source = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let half = |bits: u32| {
        let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), source);
        _mm256_cmpeq_epi8(_mm256_and_si256(bytes, select), select)
    };
    [half(mask as u32), half((mask >> 32) as u32)]
}
