//! Chunks with many zeros: which elements are not zero (one bit each), and those elements alone.

use crate::{Error, Result};

/// A bit per element, low bit first, set where the element has any bit set; and those elements.
pub(super) fn split(element: usize, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match element {
        1 => split_as::<1>(bytes),
        2 => split_as::<2>(bytes),
        4 => split_as::<4>(bytes),
        _ => split_as::<8>(bytes),
    }
}

fn split_as<const N: usize>(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let elements = bytes.as_chunks::<N>().0;
    let mut others = vec![[0; N]; elements.len()];
    let mut count = 0;
    let mut mask = Vec::with_capacity(mask_bytes(elements.len()));
    for eight in elements.chunks(8) {
        let mut bits = 0;
        for (index, value) in eight.iter().enumerate() {
            // Written always and kept if it counts: a branch would be guessed wrong every other time.
            others[count] = *value;
            let kept = *value != [0; N];
            bits |= u8::from(kept) << index;
            count += usize::from(kept);
        }
        mask.push(bits);
    }
    others.truncate(count);
    (mask, others.into_flattened())
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
    let complete = match element {
        1 => merge_as::<1>(mask, others, out),
        2 => merge_as::<2>(mask, others, out),
        4 => merge_as::<4>(mask, others, out),
        _ => merge_as::<8>(mask, others, out),
    };
    if complete { Ok(()) } else { Err(Error::Damaged("a zero mask names elements outside its chunk")) }
}

/// `false` if the mask names elements beyond the end.
fn merge_as<const N: usize>(mask: &[u8], others: &[u8], out: &mut [u8]) -> bool {
    let others = others.as_chunks::<N>().0;
    let mut next = 0;
    let mut beyond = 0;
    for (eight, bits) in out.as_chunks_mut::<N>().0.chunks_mut(8).zip(mask) {
        let mut bits = *bits;
        for slot in eight {
            *slot = match others.get(next) {
                Some(value) if bits & 1 == 1 => *value,
                _ => [0; N],
            };
            next += usize::from(bits & 1);
            bits >>= 1;
        }
        beyond |= bits;
    }
    beyond == 0
}
