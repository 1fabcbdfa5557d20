//! End-to-end tests live in `tests/`; this crate holds what they share: the shipped tensors, read from `data/`.

pub mod attack;
mod directions;
mod faulty;
mod golden;
pub mod groups;
mod ledger;
pub mod matrix;
mod npy;
mod overlap;
pub mod phi;
pub mod queue;
mod rig;
mod safetensors;
mod shipped;
#[cfg(target_os = "linux")]
pub mod stand_in;
pub mod weights;

pub use directions::{direction, hash_of, nearest_of, remember};
pub use faulty::{CatalogueFault, FaultyCatalogue};
pub use golden::{GoldenCase, golden_cases, golden_dir};
pub use ledger::Ledger;
pub use npy::read_rows;
pub use overlap::{distinct_items, overlapping_item};
pub use rig::{Rig, context, rel_l2, upload};
pub use safetensors::{StoredTensor, read_tensors};
pub use shipped::{minilm_slice, sentence_embeddings};
