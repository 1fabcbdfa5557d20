//! How similarity is measured and from where on it is familiar: the table `[index]` of `omnimind.toml`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::IndexError;

/// Settings of an [`ActivationIndex`](crate::ActivationIndex). Keys that are left out keep their default; unknown keys
/// are refused.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexConfig {
    /// A similarity *above* this is familiar; one equal to it is not. For cosine from -1 to 1.
    pub familiar_threshold: f32,
    /// How similarity is measured.
    pub metric: Metric,
    /// The part of the ten nearest that a search should find, on average, from 0.5 to 1. 1 means that every search is exact,
    /// and takes time in proportion to the number of signatures.
    pub recall: f32,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self { familiar_threshold: 0.5, metric: Metric::Cosine, recall: 0.99 }
    }
}

impl IndexConfig {
    /// Says whether an index can be made with this.
    ///
    /// # Errors
    /// [`IndexError::Threshold`] if no similarity can be compared with the threshold; [`IndexError::Recall`].
    pub fn validate(&self) -> Result<(), IndexError> {
        if !(0.5..=1.0).contains(&self.recall) {
            return Err(IndexError::Recall { value: self.recall });
        }
        let valid = match self.metric {
            Metric::Cosine => (-1.0..=1.0).contains(&self.familiar_threshold),
            Metric::InnerProduct => self.familiar_threshold.is_finite(),
        };
        if valid {
            return Ok(());
        }
        Err(IndexError::Threshold { value: self.familiar_threshold, metric: self.metric })
    }
}

/// How similarity is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The cosine of the angle: from -1 to 1, whatever the lengths.
    #[default]
    Cosine,
    /// The inner product of the vectors as they are: for embeddings whose length means something.
    InnerProduct,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cosine => "cosine",
            Self::InnerProduct => "inner_product",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R26
    #[test]
    fn the_default_is_cosine_above_a_half() {
        let config: IndexConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, IndexConfig { familiar_threshold: 0.5, metric: Metric::Cosine, recall: 0.99 });
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn a_threshold_out_of_reach_is_refused() {
        for (threshold, metric) in
            [(1.5, Metric::Cosine), (f32::NAN, Metric::Cosine), (f32::INFINITY, Metric::InnerProduct)]
        {
            let error = IndexConfig { familiar_threshold: threshold, metric, ..IndexConfig::default() }
                .validate()
                .unwrap_err()
                .to_string();
            assert!(error.contains("familiar_threshold") && error.contains(&metric.to_string()), "{error}");
        }
        assert_eq!(
            IndexConfig { familiar_threshold: 40.0, metric: Metric::InnerProduct, recall: 1.0 }.validate(),
            Ok(())
        );
    }

    #[test]
    fn unknown_keys_are_refused_and_metrics_are_named_in_snake_case() {
        assert!(serde_json::from_str::<IndexConfig>(r#"{"threshold": 0.5}"#).is_err());
        let config: IndexConfig = serde_json::from_str(r#"{"metric": "inner_product"}"#).unwrap();
        assert_eq!(config.metric, Metric::InnerProduct);
    }
}
