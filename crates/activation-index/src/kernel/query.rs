//! A query as a kernel reads it: signed bytes in whole, aligned blocks.

use super::BLOCK;

/// Bytes the longest query takes. Its largest product with biased rows, 4096 * 255 * 128, fits `i32` sixteen times.
const MAX_STRIDE: usize = 4096;

/// A block of codes. Aligned, so that no load of a query crosses a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Codes(pub(super) [i8; BLOCK]);

/// A query in signed bytes, padded with zeros to whole blocks.
///
/// Codes are meant to be -127..=127, so that a vector and its negative are alike; products with -128 are exact too,
/// because a stored row that is damaged may hold it.
#[derive(Clone, Debug)]
pub(crate) struct IntQuery {
    codes: Vec<Codes>,
    /// `128 * sum(codes)`: how much larger the product with a biased row is than with the row meant.
    offset: i32,
}

impl IntQuery {
    /// All zeros, for rows of `stride` bytes: a multiple of 64, at most 4096.
    pub(crate) fn with_stride(stride: usize) -> Self {
        debug_assert!(stride.is_multiple_of(BLOCK) && stride <= MAX_STRIDE, "{stride}");
        Self { codes: vec![Codes([0; BLOCK]); stride.div_ceil(BLOCK)], offset: 0 }
    }

    /// Sets the codes from the front and zeros the rest. Codes beyond the stride are left out.
    pub(crate) fn fill(&mut self, codes: impl Iterator<Item = i8>) {
        let mut codes = codes.fuse();
        for block in &mut self.codes {
            block.0.fill_with(|| codes.next().unwrap_or(0));
        }
        self.offset = 128 * self.codes.iter().flat_map(|block| block.0).map(i32::from).sum::<i32>();
    }

    /// Makes a stored row the query. What the row lacks of the stride is zero, what it has beyond is left out.
    pub(crate) fn fill_from_row(&mut self, row: &[u8]) {
        debug_assert_eq!(row.len(), self.stride());
        let blocks = row.as_chunks::<BLOCK>().0;
        let blocks = &blocks[..blocks.len().min(self.codes.len())];
        let (codes, rest) = self.codes.split_at_mut(blocks.len());
        // The sum of a block of unsigned bytes is one instruction for 16 of them (`psadbw`), and compilers find it here:
        // this is three times as fast as summing the signed codes.
        let mut biased = 0;
        for (codes, block) in codes.iter_mut().zip(blocks) {
            for (code, byte) in codes.0.iter_mut().zip(block) {
                *code = (byte ^ 0x80).cast_signed();
            }
            biased += block.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        }
        rest.fill(Codes([0; BLOCK]));
        self.offset = 128 * (biased.cast_signed() - 128 * (blocks.len() * BLOCK) as i32);
    }

    pub(crate) fn stride(&self) -> usize {
        self.codes.len() * BLOCK
    }

    pub(super) fn codes(&self) -> &[Codes] {
        &self.codes
    }

    pub(super) fn offset(&self) -> i32 {
        self.offset
    }
}
