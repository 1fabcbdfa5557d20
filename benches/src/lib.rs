//! Our side of the measurements: what `cargo xtask bench` drives, in a process of its own, in turns with the peers.
//!
//! - [`model`]: a model in memory, and passes of the codec over it.
//! - [`planes`]: smooth data, and passes of the codec over it.
//! - [`schroedinger`]: where that smooth data comes from.
//! - [`recall`]: bringing a whole model back from a store.
//! - [`large_file`]: a safetensors file of any size.
//!
//! Times are taken around the calls of our libraries only. Peers and judgements live elsewhere: `compression/peers.py`
//! and `xtask`.

pub mod large_file;
pub mod model;
pub mod planes;
pub mod recall;
pub mod schroedinger;
mod tally;

pub use tally::Tally;
