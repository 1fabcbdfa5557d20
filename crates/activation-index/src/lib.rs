//! Who may recall which memory, and what a query resembles.
//!
//! An [`ActivationIndex`] holds, in memory, what is needed to answer two questions about memories that lie elsewhere:
//!
//! - *May this process context recall that memory?* Its activation trace says so: looked up by context or by memory in
//!   constant time.
//! - *Is this familiar?* Signatures (embeddings) are searched for those that a query resembles most; above a threshold,
//!   it is a déjà vu.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use activation_index::{ActivationIndex, Entry, IndexConfig};
//!
//! let mut index = ActivationIndex::new(IndexConfig::default())?;
//! let stored_at = SystemTime::UNIX_EPOCH;
//! index.insert(Entry {
//!     contexts: vec!["trainer".into()],
//!     signature: Some(vec![1.0, 2.0, 2.0]),
//!     ..Entry::new([7; 32], "model", stored_at)
//! })?;
//!
//! let now = stored_at + Duration::from_secs(60);
//! let familiar = index.deja_vu("evaluator", &[1.0, 2.0, 1.5], 5, now)?;
//! assert!(familiar[0].familiar && familiar[0].similarity > 0.98);
//! assert_eq!(familiar[0].age, Duration::from_secs(60));
//! assert_eq!(familiar[0].standing().to_string(), "may be recalled; this context is outside its trace and will be added");
//! # Ok::<(), activation_index::IndexError>(())
//! ```
//!
//! | module | its idea |
//! |---|---|
//! | [`index`] | the whole: entries in, answers out |
//! | `trace` | which contexts may recall which memories, both ways |
//! | `signatures` | vectors of one dimension, and an exact scan over them |
//! | [`deja_vu`] | what an answer to "is this familiar?" says |
//! | [`config`] | how similarity is measured, and from where on it is familiar |
//!
//! The scan is exact: it compares with every signature of the query's dimension. The index holds no content, decides
//! nothing about layers, keeps nothing on disk and reads no clock.

pub mod config;
pub mod deja_vu;
pub mod error;
pub mod index;
mod signatures;
mod trace;

pub use config::{IndexConfig, Metric};
pub use deja_vu::{Familiarity, Standing};
pub use error::{IndexError, Role};
pub use index::{ActivationIndex, Entry, IndexStats, MemoryId, Neighbour, QueryFilter};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
