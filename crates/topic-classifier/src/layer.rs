//! The three layers of a memory, after Freud's first topography. This module names them; where the bytes of a
//! layer lie, and how they are sealed, is for others to know.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ClassifierError;

/// Where a memory lives and who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Live in VRAM. Nothing that was consolidated is here, so [`classify`](crate::Classifier::classify) never
    /// answers with it.
    Conscious,
    /// Moved out and compressed; can be recalled at will.
    Preconscious,
    /// Born of a failure; sealed, and unreadable by the process that lived it.
    Unconscious,
}

impl Layer {
    /// All layers, from the surface down.
    pub const ALL: [Self; 3] = [Self::Conscious, Self::Preconscious, Self::Unconscious];

    /// The lower-case name, as in JSON and in the catalogue.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conscious => "conscious",
            Self::Preconscious => "preconscious",
            Self::Unconscious => "unconscious",
        }
    }

    /// Whether the process that made a memory of this layer may read it again.
    #[must_use]
    pub const fn is_recallable(self) -> bool {
        !matches!(self, Self::Unconscious)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Layer {
    type Err = ClassifierError;

    /// Reads a layer's name, in any case.
    ///
    /// # Errors
    /// [`ClassifierError::UnknownLayer`] for any other word.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|layer| layer.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| ClassifierError::UnknownLayer { given: name.chars().take(40).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R1
    #[test]
    fn a_layer_is_spelled_the_same_in_text_and_in_json() {
        for layer in Layer::ALL {
            assert_eq!(layer.to_string().parse(), Ok(layer));
            assert_eq!(serde_json::to_string(&layer).unwrap(), format!("\"{layer}\""));
            assert_eq!(serde_json::from_str::<Layer>(&format!("\"{layer}\"")).unwrap(), layer);
        }
        assert_eq!("Unconscious".parse(), Ok(Layer::Unconscious));
    }

    #[test]
    fn an_unknown_layer_is_answered_with_the_names_there_are() {
        let error = "subconscious".parse::<Layer>().unwrap_err().to_string();
        assert!(error.contains("\"subconscious\"") && error.contains("preconscious"), "{error}");
    }

    // R1
    #[test]
    fn only_the_unconscious_may_not_be_recalled() {
        assert!(Layer::Conscious.is_recallable() && Layer::Preconscious.is_recallable());
        assert!(!Layer::Unconscious.is_recallable());
    }
}
