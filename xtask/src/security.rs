//! `security`: what breaking the encryption of a signature costs at least, by two estimates that do not share
//! a line.
//!
//! An attacker sees, for a secret that is used once, at most as many coefficients as the ring has dimensions:
//! one RLWE sample with a binary secret. Nothing is known that the ring makes easier than plain LWE, and that
//! is what is estimated.
//!
//! - The first is the formula of the crate `tfhe` for 132 bits, which its authors fitted to the lattice
//!   estimator.
//! - `attack`: the second, our own, of three attacks by lattice reduction.

mod attack;

use std::fmt;

use anyhow::{Context, Result};
use encrypted_unconscious::influence::{self, MODULUS_LOG2, NOISE_BOUND_LOG2};
use lexopt::{Arg, Parser};
use serde::Serialize;
use tfhe::core_crypto::commons::dispersion::DispersionParameter;
use tfhe::core_crypto::commons::noise_formulas::secure_noise;
use tfhe::core_crypto::commons::parameters::LweDimension;

use attack::{Attack, CostModel, Lwe};

/// Coefficients of the one-time key, and of the one ciphertext under it.
const RING_DIMENSION: u32 = influence::RING_DIMENSION as u32;

/// Parameters of `tfhe` with the same ring, modulus and error.
const SAME_IN_TFHE: &str = "V1_1_PARAM_MULTI_BIT_GROUP_2_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128";
/// What every attack has to cost at least, in every model.
const WANTED_BITS: f64 = 128.0;
/// Memories that share a mask, in the last line.
const SHARING_LOG2: u32 = 20;

#[derive(Debug, Serialize)]
struct Estimate {
    ring_dimension: u32,
    modulus_log2: u32,
    noise_bound_log2: u32,
    noise_variance: f64,
    tfhe: Tfhe,
    attacks: Vec<Attack>,
    /// Of the cheapest attack in the model that favours attackers most.
    least_bits: f64,
    wanted_bits: f64,
}

/// What `tfhe` asks for, for 132 bits.
#[derive(Debug, Serialize)]
struct Tfhe {
    /// With this ring dimension.
    least_noise_bound_log2: u32,
    /// With this ring dimension; never below what its authors take for the variance of `TUniform(3)`.
    least_noise_variance: f64,
    /// With this error.
    least_dimension: Option<u32>,
    same_parameters: &'static str,
}

/// Prints the estimate; true if it is what we promise.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let mut json = false;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let estimate = Estimate::of_ours()?;
    if json {
        println!("{}", serde_json::to_string(&estimate)?);
    } else {
        print!("{estimate}");
    }
    Ok(estimate.suffices())
}

impl Estimate {
    fn of_ours() -> Result<Self> {
        let noise_variance = t_uniform_variance(NOISE_BOUND_LOG2);
        let lwe = Lwe {
            dimension: RING_DIMENSION,
            samples: RING_DIMENSION,
            modulus_log2: f64::from(MODULUS_LOG2),
            // Zeros and ones, less one half.
            secret_deviation: 0.5,
            secret_values_log2: 1.0,
            error_deviation: noise_variance.sqrt(),
        };
        let mut attacks = Vec::new();
        for model in CostModel::ALL {
            attacks.extend(lwe.attacks(model).context("an attack does not succeed at any block size")?);
        }
        let least_bits = attacks.iter().map(|attack| attack.bits).fold(f64::INFINITY, f64::min);
        Ok(Self {
            ring_dimension: RING_DIMENSION,
            modulus_log2: MODULUS_LOG2,
            noise_bound_log2: NOISE_BOUND_LOG2,
            noise_variance,
            tfhe: Tfhe::new(RING_DIMENSION, MODULUS_LOG2, NOISE_BOUND_LOG2),
            attacks,
            least_bits,
            wanted_bits: WANTED_BITS,
        })
    }

    fn suffices(&self) -> bool {
        self.least_bits >= self.wanted_bits && self.noise_bound_log2 >= self.tfhe.least_noise_bound_log2
    }
}

