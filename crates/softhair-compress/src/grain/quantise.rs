//! Numbers to magnitudes of a step and back, and the steps themselves: the reference.
//!
//! Every operation here is one IEEE operation in the type of the data, in a fixed order, so that any machine and any
//! vector width makes the same bytes. Sums run over 32 lanes (value `i` in lane `i % 32`), then fold in halves.

use super::{BLOCK, GROUP};
use crate::real::Real;

/// A block in numbers; a short last block is padded with +0.
pub(crate) type Block<T> = [T; BLOCK];

/// A block in steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantised<T> {
    pub(super) magnitudes: [u32; BLOCK],
    /// One bit for each value, by group.
    pub(super) signs: [u64; BLOCK / GROUP],
    pub(super) largest: u32,
    /// Largest |x − x′|.
    pub(super) max_error: T,
    /// Σ ((x − x′) / step)².
    pub(super) squared_error_steps: T,
}

/// What the grain coder needs of a type beyond [`Real`].
pub(crate) trait Grain: Real {
    /// Most low bits, so that every magnitude is an exact number of this type.
    const MAX_LOW_BITS: u32;
    /// A power of two that brings values of this binary exponent to about 1; `None` where its square or inverse would
    /// leave the range of the type.
    fn prescale(exponent: i32) -> Option<Self>;
    /// The largest magnitude, not-a-number and infinity counting as larger than all others.
    fn largest_magnitude(values: &[Self]) -> Self;
    /// Binary exponent; `None` for zero and subnormal numbers.
    fn exponent(self) -> Option<i32>;
    /// Σ (x · prescale)².
    fn squared_norm(block: &Block<Self>, prescale: Self) -> Self;
    /// Rounds to multiples of `step`; `inverse` is 1 / `step`.
    fn quantise(block: &Block<Self>, step: Self, inverse: Self) -> Quantised<Self>;
    /// One value from its magnitude and sign.
    fn restore(magnitude: u32, negative: bool, step: Self) -> Self;
    /// The step of a block, `unit · 2^(−code/8)`.
    fn block_step(unit: Self, code: u8) -> Self;
    fn inverse(self) -> Self;
}

/// Quarter octaves of a mean square, that is, eighths of an octave of its root, rounded to the nearest.
///
/// Works on the bits, because logarithms differ between machines.
pub(super) fn level(mean_square: f32) -> i32 {
    // Mantissas of 2^(1/8), 2^(3/8), 2^(5/8), 2^(7/8): where rounding goes up.
    const STEPS: [u32; 4] = [0x000b_95c2, 0x0025_fed7, 0x0045_672a, 0x006a_c0c7];
    let bits = mean_square.to_bits();
    let mantissa = bits & 0x007f_ffff;
    let exponent = (bits >> 23) as i32 - 127;
    4 * exponent + STEPS.iter().filter(|&&step| mantissa >= step).count() as i32
}

/// 2^(−i/8).
const FRACTIONS: [f64; 8] = [
    1.0,
    0.917_004_043_204_671_2,
    0.840_896_415_253_714_5,
    0.771_105_412_703_970_4,
    std::f64::consts::FRAC_1_SQRT_2,
    0.648_419_777_325_504_8,
    0.594_603_557_501_360_5,
    0.545_253_866_332_628_8,
];

macro_rules! grain {
    ($type:ty, $bits:ty, $mantissa:expr, $bias:expr, $usable:expr, $max_low_bits:expr) => {
        impl Grain for $type {
            const MAX_LOW_BITS: u32 = $max_low_bits;

            fn prescale(exponent: i32) -> Option<Self> {
                let usable: std::ops::RangeInclusive<i32> = $usable;
                usable
                    .contains(&exponent)
                    .then(|| <$type>::from_bits((($bias - exponent) as $bits) << $mantissa))
            }

            fn largest_magnitude(values: &[Self]) -> Self {
                let largest =
                    values.iter().fold(0, |largest: $bits, value| largest.max(value.abs().to_bits()));
                <$type>::from_bits(largest)
            }

            fn exponent(self) -> Option<i32> {
                let exponent = (self.abs().to_bits() >> $mantissa) as i32;
                (exponent != 0).then_some(exponent - $bias)
            }

            fn squared_norm(block: &Block<Self>, prescale: Self) -> Self {
                let mut lanes = [0.0; 32];
                for row in block.as_chunks::<32>().0 {
                    for (lane, value) in lanes.iter_mut().zip(row) {
                        let scaled = value * prescale;
                        *lane += scaled * scaled;
                    }
                }
                fold(lanes, |a, b| a + b)
            }

            fn quantise(block: &Block<Self>, step: Self, inverse: Self) -> Quantised<Self> {
                let mut magnitudes = [0; BLOCK];
                let mut signs = [0; BLOCK / GROUP];
                let (mut squares, mut largest_error, mut largest) = ([0.0; 32], 0.0, 0);
                for (i, &value) in block.iter().enumerate() {
                    let steps = (value * inverse).abs().round_ties_even();
                    // A value beyond the range becomes an exception later; its error does not count then.
                    let magnitude = if steps < 2_147_483_648.0 { steps as u32 } else { 1 << 31 };
                    let error = (value - Self::restore(magnitude, value.is_sign_negative(), step)).abs();
                    // In steps, so that squares neither overflow nor vanish whatever the unit of the data.
                    let in_steps = error * inverse;
                    squares[i % 32] += in_steps * in_steps;
                    largest_error = if error > largest_error { error } else { largest_error };
                    largest = largest.max(magnitude);
                    magnitudes[i] = magnitude;
                    signs[i / GROUP] |= u64::from(value.is_sign_negative()) << (i % GROUP);
                }
                let squared_error_steps = fold(squares, |a, b| a + b);
                Quantised { magnitudes, signs, largest, max_error: largest_error, squared_error_steps }
            }

            fn restore(magnitude: u32, negative: bool, step: Self) -> Self {
                let value = magnitude as $type * step;
                if negative { -value } else { value }
            }

            fn block_step(unit: Self, code: u8) -> Self {
                let octaves = <$type>::from_bits((($bias - i32::from(code >> 3)) as $bits) << $mantissa);
                unit * FRACTIONS[usize::from(code & 7)] as $type * octaves
            }

            fn inverse(self) -> Self {
                1.0 / self
            }
        }
    };
}

// Usable exponents keep `unit` · 2^-32 and its inverse normal numbers.
grain!(f32, u32, 23, 127, -80..=100, 17);
grain!(f64, u64, 52, 1023, -900..=900, 24);

/// Adds 32 lanes in halves: 16 apart, 8 apart, …
fn fold<T: Copy>(mut lanes: [T; 32], join: impl Fn(T, T) -> T) -> T {
    let mut width = 16;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_rounded_eighths_of_an_octave() {
        for eighth in -300..=8 {
            let centre = 2f64.powf(f64::from(eighth) / 4.0);
            for nudge in [0.92, 1.0, 1.08] {
                assert_eq!(level((centre * nudge) as f32), eighth, "{eighth} {nudge}");
            }
        }
    }

    #[test]
    fn steps_shrink_by_eighths_of_an_octave() {
        for code in 0..=254u8 {
            let expected = 2f64.powf(-f64::from(code) / 8.0);
            assert!((f64::block_step(1.0, code) / expected - 1.0).abs() < 1e-12);
            assert!((f64::from(f32::block_step(1.0, code)) / expected - 1.0).abs() < 1e-6);
        }
    }
}
