//! The inner product of floats, the same on every machine.
//!
//! One function, compiled for several kinds of processors. Wider registers do the same additions at the same places,
//! and nothing is fused, so that the answer depends on neither.
#![allow(unsafe_code)] // Calls of a function compiled for features that are detected just before.
#![allow(clippy::inline_always)] // What is not inlined would be compiled for the plain processor only.

/// Sums kept side by side: one AVX-512 register, four of SSE. A sum in one variable would have to be added in order,
/// one element at a time.
const LANES: usize = 16;

#[cfg(test)]
type Dot = fn(&[f32], &[f32]) -> f32;

/// The inner product of two vectors of one length (of the shorter, if they differ). Always the same for the same
/// vectors: the order of additions is fixed. Zeros at the end change nothing.
pub(crate) fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was detected just now.
            return unsafe { dot_avx512(a, b) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { dot_avx2(a, b) };
        }
    }
    dot(a, b)
}

/// All versions that this machine can run, the reference first.
#[cfg(test)]
pub(super) fn versions() -> Vec<(&'static str, Dot)> {
    let mut versions: Vec<(&str, Dot)> = vec![("reference", dot), ("selected", dot_f32)];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was detected just now.
            versions.push(("avx2", |a, b| unsafe { dot_avx2(a, b) }));
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was detected just now.
            versions.push(("avx512f", |a, b| unsafe { dot_avx512(a, b) }));
        }
    }
    versions
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, a_rest) = a[..len].as_chunks::<LANES>();
    let (b, b_rest) = b[..len].as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    // As if padded with zeros: a sum is never -0, so that adding the zeros would not change it.
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
