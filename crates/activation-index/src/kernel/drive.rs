//! Which rows are multiplied when: what every kernel shares.
//!
//! Kernels multiply four rows at a time, so that a load of the query serves four products and their chains of additions
//! run side by side. Where fewer than four are left, one of them is repeated.
//!
//! All is inlined into each kernel's function, so that the closure is inlined too and its registers stay registers.
#![allow(clippy::inline_always)] // A function compiled for plain x86-64 cannot inline one compiled for AVX-512.

use super::prefetch::prefetch;
use super::{BLOCK, Block, IntQuery};

/// Rows a kernel multiplies at a time.
pub(super) const ROWS: usize = 4;

/// Rows of a gather that are being fetched while others are multiplied. Of 24 random rows among a million, AVX2 then
/// takes 65 ns each instead of 98; 4 to 32 do equally well. The VNNI kernels run so far ahead by themselves that it makes
/// no difference.
const AHEAD: usize = 8;

/// Rows of a given number of blocks, one after another.
#[derive(Clone, Copy)]
struct Rows<'a> {
    blocks: &'a [Block],
    blocks_per_row: usize,
    len: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn new(bytes: &'a [u8], blocks_per_row: usize) -> Self {
        let blocks = bytes.as_chunks::<BLOCK>().0;
        Self { blocks, blocks_per_row, len: blocks.len().checked_div(blocks_per_row).unwrap_or(0) }
    }

    /// A row; the first one if there is none of this number. Not to be called when there are no rows.
    #[inline(always)]
    fn row(&self, number: usize) -> &'a [Block] {
        let number = if number < self.len { number } else { 0 };
        &self.blocks[number * self.blocks_per_row..][..self.blocks_per_row]
    }
}

/// [`Kernel::scan`](super::Kernel::scan) with a kernel's way to multiply four rows.
#[inline(always)]
pub(super) fn scan(
    rows: &[u8],
    query: &IntQuery,
    out: &mut [i32],
    multiply: impl Fn([&[Block]; ROWS], &IntQuery) -> [i32; ROWS],
) {
    let rows = Rows::new(rows, query.codes().len());
    if rows.len == 0 {
        // Rows of no bytes have the product 0, as many as there are.
        if query.stride() == 0 {
            out.fill(0);
        }
        return;
    }
    let len = out.len().min(rows.len);
    for (group, out) in out[..len].chunks_mut(ROWS).enumerate() {
        let four = std::array::from_fn(|i| rows.row(group * ROWS + i.min(out.len() - 1)));
        for (out, product) in out.iter_mut().zip(multiply(four, query)) {
            *out = product;
        }
    }
}

/// [`Kernel::gather`](super::Kernel::gather) with a kernel's way to multiply four rows.
#[inline(always)]
pub(super) fn gather(
    rows: &[u8],
    query: &IntQuery,
    numbers: &[u32],
    out: &mut Vec<i32>,
    multiply: impl Fn([&[Block]; ROWS], &IntQuery) -> [i32; ROWS],
) {
    out.clear();
    out.resize(numbers.len(), i32::MIN);
    let rows = Rows::new(rows, query.codes().len());
    if rows.len == 0 {
        return;
    }
    let mut to_fetch = numbers.iter();
    for &number in to_fetch.by_ref().take(AHEAD) {
        prefetch(rows.row(number as usize));
    }
    for (numbers, out) in numbers.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
        for &number in to_fetch.by_ref().take(ROWS) {
            prefetch(rows.row(number as usize));
        }
        let four = std::array::from_fn(|i| rows.row(numbers[i.min(numbers.len() - 1)] as usize));
        let products = multiply(four, query);
        for ((out, product), &number) in out.iter_mut().zip(products).zip(numbers) {
            if (number as usize) < rows.len {
                *out = product;
            }
        }
    }
}