impl Tfhe {
    fn new(dimension: u32, modulus_log2: u32, noise_bound_log2: u32) -> Self {
        let modulus = f64::from(modulus_log2).exp2();
        let lwe = |dimension: u32| LweDimension(dimension as usize);
        let bound = |dimension| {
            secure_noise::minimal_lwe_bound_for_132_bits_security_tuniform(lwe(dimension), modulus)
        };
        let variance =
            secure_noise::minimal_lwe_variance_for_132_bits_security_tuniform(lwe(dimension), modulus);
        Self {
            least_noise_bound_log2: bound(dimension),
            least_noise_variance: variance.get_modular_variance(modulus).value,
            least_dimension: (1..=dimension).find(|&dimension| bound(dimension) <= noise_bound_log2),
            same_parameters: SAME_IN_TFHE,
        }
    }
}

/// Of an error that is uniform between plus and minus two to the power of `bound_log2`, its ends half as
/// likely.
fn t_uniform_variance(bound_log2: u32) -> f64 {
    (f64::from(2 * bound_log2 + 1).exp2() + 1.0) / 6.0
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ring_dimension, modulus_log2, noise_bound_log2, noise_variance, tfhe, .. } = self;
        writeln!(
            f,
            "one RLWE sample: dimension {ring_dimension}, modulus 2^{modulus_log2}, a binary secret used once, \
             error TUniform({noise_bound_log2})\n"
        )?;
        writeln!(f, "tfhe's formula for 132 bits, against ours:")?;
        writeln!(
            f,
            "  error at least TUniform({}) at this dimension; TUniform({noise_bound_log2})",
            tfhe.least_noise_bound_log2
        )?;
        if let Some(least) = tfhe.least_dimension {
            writeln!(f, "  dimension at least {least} with this error; {ring_dimension}")?;
        }
        writeln!(
            f,
            "  variance at least {:.2}, its constant for TUniform(3) where less would do; {noise_variance:.2}",
            tfhe.least_noise_variance
        )?;
        writeln!(f, "  same ring, modulus and error: {}\n", tfhe.same_parameters)?;
        writeln!(
            f,
            "{:<14} {:<30} {:>5} {:>9} {:>7} {:>6}",
            "attack", "cost model", "block", "dimension", "guessed", "bits"
        )?;
        for Attack { name, model, block, dimension, guessed, bits } in &self.attacks {
            writeln!(f, "{name:<14} {model:<30} {block:>5} {dimension:>9} {guessed:>7} {bits:>6.1}")?;
        }
        let (least, wanted) = (self.least_bits, self.wanted_bits);
        let enough = if self.suffices() { "enough" } else { "NOT ENOUGH" };
        writeln!(f, "\nleast: {least:.1} bits; {wanted} wanted: {enough}")?;
        writeln!(
            f,
            "to break any one of 2^{SHARING_LOG2} memories under one mask: {:.1} bits or more",
            least - f64::from(SHARING_LOG2)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_parameters_are_as_secure_as_we_say() {
        let estimate = Estimate::of_ours().unwrap();
        assert!(estimate.suffices(), "{estimate}");
        assert!((estimate.least_bits - 181.0).abs() < 2.0, "{estimate}");
    }

    #[test]
    fn too_little_noise_or_too_few_bits_are_not_enough() {
        let estimate = Estimate::of_ours().unwrap();
        assert!(!Estimate { wanted_bits: 256.0, ..estimate }.suffices());
        let estimate = Estimate::of_ours().unwrap();
        let tfhe = Tfhe::new(2048, MODULUS_LOG2, NOISE_BOUND_LOG2);
        assert!(!Estimate { tfhe, ..estimate }.suffices());
    }

    #[test]
    fn the_formula_agrees_with_the_parameters_that_tfhe_ships() {
        // `V1_1_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128`: dimension 2048 with TUniform(17).
        assert_eq!(Tfhe::new(2048, 64, 17).least_noise_bound_log2, 17);
        let ours = Tfhe::new(RING_DIMENSION, MODULUS_LOG2, NOISE_BOUND_LOG2);
        assert_eq!((ours.least_noise_bound_log2, ours.least_dimension), (0, Some(2587)));
    }

    #[test]
    fn the_variance_is_that_of_the_distribution() {
        let likelihood = |error: i32| if error.abs() == 8 { 1.0 / 32.0 } else { 1.0 / 16.0 };
        let variance: f64 = (-8..=8).map(|error| likelihood(error) * f64::from(error * error)).sum();
        assert!((t_uniform_variance(3) - variance).abs() < 1e-12);
    }
}
