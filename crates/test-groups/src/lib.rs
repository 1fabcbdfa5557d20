//! Groups of tests under VRAM watch: what each test held, which was the first to run out, and how many fit at once.
//!
//! | module | its idea |
//! |---|---|
//! | [`admission`] | which tests may start now, so that what runs at once fits on the card |
//! | [`conclude`](conclude()) | from what was seen of a group to its report, with advice |
//! | [`config`] | `test-groups.toml`: the groups, and how each is to be run |
//! | [`history`] | what tests needed in earlier runs |
//! | [`vram`] | the two things this crate asks of its surroundings: a look at the card, and whether an output says "out of memory" |
//! | [`report`] | what a run was like, ready to be saved |

pub mod admission;
mod advice;
mod conclude;
pub mod config;
mod error;
pub mod history;
pub mod report;
mod size;
mod slope;
pub mod vram;

pub use admission::{Admission, Capacity, Start, Why};
pub use conclude::{Attempt, GroupRun, MOST_SAMPLES, Ran, conclude};
pub use config::{Concurrency, Config, Group, OnOutOfMemory, Runner};
pub use error::{Error, Result};
pub use history::History;
pub use report::{GroupReport, Report, TestReport};
pub use vram::{Forensics, Holder, Look, OutOfMemory, Vram};
