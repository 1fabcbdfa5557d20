//! The bytes of one simulated allocation, held in host memory only where they were written. What was never
//! written reads as zeros, or as poison where nobody should rely on zeros.

use std::collections::HashMap;

/// Contents are held in blocks of this size: large enough that a model needs few, small enough that a
/// few bytes written into a large allocation cost little.
pub(super) const BLOCK_BYTES: u64 = 1 << 20;

/// What memory holds that was put under an address again.
pub(super) const POISON: u8 = 0xa5;

/// Sparse bytes. Ranges are checked by the caller.
#[derive(Debug)]
pub(super) struct Contents {
    bytes: u64,
    unwritten: u8,
    blocks: HashMap<u64, Box<[u8]>>,
}

impl Contents {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, unwritten: 0, blocks: HashMap::new() }
    }

    pub(super) fn poisoned(bytes: u64) -> Self {
        Self { bytes, unwritten: POISON, blocks: HashMap::new() }
    }

    pub(super) fn write(&mut self, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let (block, at) = (offset / BLOCK_BYTES, (offset % BLOCK_BYTES) as usize);
            let size = self.block_size(block);
            let here = data.len().min(size - at);
            let unwritten = self.unwritten;
            let held = self.blocks.entry(block).or_insert_with(|| vec![unwritten; size].into_boxed_slice());
            held[at..at + here].copy_from_slice(&data[..here]);
            data = &data[here..];
            offset += here as u64;
        }
    }

    pub(super) fn read(&self, mut offset: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let (block, at) = (offset / BLOCK_BYTES, (offset % BLOCK_BYTES) as usize);
            let here = out.len().min(self.block_size(block) - at);
            let (now, later) = out.split_at_mut(here);
            match self.blocks.get(&block) {
                Some(held) => now.copy_from_slice(&held[at..at + here]),
                None => now.fill(self.unwritten),
            }
            out = later;
            offset += here as u64;
        }
    }

    /// Host memory in use, in bytes.
    pub(super) fn host_bytes(&self) -> u64 {
        self.blocks.values().map(|block| block.len() as u64).sum()
    }

    /// The last block is as short as the allocation needs.
    fn block_size(&self, block: u64) -> usize {
        (self.bytes - block * BLOCK_BYTES).min(BLOCK_BYTES) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_written_blocks_cost_host_memory_and_the_rest_reads_as_zeros() {
        let mut contents = Contents::new(3 << 30);
        contents.write(BLOCK_BYTES - 2, &[1, 2, 3, 4]);
        contents.write((3 << 30) - 1, &[9]);
        assert_eq!(contents.host_bytes(), 3 * BLOCK_BYTES);
        let mut out = [7; 8];
        contents.read(BLOCK_BYTES - 4, &mut out);
        assert_eq!(out, [0, 0, 1, 2, 3, 4, 0, 0]);
        contents.read(2 << 30, &mut out);
        assert_eq!(out, [0; 8]);
    }

    #[test]
    fn poison_is_read_where_nothing_was_written() {
        let mut contents = Contents::poisoned(2 * BLOCK_BYTES);
        contents.write(1, &[7]);
        let mut out = [0; 3];
        contents.read(0, &mut out);
        assert_eq!(out, [POISON, 7, POISON]);
        contents.read(BLOCK_BYTES, &mut out);
        assert_eq!(out, [POISON; 3]);
    }

    #[test]
    fn a_short_allocation_costs_no_more_than_its_size() {
        let mut contents = Contents::new(1536);
        contents.write(1535, &[5]);
        assert_eq!(contents.host_bytes(), 1536);
    }
}
