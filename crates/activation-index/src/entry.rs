//! What goes into an index and what comes out.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};

/// What a memory is known by: its content hash.
pub type MemoryId = [u8; 32];

/// What the index is told of a memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its content hash.
    pub id: MemoryId,
    /// What it is: its type.
    pub kind: String,
    /// Whether it may be recalled. A sealed one may not.
    pub recallable: bool,
    /// When it was stored.
    pub stored_at: SystemTime,
    /// The contexts that may recall it; naming one twice is naming it once.
    pub contexts: Vec<String>,
    /// Its embedding. Without one (a sealed memory has none that can be read) it takes part in traces only.
    pub signature: Option<Vec<f32>>,
}

impl Entry {
    /// A memory that may be recalled, with no trace and no signature yet.
    pub fn new(id: MemoryId, kind: impl Into<String>, stored_at: SystemTime) -> Self {
        Self { id, kind: kind.into(), recallable: true, stored_at, contexts: Vec::new(), signature: None }
    }
}

/// Which memories a query is about. What is left out does not matter; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryFilter {
    /// Only those with this context in their trace.
    pub context: Option<String>,
    /// Only those that may be recalled, or only those that may not.
    pub recallable: Option<bool>,
    /// Only those of this type.
    pub kind: Option<String>,
}

impl QueryFilter {
    pub(crate) fn admits_all(&self) -> bool {
        *self == Self::default()
    }
}

/// How hard a search tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Effort {
    /// As hard as the configured recall asks for: an exact scan where that is faster, else a walk of the graph, as wide as
    /// was measured when the graph was built.
    #[default]
    Calibrated,
    /// A walk of the graph that keeps so many candidates (what the literature calls ef), where there is a graph. For
    /// measurements.
    Width(u32),
    /// Compare with everything.
    Exact,
}

/// A memory and how alike it is to a query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Neighbour {
    /// Which memory; in JSON in hexadecimal.
    #[serde(serialize_with = "as_hex")]
    pub id: MemoryId,
    /// How alike: see [`Metric`](crate::Metric).
    pub similarity: f32,
}

/// An id as people write it.
pub(crate) struct Hex<'a>(pub(crate) &'a MemoryId);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub(crate) fn as_hex<S: Serializer>(id: &MemoryId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Hex(id))
}
