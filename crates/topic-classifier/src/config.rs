//! Weights and threshold: the table `[classifier]` of `omnimind.toml`. Says which values are valid; what they are
//! added up for is the business of [`classify`](crate::classify).
//!
//! Weights are decimal numbers, and decimal numbers added in binary drift: 0.1 + 0.2 is above 0.3. A memory must
//! not become traumatic by rounding, so weights are turned into whole millionths once and added as those.

use serde::{Deserialize, Serialize};

use crate::ClassifierError;

/// What the classifier weighs, and from where on a memory is traumatic.
///
/// ```toml
/// [classifier]
/// threshold = 0.5
///
/// [classifier.weights]
/// out_of_memory = 0.4
/// ```
///
/// Keys that are left out keep their default; unknown keys are refused.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierConfig {
    /// A score *above* this is traumatic; one equal to it is not. From 0 to 1; at 1 nothing is traumatic.
    pub threshold: f64,
    /// What each factor adds.
    pub weights: Weights,
}

/// What each factor adds to the trauma score, each from 0 to 1 with at most six decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// An out-of-memory error, on the device or on the host.
    pub out_of_memory: f64,
    /// A crash or a fatal error.
    pub crash: f64,
    /// A structural failure.
    pub structural_failure: f64,
    /// Severity `high` or `critical`.
    pub severity_high: f64,
    /// Severity `medium`; never more than `severity_high`.
    pub severity_medium: f64,
    /// Impact `high` or `system-wide`.
    pub impact_high: f64,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self { threshold: 0.5, weights: Weights::default() }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            out_of_memory: 0.4,
            crash: 0.5,
            structural_failure: 0.3,
            severity_high: 0.3,
            severity_medium: 0.15,
            impact_high: 0.2,
        }
    }
}

impl ClassifierConfig {
    /// Says whether a classifier can be made of this.
    ///
    /// # Errors
    /// The first value that is out of range, too fine to be added exactly, or contradicts another.
    pub fn validate(&self) -> Result<(), ClassifierError> {
        self.exact().map(drop)
    }

    /// The same in whole millionths, validated.
    pub(crate) fn exact(&self) -> Result<ExactConfig, ClassifierError> {
        let w = &self.weights;
        let exact = ExactConfig {
            threshold: Millionths::new("threshold", self.threshold)?,
            out_of_memory: Millionths::new("weights.out_of_memory", w.out_of_memory)?,
            crash: Millionths::new("weights.crash", w.crash)?,
            structural_failure: Millionths::new("weights.structural_failure", w.structural_failure)?,
            severity_high: Millionths::new("weights.severity_high", w.severity_high)?,
            severity_medium: Millionths::new("weights.severity_medium", w.severity_medium)?,
            impact_high: Millionths::new("weights.impact_high", w.impact_high)?,
        };
        if exact.severity_medium > exact.severity_high {
            return Err(ClassifierError::MediumAboveHigh {
                medium: w.severity_medium,
                high: w.severity_high,
            });
        }
        Ok(exact)
    }
}

/// A [`ClassifierConfig`] that was found valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExactConfig {
    pub(crate) threshold: Millionths,
    pub(crate) out_of_memory: Millionths,
    pub(crate) crash: Millionths,
    pub(crate) structural_failure: Millionths,
    pub(crate) severity_high: Millionths,
    pub(crate) severity_medium: Millionths,
    pub(crate) impact_high: Millionths,
}

/// A number from 0 to 1 in whole millionths, so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millionths(u32);

impl Millionths {
    const ONE: u32 = 1_000_000;
    pub(crate) const ZERO: Self = Self(0);

    fn new(name: &'static str, value: f64) -> Result<Self, ClassifierError> {
        if !(0.0..=1.0).contains(&value) {
            return Err(ClassifierError::OutOfRange { name, value });
        }
        let whole = (value * f64::from(Self::ONE)).round();
        let exact = Self(whole as u32);
        // Division rounds correctly, so what was written with up to six decimals comes back bit for bit.
        if exact.to_f64().to_bits() != (value + 0.0).to_bits() {
            return Err(ClassifierError::TooFine { name, value });
        }
        Ok(exact)
    }

    /// The double nearest to this number: for 400,000 millionths exactly what `0.4` is.
    pub(crate) fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE)
    }

    /// The sum, at most 1.
    pub(crate) fn plus_capped(self, other: Self) -> Self {
        Self((self.0 + other.0).min(Self::ONE))
    }
}

#[cfg(test)]
// Configuration is carried, not computed: equal means equal.
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut ClassifierConfig)) -> Result<(), ClassifierError> {
        let mut config = ClassifierConfig::default();
        change(&mut config);
        config.validate()
    }

    // R12
    #[test]
    fn the_defaults_are_the_starting_weights_and_valid() {
        let w = Weights::default();
        assert_eq!(
            [
                w.out_of_memory,
                w.crash,
                w.structural_failure,
                w.severity_high,
                w.severity_medium,
                w.impact_high
            ],
            [0.4, 0.5, 0.3, 0.3, 0.15, 0.2]
        );
        assert_eq!(ClassifierConfig::default().validate(), Ok(()));
        assert_eq!(ClassifierConfig::default().threshold, 0.5);
    }

    // R12
    #[test]
    fn a_weight_that_is_no_share_of_one_is_refused_by_name() {
        for bad in [-0.1, 1.000_001, f64::NAN, f64::INFINITY] {
            let error = with(|c| c.weights.crash = bad).unwrap_err();
            assert!(matches!(error, ClassifierError::OutOfRange { name: "weights.crash", .. }), "{error}");
            let error = with(|c| c.threshold = bad).unwrap_err();
            assert!(matches!(error, ClassifierError::OutOfRange { name: "threshold", .. }), "{error}");
        }
    }

    // R12
    #[test]
    fn six_decimals_are_exact_and_a_seventh_is_refused() {
        for ok in [0.0, -0.0, 1.0, 0.1, 0.3, 0.123_456, 0.000_001, 0.999_999] {
            assert_eq!(with(|c| c.weights.crash = ok), Ok(()), "{ok}");
        }
        for fine in [0.123_456_7, 1.0 / 3.0, 1e-9, 0.1 + 0.2] {
            let error = with(|c| c.weights.crash = fine).unwrap_err();
            assert!(matches!(error, ClassifierError::TooFine { .. }), "{error}");
        }
    }

    // R12
    #[test]
    fn medium_severity_may_not_weigh_more_than_high() {
        let error = with(|c| c.weights.severity_medium = 0.31).unwrap_err().to_string();
        assert!(error.contains("0.31") && error.contains("severity_high"), "{error}");
    }

    // R12
    #[test]
    fn a_table_may_name_some_keys_and_no_unknown_ones() {
        let config: ClassifierConfig =
            serde_json::from_str(r#"{"threshold": 1, "weights": {"crash": 0.75}}"#).unwrap();
        assert_eq!(config.threshold, 1.0);
        assert_eq!(config.weights, Weights { crash: 0.75, ..Weights::default() });
        let error = serde_json::from_str::<ClassifierConfig>(r#"{"weights": {"crsh": 1}}"#).unwrap_err();
        assert!(error.to_string().contains("crsh"), "{error}");
        assert!(serde_json::from_str::<ClassifierConfig>(r#"{"treshold": 1}"#).is_err());
    }
}
