//! Bits in a row: the variable-length part of a segment, and the two bit-gathering instructions in plain code.

/// Appends bits, first bit lowest, and pads to a byte at the end.
#[derive(Debug)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    count: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `bits`; those above must be zero.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.count;
        let filled = self.count + count;
        if filled >= 64 {
            self.bytes.extend_from_slice(&self.pending.to_le_bytes());
            // `bits` had `64 - self.count` bits taken; a shift by 64 means that all were.
            self.pending = bits.checked_shr(64 - self.count).unwrap_or(0);
            self.count = filled - 64;
        } else {
            self.count = filled;
        }
    }

    /// A writer with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), pending: 0, count: 0 }
    }

    /// Pads to a byte and gives all bytes so far.
    pub(super) fn flush(&mut self) -> &[u8] {
        let tail = self.pending.to_le_bytes();
        self.bytes.extend_from_slice(&tail[..self.count.div_ceil(8) as usize]);
        (self.pending, self.count) = (0, 0);
        &self.bytes
    }
}

/// Reads what [`BitWriter`] wrote. Reading past the end gives zeros and is remembered.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position_bits: usize,
}

impl<'a> BitReader<'a> {
    /// A reader of the bits that begin `position_bytes` into `bytes`.
    pub(super) fn new(bytes: &'a [u8], position_bytes: usize) -> Self {
        Self { bytes, position_bits: position_bytes * 8 }
    }

    /// The next `count` ≤ 64 bits.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u64 {
        let (byte, shift) = (self.position_bits / 8, (self.position_bits % 8) as u32);
        self.position_bits += count as usize;
        let bits = match self.bytes.get(byte..).and_then(<[u8]>::first_chunk::<9>) {
            Some(raw) => {
                let low =
                    u64::from_le_bytes([raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7]]);
                (low >> shift) | ((u64::from(raw[8]) << 1) << (63 - shift))
            }
            None => self.near_the_end(byte, shift),
        };
        bits & low_bits(count)
    }

    #[cold]
    fn near_the_end(&self, byte: usize, shift: u32) -> u64 {
        let mut raw = [0; 16];
        let rest = self.bytes.get(byte..).unwrap_or_default();
        let count = rest.len().min(9);
        raw[..count].copy_from_slice(&rest[..count]);
        (u128::from_le_bytes(raw) >> shift) as u64
    }

    /// Bytes from the start of the slice to the first byte not yet begun.
    pub(super) fn position_bytes(&self) -> usize {
        self.position_bits.div_ceil(8)
    }
}

/// A word whose lowest `count` ≤ 64 bits are set.
#[inline]
pub(super) fn low_bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// The bits of `value` at the set positions of `mask`, moved together at the low end (`pext`).
pub(super) fn gather(value: u64, mut mask: u64) -> u64 {
    let (mut result, mut at) = (0, 0);
    while mask != 0 {
        result |= ((value >> mask.trailing_zeros()) & 1) << at;
        mask &= mask - 1;
        at += 1;
    }
    result
}

/// The low bits of `value` moved apart to the set positions of `mask` (`pdep`).
pub(super) fn scatter(mut value: u64, mut mask: u64) -> u64 {
    let mut result = 0;
    while mask != 0 {
        result |= (value & 1) << mask.trailing_zeros();
        value >>= 1;
        mask &= mask - 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back_in_order(words in prop::collection::vec((any::<u64>(), 0u32..=64), 0..200)) {
            let mut writer = BitWriter::with_capacity(0);
            for &(bits, count) in &words {
                writer.put(bits & low_bits(count), count);
            }
            let bytes = writer.flush();
            let mut reader = BitReader::new(bytes, 0);
            for &(bits, count) in &words {
                prop_assert_eq!(reader.take(count), bits & low_bits(count));
            }
            prop_assert_eq!(reader.position_bytes(), bytes.len());
        }

        #[test]
        fn scatter_undoes_gather(value: u64, mask: u64) {
            prop_assert_eq!(scatter(gather(value, mask), mask), value & mask);
        }
    }
}
