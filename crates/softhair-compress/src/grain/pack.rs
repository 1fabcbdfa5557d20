//! The reference for moving bits: one group of 64 magnitudes and signs to and from its fixed and variable part.
//!
//! Value `i` of a group is lane `i % 8` of row `i / 8`, so that eight lanes can be worked on at once.

use super::{
    GROUP, MAX_CLASS,
    bits::{BitReader, BitWriter, gather, scatter},
    shape::{Classes, Shape},
};

/// Appends one group. Magnitudes must not exceed [`Shape::largest`].
pub(super) fn pack(
    magnitudes: &[u32; GROUP],
    signs: u64,
    shape: Shape,
    fixed: &mut Vec<u8>,
    variable: &mut BitWriter,
) {
    fixed.extend_from_slice(&signs.to_le_bytes());
    for layer in 0..shape.nibble_layers() {
        for lane in 0..8 {
            let word = (0..8).fold(0u32, |word, row| {
                word | ((magnitudes[8 * row + lane] >> (4 * layer)) & 15) << (4 * row)
            });
            fixed.extend_from_slice(&word.to_le_bytes());
        }
    }
    for plane in 0..shape.low_planes() {
        let bit = 4 * shape.nibble_layers() + plane;
        fixed.extend_from_slice(&mask_of(magnitudes, |magnitude| (magnitude >> bit) & 1 == 1).to_le_bytes());
    }
    if shape.classes == Classes::Flat {
        return;
    }
    let at_least = |class: u32| mask_of(magnitudes, |m| shape.class(m >> shape.low_bits) >= class);
    let mut passed = at_least(1);
    fixed.extend_from_slice(&passed.to_le_bytes());
    for class in 2..=MAX_CLASS {
        if passed == 0 {
            break;
        }
        let next = at_least(class);
        variable.put(gather(next, passed), passed.count_ones());
        passed = next;
    }
    let wide = !at_least(shape.classes.wide());
    if shape.classes.wide() > 0 {
        let odd = mask_of(magnitudes, |magnitude| (magnitude >> shape.low_bits) & 1 == 1);
        variable.put(gather(odd, wide), wide.count_ones());
    }
}

/// Reads one group from its fixed part (of [`Shape::fixed_bytes`]) and the variable bits; gives the signs.
pub(super) fn unpack(
    fixed: &[u8],
    shape: Shape,
    variable: &mut BitReader<'_>,
    magnitudes: &mut [u32; GROUP],
) -> u64 {
    let mut words = fixed.chunks_exact(8).map(|word| {
        let mut raw = [0; 8];
        raw.copy_from_slice(word);
        u64::from_le_bytes(raw)
    });
    let mut word = || words.next().unwrap_or(0);
    let signs = word();
    magnitudes.fill(0);
    for layer in 0..shape.nibble_layers() {
        for pair in 0..4 {
            let two_lanes = word();
            for row in 0..8 {
                magnitudes[8 * row + 2 * pair] |= ((two_lanes >> (4 * row)) as u32 & 15) << (4 * layer);
                magnitudes[8 * row + 2 * pair + 1] |=
                    ((two_lanes >> (32 + 4 * row)) as u32 & 15) << (4 * layer);
            }
        }
    }
    for plane in 0..shape.low_planes() {
        add_where(magnitudes, word(), 1 << (4 * shape.nibble_layers() + plane));
    }
    if shape.classes == Classes::Flat {
        return signs;
    }
    let wide_classes = shape.classes.wide();
    let mut passed = word();
    let mut wide = if wide_classes > 0 { u64::MAX } else { 0 };
    for class in 1..=MAX_CLASS {
        if passed == 0 {
            break;
        }
        // Passing out of a wide class skips two high values.
        let width = if class <= wide_classes { 2 } else { 1 };
        add_where(magnitudes, passed, width << shape.low_bits);
        if class == wide_classes {
            wide = !passed;
        }
        passed = if class < MAX_CLASS { scatter(variable.take(passed.count_ones()), passed) } else { 0 };
    }
    if wide_classes > 0 {
        add_where(magnitudes, scatter(variable.take(wide.count_ones()), wide), 1 << shape.low_bits);
    }
    signs
}

fn mask_of(magnitudes: &[u32; GROUP], holds: impl Fn(u32) -> bool) -> u64 {
    magnitudes.iter().enumerate().fold(0, |mask, (i, &magnitude)| mask | u64::from(holds(magnitude)) << i)
}

fn add_where(magnitudes: &mut [u32; GROUP], mask: u64, amount: u32) {
    for (i, magnitude) in magnitudes.iter_mut().enumerate() {
        *magnitude += amount * ((mask >> i) & 1) as u32;
    }
}
