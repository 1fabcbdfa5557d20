//! What is to be placed.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// What kind of work it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// `math`
    Math,
    /// `quantum`
    Quantum,
    /// `tensor`
    Tensor,
    /// `embedding`: a sentence-embedding model.
    Embedding,
    /// Anything else, for example `io` or `text`.
    Other(String),
}

impl TaskKind {
    /// Whether a card makes it faster.
    #[must_use]
    pub fn gains_from_a_card(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl FromStr for TaskKind {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.trim().to_lowercase().as_str() {
            "math" => Self::Math,
            "quantum" => Self::Quantum,
            "tensor" => Self::Tensor,
            "embedding" | "embeddings" | "sentence-embedding" | "sentence_embedding" => Self::Embedding,
            other => Self::Other(other.to_owned()),
        })
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Math => "math",
            Self::Quantum => "quantum",
            Self::Tensor => "tensor",
            Self::Embedding => "embedding",
            Self::Other(name) => name,
        })
    }
}

impl Serialize for TaskKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A piece of work that is to be placed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Work {
    /// Its kind.
    pub kind: TaskKind,
    /// Bytes that it will want of a card.
    pub bytes: u64,
    /// How much it resembles what crashed, 0 to 1: what the Unconscious lets be known.
    pub influence: f32,
}

impl Work {
    /// Work that resembles nothing that crashed, as far as is known.
    #[must_use]
    pub fn new(kind: TaskKind, bytes: u64) -> Self {
        Self { kind, bytes, influence: 0.0 }
    }
}
