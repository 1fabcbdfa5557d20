//! With AVX-512 VNNI: one instruction multiplies 64 unsigned bytes with 64 signed ones and adds the products by fours,
//! without saturation.
#![allow(unsafe_code)] // Loads and calls of functions that need AVX-512; each is checked where it stands.

#[allow(clippy::wildcard_imports)] // Intrinsics, all with names that no other thing has.
use std::arch::x86_64::*;

use super::drive::{self, ROWS};
use super::query::Codes;
use super::{Block, IntQuery, Kernel};

/// This kernel, if the processor has what it needs.
pub(super) fn kernel() -> Option<Kernel> {
    let supported = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    // SAFETY (of both): the features were detected just now, and processors do not lose them.
    supported.then_some(Kernel {
        name: "avx512-vnni",
        scan: |rows, query, out| unsafe { scan(rows, query, out) },
        gather: |rows, query, numbers, out| unsafe { gather(rows, query, numbers, out) },
    })
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn scan(rows: &[u8], query: &IntQuery, out: &mut [i32]) {
    drive::scan(rows, query, out, |rows, query| multiply(rows, query));
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn gather(rows: &[u8], query: &IntQuery, numbers: &[u32], out: &mut Vec<i32>) {
    drive::gather(rows, query, numbers, out, |rows, query| multiply(rows, query));
}

/// The products of four rows with a query.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn multiply(rows: [&[Block]; ROWS], query: &IntQuery) -> [i32; ROWS] {
    let mut sums = [_mm512_setzero_si512(); ROWS];
    for (i, codes) in query.codes().iter().enumerate() {
        let codes = load_codes(codes);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = _mm512_dpbusd_epi32(*sum, load(&row[i]), codes);
        }
    }
    totals(sums).map(|total| total - query.offset())
}

/// The sum of the lanes of each: pairs of registers are interleaved and added until one register holds the four sums.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn totals(sums: [__m512i; ROWS]) -> [i32; ROWS] {
    let [a, b, c, d] = sums;
    let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    let abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64::<1>(abcd));
    let quarter = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let mut totals = [0; ROWS];
    // SAFETY: the array has the 16 bytes written; the store needs no alignment.
    unsafe { _mm_storeu_si128(totals.as_mut_ptr().cast(), quarter) };
    totals
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn load(block: &Block) -> __m512i {
    // SAFETY: the reference covers the 64 bytes read; the load needs no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn load_codes(codes: &Codes) -> __m512i {
    // SAFETY: as in `load`.
    unsafe { _mm512_loadu_si512(codes.0.as_ptr().cast()) }
}
