//! What can be wrong with a configuration or a layer's name. Classifying itself cannot fail.

use thiserror::Error;

/// Every error of this crate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// A weight or the threshold is negative, above 1, or not a number.
    #[error("classifier: {name} is {value}, but a score runs from 0 to 1; set it to a number from 0 to 1")]
    OutOfRange {
        /// The key as in the configuration file, such as `weights.crash`.
        name: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// A weight or the threshold has more decimal places than the exact sum keeps.
    #[error(
        "classifier: {name} is {value}, but scores are added exactly in millionths; round it to six decimal places"
    )]
    TooFine {
        /// The key as in the configuration file, such as `weights.crash`.
        name: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// Medium severity would weigh more than high severity.
    #[error(
        "classifier: weights.severity_medium is {medium}, more than weights.severity_high, which is {high}; \
         lower the one or raise the other"
    )]
    MediumAboveHigh {
        /// The weight of a medium severity.
        medium: f64,
        /// The weight of a high or critical severity.
        high: f64,
    },
    /// A name that is none of the three layers.
    #[error("there is no layer {given:?}; the layers are conscious, preconscious and unconscious")]
    UnknownLayer {
        /// The name that was given.
        given: String,
    },
}
