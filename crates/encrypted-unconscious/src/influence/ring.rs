//! Products in Z\[X\]/(X⁴⁰⁹⁶ + 1) modulo 2⁶⁴ of a public mask and a polynomial of small coefficients. Exact, by
//! number-theoretic transforms of the two halves of each coefficient of the mask modulo one prime of 50 bits.

use std::sync::{LazyLock, OnceLock};

use tfhe_ntt::prime64::Plan;
use zeroize::Zeroizing;

use super::parameters::{MAX_DIMENSION, RING_DIMENSION};

/// Derives the masks. Whoever changes it cannot read what was encrypted before.
const MASK_CONTEXT: &str = "omnimind-memory 2026 influence mask v1";

/// The largest prime below 2⁵⁰ that is 1 modulo 2 · 4096. Products of halves (at most 2³¹ in magnitude) with digits
/// (at most 2⁵) sum to at most 2⁴⁸ over 4096 coefficients, so none is larger than half of it.
pub(super) const PRIME: u64 = 1_125_899_906_826_241;

/// Largest coefficient, in magnitude, that a mask may be multiplied with.
pub(super) const LARGEST_SMALL: i64 = 32;

/// Masks that there are: one for each 4096 dimensions of a signature.
const BLOCKS: usize = MAX_DIMENSION / RING_DIMENSION;

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a test multiplies with this very prime and degree")]
    Plan::try_new(RING_DIMENSION, PRIME).expect("the prime has roots of unity of order 2 * 4096")
});

static MASKS: [OnceLock<Mask>; BLOCKS] = [const { OnceLock::new() }; BLOCKS];

/// A public random polynomial, the same for everybody, ready to be multiplied with.
#[derive(Debug)]
pub(super) struct Mask {
    /// Transforms of the lower and upper 32 bits of each coefficient.
    low: Vec<u64>,
    high: Vec<u64>,
}

impl Mask {
    /// The mask of coordinates 4096 · `block` and following.
    pub(super) fn of_block(block: usize) -> &'static Self {
        MASKS[block].get_or_init(|| Self::of(&coefficients(block)))
    }

    fn of(coefficients: &[u64]) -> Self {
        let halves = |half: fn(u64) -> i64| {
            let mut values: Vec<u64> = coefficients.iter().map(|&value| residue(half(value))).collect();
            PLAN.fwd(&mut values);
            values
        };
        Self {
            low: halves(|value| i64::from(value as i32)),
            // What the lower half lacks where it counts as negative.
            high: halves(|value| i64::from((value.wrapping_sub(value as i32 as u64) >> 32) as i32)),
        }
    }

    /// Adds the product of the mask and `small` to `sum`, modulo 2⁶⁴ and X⁴⁰⁹⁶ + 1. Where `sum` is shorter, only its first
    /// coefficients are wanted.
    pub(super) fn multiply_into(&self, small: &[i64], sum: &mut [u64]) {
        debug_assert!(small.iter().all(|value| value.abs() <= LARGEST_SMALL));
        self.multiply_residues_into(small.iter().map(|&value| residue(value)).collect(), sum);
    }

    /// As [`multiply_into`](Self::multiply_into), by 0 and 1. They may be secret: no copy of them is left behind.
    pub(super) fn multiply_bits_into(&self, bits: &[u64], sum: &mut [u64]) {
        debug_assert!(bits.iter().all(|&bit| bit <= 1));
        self.multiply_residues_into(bits.to_vec(), sum);
    }

    fn multiply_residues_into(&self, residues: Vec<u64>, sum: &mut [u64]) {
        let mut low = Zeroizing::new(residues);
        PLAN.fwd(&mut low);
        let mut high = low.clone();
        PLAN.mul_assign_normalize(&mut low, &self.low);
        PLAN.mul_assign_normalize(&mut high, &self.high);
        PLAN.inv(&mut low);
        PLAN.inv(&mut high);
        for ((sum, &low), &high) in sum.iter_mut().zip(low.iter()).zip(high.iter()) {
            let product = (integer(low) as u64).wrapping_add((integer(high) as u64) << 32);
            *sum = sum.wrapping_add(product);
        }
    }
}

/// The coefficients of a mask: nothing up anybody's sleeve.
pub(super) fn coefficients(block: usize) -> Vec<u64> {
    let mut hasher = blake3::Hasher::new_derive_key(MASK_CONTEXT);
    hasher.update(&(block as u32).to_le_bytes());
    let mut bytes = vec![0; RING_DIMENSION * 8];
    hasher.finalize_xof().fill(&mut bytes);
    bytes.as_chunks().0.iter().map(|&chunk| u64::from_le_bytes(chunk)).collect()
}

/// Without a branch, because it also sees secrets.
fn residue(value: i64) -> u64 {
    (value as u64).wrapping_add(PRIME & ((value >> 63) as u64))
}

/// The integer of least magnitude with this residue.
fn integer(residue: u64) -> i64 {
    let above_half = ((PRIME / 2).wrapping_sub(residue) as i64) >> 63;
    (residue as i64).wrapping_sub(PRIME as i64 & above_half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, for some coefficients of the product.
    fn coefficient(mask: &[u64], small: &[i64], at: usize) -> u64 {
        small.iter().enumerate().fold(0u64, |sum, (i, &value)| {
            let (index, sign) = if i <= at { (at - i, 1) } else { (RING_DIMENSION + at - i, -1) };
            sum.wrapping_add(mask[index].wrapping_mul((value * sign) as u64))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_product_is_that_of_the_definition(
            mask in prop::collection::vec(any::<u64>(), RING_DIMENSION),
            small in prop::collection::vec(-LARGEST_SMALL..=LARGEST_SMALL, RING_DIMENSION),
            start in any::<u64>(),
        ) {
            let mut sum = vec![start; RING_DIMENSION];
            Mask::of(&mask).multiply_into(&small, &mut sum);
            for at in [0, 1, 2, 1000, RING_DIMENSION / 2, RING_DIMENSION - 1] {
                prop_assert_eq!(sum[at], start.wrapping_add(coefficient(&mask, &small, at)), "{}", at);
            }
        }
    }

    #[test]
    fn the_largest_products_do_not_wrap_around_the_prime() {
        for value in [u64::MAX, 0x8000_0000, 0x7fff_ffff, 0x8000_0000_8000_0000, 0x7fff_ffff_8000_0000] {
            for small in [LARGEST_SMALL, -LARGEST_SMALL] {
                let (mask, small) = (vec![value; RING_DIMENSION], vec![small; RING_DIMENSION]);
                let mut sum = vec![0; RING_DIMENSION];
                Mask::of(&mask).multiply_into(&small, &mut sum);
                for at in [0, RING_DIMENSION / 2, RING_DIMENSION - 1] {
                    assert_eq!(sum[at], coefficient(&mask, &small, at), "{value:x} {at}");
                }
            }
        }
    }

    #[test]
    fn masks_of_two_blocks_are_different_and_always_the_same() {
        let first = coefficients(0);
        assert_ne!(first, coefficients(1));
        // What is encrypted must stay readable: this is a constant of the format.
        assert_eq!(first[..2], [0x41a0_ac6c_5a92_7322, 0xf309_6f70_7eeb_3e2c]);
    }
}
