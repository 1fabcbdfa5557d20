//! Inner products of one query with many rows: of signed bytes, exact in `i32`, and of floats in a fixed order.
//!
//! [`portable`] is the reference; a kernel for one kind of processor computes the same with its instructions, and tests
//! compare the two. What all share lies in [`drive`]: which rows are taken, four at a time, and what is prefetched. A
//! kernel only multiplies four rows with a query. Which kernel runs is found at run time.
//!
//! This module knows nothing of scales, metrics, filters or where rows come from.

mod drive;
mod float;
mod portable;
mod prefetch;
mod query;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::OnceLock;

pub(crate) use float::dot_f32;
pub(crate) use prefetch::prefetch_list;
pub(crate) use query::IntQuery;

/// Bytes a kernel multiplies at a time: an AVX-512 register, a cache line. Rows are whole blocks.
const BLOCK: usize = 64;
type Block = [u8; BLOCK];

type Scan = fn(rows: &[u8], query: &IntQuery, out: &mut [i32]);
type Gather = fn(rows: &[u8], query: &IntQuery, numbers: &[u32], out: &mut Vec<i32>);

/// Integer products of one query with many rows. Rows are bytes biased by 128 (value = byte - 128), a query's stride
/// of bytes each, one after another.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    name: &'static str,
    scan: Scan,
    gather: Gather,
}

impl Kernel {
    /// The fastest this machine has.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(portable::KERNEL))
    }

    /// All that this machine can run, from the portable one to the fastest.
    pub(crate) fn available() -> Vec<Self> {
        let mut kernels = vec![portable::KERNEL];
        #[cfg(target_arch = "x86_64")]
        kernels.extend([avx2::kernel(), avx_vnni::kernel(), avx512_vnni::kernel()].into_iter().flatten());
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        kernels.extend(neon::kernel());
        kernels
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Sets `out[i]` to the product with row `i`. There are as many rows as products are asked for; otherwise the fewer
    /// count, and what lies beyond in `out` stays as it was.
    pub(crate) fn scan(&self, rows: &[u8], query: &IntQuery, out: &mut [i32]) {
        debug_assert_eq!(rows.len(), out.len() * query.stride());
        (self.scan)(rows, query, out);
    }

    /// Replaces what is in `out` by the product with each of the rows that `numbers` name; [`i32::MIN`], which no
    /// product is, for a number that names none. Rows are fetched ahead of their turn.
    pub(crate) fn gather(&self, rows: &[u8], query: &IntQuery, numbers: &[u32], out: &mut Vec<i32>) {
        (self.gather)(rows, query, numbers, out);
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernel").field(&self.name).finish()
    }
}
