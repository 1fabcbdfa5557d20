//! Groups of tests under VRAM watch: what each test held, which was the first to run out, and how many fit at once.
//!
//! | module | its idea |
//! |---|---|
//! | [`config`] | `test-groups.toml`: the groups, and how each is to be run |
//! | [`vram`] | the two things this crate asks of its surroundings: a look at the card, and whether an output says "out of memory" |
//! | [`report`] | what a run was like, ready to be saved |

pub mod config;
mod error;
pub mod report;
pub mod vram;

pub use config::{Concurrency, Config, Group, OnOutOfMemory, Runner};
pub use error::{Error, Result};
pub use report::{GroupReport, Report, TestReport};
pub use vram::{Forensics, Holder, Look, OutOfMemory, Vram};
