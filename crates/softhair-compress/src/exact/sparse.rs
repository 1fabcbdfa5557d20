//! Chunks with many zeros: which elements are not zero (one bit each), and those elements alone.

use crate::{Error, Result};

/// A bit per element, low bit first, set where the element has any bit set; and those elements.
pub(super) fn split(element: usize, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut mask = Vec::with_capacity(bytes.len() / element / 8 + 1);
    let mut others = Vec::with_capacity(bytes.len());
    for eight in bytes.chunks(8 * element) {
        let mut bits = 0;
        for (index, value) in eight.chunks_exact(element).enumerate() {
            if value.iter().any(|byte| *byte != 0) {
                bits |= 1u8 << index;
                others.extend_from_slice(value);
            }
        }
        mask.push(bits);
    }
    (mask, others)
}

/// Bytes of the mask of `elements` elements.
pub(super) fn mask_bytes(elements: usize) -> usize {
    elements.div_ceil(8)
}

/// Elements that a mask names.
pub(super) fn count(mask: &[u8]) -> usize {
    mask.iter().map(|bits| bits.count_ones() as usize).sum()
}

/// Puts the elements that are not zero where the mask says. `others` holds as many as [`count`] found.
pub(super) fn merge(element: usize, mask: &[u8], others: &[u8], out: &mut [u8]) -> Result<()> {
    let wrong = || Error::Damaged("a zero mask names elements outside its chunk");
    let mut others = others.chunks_exact(element);
    let mut padding = 0;
    for (eight, bits) in out.chunks_mut(8 * element).zip(mask) {
        let mut bits = *bits;
        for slot in eight.chunks_exact_mut(element) {
            if bits & 1 == 0 {
                slot.fill(0);
            } else {
                slot.copy_from_slice(others.next().ok_or_else(wrong)?);
            }
            bits >>= 1;
        }
        padding |= if eight.len() == 8 * element { 0 } else { bits };
    }
    if padding == 0 { Ok(()) } else { Err(wrong()) }
}
