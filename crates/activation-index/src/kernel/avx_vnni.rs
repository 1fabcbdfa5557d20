//! With AVX-VNNI: the instruction of [`super::avx512_vnni`] in registers of 32 bytes, for processors without AVX-512.
#![allow(unsafe_code)] // Loads and calls of functions that need AVX-VNNI; each is checked where it stands.

#[allow(clippy::wildcard_imports)] // Intrinsics, all with names that no other thing has.
use std::arch::x86_64::*;

use super::avx2::{load, load_codes, totals};
use super::drive::{self, ROWS};
use super::{Block, IntQuery, Kernel};

/// This kernel, if the processor has what it needs.
pub(super) fn kernel() -> Option<Kernel> {
    let supported = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni");
    // SAFETY (of both): the features were detected just now, and processors do not lose them.
    supported.then_some(Kernel {
        name: "avx-vnni",
        scan: |rows, query, out| unsafe { scan(rows, query, out) },
        gather: |rows, query, numbers, out| unsafe { gather(rows, query, numbers, out) },
    })
}

#[target_feature(enable = "avx2,avxvnni")]
fn scan(rows: &[u8], query: &IntQuery, out: &mut [i32]) {
    drive::scan(rows, query, out, |rows, query| multiply(rows, query));
}

#[target_feature(enable = "avx2,avxvnni")]
fn gather(rows: &[u8], query: &IntQuery, numbers: &[u32], out: &mut Vec<i32>) {
    drive::gather(rows, query, numbers, out, |rows, query| multiply(rows, query));
}

/// The products of four rows with a query.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn multiply(rows: [&[Block]; ROWS], query: &IntQuery) -> [i32; ROWS] {
    let mut sums = [_mm256_setzero_si256(); ROWS];
    for (i, codes) in query.codes().iter().enumerate() {
        for (half, &codes) in codes.0.as_chunks().0.iter().enumerate() {
            let codes = load_codes(&codes);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, load(&row[i].as_chunks().0[half]), codes);
            }
        }
    }
    totals(sums).map(|total| total - query.offset())
}
