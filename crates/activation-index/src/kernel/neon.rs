//! With NEON, which every AArch64 has: bytes are made signed and multiplied to 16 bits, whose pairs are added to sums of
//! 32 bits. (The dot product instruction of later processors is not in stable Rust.)
#![allow(unsafe_code)] // Loads and calls of functions that need NEON; each is checked where it stands.

#[allow(clippy::wildcard_imports)] // Intrinsics, all with names that no other thing has.
use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use super::drive::{self, ROWS};
use super::{Block, IntQuery, Kernel};

/// This kernel, if the processor has what it needs.
pub(super) fn kernel() -> Option<Kernel> {
    // SAFETY (of both): the feature was detected just now, and processors do not lose it.
    is_aarch64_feature_detected!("neon").then_some(Kernel {
        name: "neon",
        scan: |rows, query, out| unsafe { scan(rows, query, out) },
        gather: |rows, query, numbers, out| unsafe { gather(rows, query, numbers, out) },
    })
}

#[target_feature(enable = "neon")]
fn scan(rows: &[u8], query: &IntQuery, out: &mut [i32]) {
    drive::scan(rows, query, out, |rows, query| multiply(rows, query));
}

#[target_feature(enable = "neon")]
fn gather(rows: &[u8], query: &IntQuery, numbers: &[u32], out: &mut Vec<i32>) {
    drive::gather(rows, query, numbers, out, |rows, query| multiply(rows, query));
}

/// The products of four rows with a query.
#[inline]
#[target_feature(enable = "neon")]
fn multiply(rows: [&[Block]; ROWS], query: &IntQuery) -> [i32; ROWS] {
    let bias = vdupq_n_u8(0x80);
    let mut sums = [vdupq_n_s32(0); ROWS];
    for (i, codes) in query.codes().iter().enumerate() {
        for (quarter, codes) in codes.0.as_chunks().0.iter().enumerate() {
            let codes = load_codes(codes);
            for (sum, row) in sums.iter_mut().zip(rows) {
                let values = vreinterpretq_s8_u8(veorq_u8(load(&row[i].as_chunks().0[quarter]), bias));
                // Not the instruction that adds a product to 16 bits: -128 * -128 twice is too much for them.
                let low = vmull_s8(vget_low_s8(values), vget_low_s8(codes));
                let high = vmull_high_s8(values, codes);
                *sum = vpadalq_s16(vpadalq_s16(*sum, low), high);
            }
        }
    }
    sums.map(|sum| vaddvq_s32(sum))
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference covers the 16 bytes read; the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_codes(codes: &[i8; 16]) -> int8x16_t {
    // SAFETY: as in `load`.
    unsafe { vld1q_s8(codes.as_ptr()) }
}
