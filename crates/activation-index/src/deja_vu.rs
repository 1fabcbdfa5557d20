//! What an answer to "is this familiar?" says (R26). It is put together by the [`index`](crate::index).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::entry::{MemoryId, as_hex};

/// A memory that a query resembles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Familiarity {
    /// Which memory; in JSON in hexadecimal.
    #[serde(serialize_with = "as_hex")]
    pub id: MemoryId,
    /// How alike: see [`Metric`](crate::Metric).
    pub similarity: f32,
    /// What the memory is: its type.
    pub kind: String,
    /// How long ago it was stored; zero if that lies in the future. In JSON `age_seconds`.
    #[serde(rename = "age_seconds", serialize_with = "as_seconds")]
    pub age: Duration,
    /// Whether the asking context may recall it.
    pub recallable: bool,
    /// If not, why.
    pub reason_if_not: Option<String>,
    /// Whether this is a déjà vu: the similarity is above the threshold.
    pub familiar: bool,
    /// Whether the asking context is in the memory's trace. A recallable memory may be recalled from outside it too,
    /// and is then told so.
    pub in_trace: bool,
    /// What a sealed memory adds to the decision at hand. The index cannot know it; who can compute it fills it in.
    pub influence: Option<f32>,
}

impl Familiarity {
    /// What the asking context may do with it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::new(self.recallable, self.in_trace)
    }
}

/// What a context may do with a memory. Its `Display` is a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Recall it: the context is in its trace.
    InTrace,
    /// Recall it all the same: the context is outside its trace, and will be added to it.
    OutsideTrace,
    /// Not recall it: it is sealed, for whatever context.
    Sealed,
}

impl Standing {
    pub(crate) fn new(recallable: bool, in_trace: bool) -> Self {
        match (recallable, in_trace) {
            (false, _) => Self::Sealed,
            (true, true) => Self::InTrace,
            (true, false) => Self::OutsideTrace,
        }
    }

    /// Whether it may be recalled.
    #[must_use]
    pub fn allowed(self) -> bool {
        self != Self::Sealed
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InTrace => "may be recalled",
            Self::OutsideTrace => "may be recalled; this context is outside its trace and will be added",
            Self::Sealed => "sealed: only the holder of its key can open it",
        })
    }
}

fn as_seconds<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(age.as_secs_f64())
}
