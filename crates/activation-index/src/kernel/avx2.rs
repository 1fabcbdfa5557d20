//! With AVX2. The one instruction that multiplies bytes adds their products in 16 bits and saturates, so bytes are
//! widened first.
#![allow(unsafe_code)] // Loads and calls of functions that need AVX2; each is checked where it stands.

#[allow(clippy::wildcard_imports)] // Intrinsics, all with names that no other thing has.
use std::arch::x86_64::*;

use super::drive::{self, ROWS};
use super::{Block, IntQuery, Kernel};

/// This kernel, if the processor has what it needs.
pub(super) fn kernel() -> Option<Kernel> {
    // SAFETY (of both): the feature was detected just now, and processors do not lose it.
    is_x86_feature_detected!("avx2").then_some(Kernel {
        name: "avx2",
        scan: |rows, query, out| unsafe { scan(rows, query, out) },
        gather: |rows, query, numbers, out| unsafe { gather(rows, query, numbers, out) },
    })
}

#[target_feature(enable = "avx2")]
fn scan(rows: &[u8], query: &IntQuery, out: &mut [i32]) {
    drive::scan(rows, query, out, |rows, query| multiply(rows, query));
}

#[target_feature(enable = "avx2")]
fn gather(rows: &[u8], query: &IntQuery, numbers: &[u32], out: &mut Vec<i32>) {
    drive::gather(rows, query, numbers, out, |rows, query| multiply(rows, query));
}

/// The products of four rows with a query.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply(rows: [&[Block]; ROWS], query: &IntQuery) -> [i32; ROWS] {
    let mut sums = [_mm256_setzero_si256(); ROWS];
    for (i, codes) in query.codes().iter().enumerate() {
        for (quarter, codes) in codes.0.as_chunks().0.iter().enumerate() {
            let codes = widen_codes(codes);
            for (sum, row) in sums.iter_mut().zip(rows) {
                let products = _mm256_madd_epi16(widen(&row[i].as_chunks().0[quarter]), codes);
                *sum = _mm256_add_epi32(*sum, products);
            }
        }
    }
    totals(sums).map(|total| total - query.offset())
}

/// The sum of the lanes of each: pairs are added side by side until one register holds the four sums.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn totals(sums: [__m256i; ROWS]) -> [i32; ROWS] {
    let [a, b, c, d] = sums;
    let abcd = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let half = _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256::<1>(abcd));
    let mut totals = [0; ROWS];
    // SAFETY: the array has the 16 bytes written; the store needs no alignment.
    unsafe { _mm_storeu_si128(totals.as_mut_ptr().cast(), half) };
    totals
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference covers the 32 bytes read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_codes(codes: &[i8; 32]) -> __m256i {
    // SAFETY: as in `load`.
    unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the reference covers the 16 bytes read; the load needs no alignment.
    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_codes(codes: &[i8; 16]) -> __m256i {
    // SAFETY: as in `widen`.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) })
}
