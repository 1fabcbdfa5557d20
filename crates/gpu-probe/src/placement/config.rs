//! The thresholds of placement: the table `[placement]` of `omnimind.toml`.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// From where on work goes to the CPU. Each is exceeded by more, not by as much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementConfig {
    /// Share of a card in use above which nothing more goes to it.
    pub most_used: f64,
    /// Bytes above which an allocation is large.
    pub large_bytes: u64,
    /// Share in use above which nothing large goes to it.
    pub most_used_for_large: f64,
    /// Share in use above which sentence-embedding models do not go to it.
    pub most_used_for_embeddings: f64,
    /// From which resemblance to what crashed on (0 to 1) work is kept off the card; above 1 never.
    pub felt_from: f32,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            most_used: 0.85,
            large_bytes: 200_000_000,
            most_used_for_large: 0.70,
            most_used_for_embeddings: 0.80,
            felt_from: 0.5,
        }
    }
}

impl PlacementConfig {
    /// # Errors
    /// [`Error::InvalidPlacement`] for a share that is none, or a resemblance that everything has.
    pub fn validate(&self) -> Result<(), Error> {
        let shares = [
            ("most_used", self.most_used),
            ("most_used_for_large", self.most_used_for_large),
            ("most_used_for_embeddings", self.most_used_for_embeddings),
        ];
        if let Some((name, value)) = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(Error::InvalidPlacement { name, value });
        }
        if self.felt_from > 0.0 {
            Ok(())
        } else {
            Err(Error::InvalidPlacement { name: "felt_from", value: f64::from(self.felt_from) })
        }
    }
}
