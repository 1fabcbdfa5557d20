//! The reference, for any processor: plain loops that compilers vectorise with what every processor of a kind has.

use super::drive::{self, ROWS};
use super::{Block, IntQuery, Kernel};

pub(super) const KERNEL: Kernel = Kernel {
    name: "portable",
    scan: |rows, query, out| drive::scan(rows, query, out, multiply),
    gather: |rows, query, numbers, out| drive::gather(rows, query, numbers, out, multiply),
};

/// Sums kept side by side, so that the compiler may vectorise: this is 2.8 times as fast with SSE2 as one sum.
const LANES: usize = 16;

/// The products of four rows with a query.
#[inline]
fn multiply(rows: [&[Block]; ROWS], query: &IntQuery) -> [i32; ROWS] {
    rows.map(|row| {
        let mut sums = [0_i32; LANES];
        for (block, codes) in row.iter().zip(query.codes()) {
            for (bytes, codes) in block.as_chunks::<LANES>().0.iter().zip(codes.0.as_chunks::<LANES>().0) {
                for lane in 0..LANES {
                    // Fits 16 bits: 255 * -128 is -32,640.
                    sums[lane] += i32::from(i16::from(bytes[lane]) * i16::from(codes[lane]));
                }
            }
        }
        sums.iter().sum::<i32>() - query.offset()
    })
}
