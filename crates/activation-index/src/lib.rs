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
//! | [`index`] | the whole: who is who, what was frozen and what came since seen as one |
//! | [`entry`] | what goes in and what comes out |
//! | `trace` | which contexts may recall which memories, both ways |
//! | `vector` | one vector: valid, exact, and rounded to bytes; how alike two are |
//! | `column` | the vectors of one dimension, one row each |
//! | `kernel` | products of bytes, with the instructions that the machine has |
//! | `scan` | the exact search: codes first, what they leave open in full precision |
//! | `graph` | rows linked to rows like them, and walks from one to the next |
//! | `search` | which way a search takes: scan, list or walk |
//! | `snapshot` | a frozen index in one file, searched where it lies |
//! | `frozen` | a snapshot, and what of it is gone since |
//! | [`compact`] | making the next snapshot |
//! | `directory` | the files of an index, and who may write them |
//! | [`stats`] | how much an index holds, and how it is searched |
//! | [`deja_vu`] | what an answer to "is this familiar?" says |
//! | [`config`] | how similarity is measured, from where on it is familiar, and how sure a search has to be |
//!
//! Few signatures are scanned, and the answer is exact. Many are searched by a graph, whose answers hold nearly all of the
//! nearest: as many as [`IndexConfig::recall`] asks for. What an index holds beyond that, it holds of memories that lie
//! elsewhere: it can be filled again from where they are. It decides nothing about layers, and reads no clock for an answer.

mod best;
mod bits;
mod column;
pub mod compact;
pub mod config;
pub mod deja_vu;
mod directory;
pub mod entry;
pub mod error;
mod frozen;
mod graph;
pub mod index;
mod kernel;
mod scan;
mod search;
mod snapshot;
pub mod stats;
mod trace;
mod vector;

pub use compact::{CompactOptions, CompactReport, LinkedBy};
pub use config::{IndexConfig, Metric};
pub use deja_vu::{Familiarity, Standing};
pub use entry::{Effort, Entry, MemoryId, Neighbour, QueryFilter};
pub use error::{IndexError, Role};
pub use index::{ActivationIndex, Opening};
pub use stats::{ColumnStats, GraphStats, IndexStats};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
