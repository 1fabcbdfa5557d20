//! Groups of tests under VRAM watch: what each test held, which was the first to run out, and how many fit at once.
//!
//! | module | its idea |
//! |---|---|
//! | [`admission`] | which tests may start now, so that what runs at once fits on the card |
//! | [`conclude`](conclude()) | from what was seen of a group to its report, with advice |
//! | [`config`] | `test-groups.toml`: the groups, and how each is to be run |
//! | [`gate`] | asks before each test that `nextest` starts, and becomes it |
//! | [`history`] | what tests needed in earlier runs |
//! | [`run`](run()) | runs groups: starts tests, follows what they print and hold, ends what they leave |
//! | [`vram`] | the two things this crate asks of its surroundings: a look at the card, and whether an output says "out of memory" |
//! | [`report`] | what a run was like, ready to be saved; as `JUnit` XML with the feature `junit` |
//! | `schema` | the JSON schemas of the configuration and of the report; with the feature `schema` |
//! | [`witness`] | what memory says of itself while tests run |

pub mod admission;
mod advice;
mod conclude;
pub mod config;
mod error;
pub mod gate;
pub mod history;
#[cfg(feature = "junit")]
mod junit;
mod process;
pub mod report;
mod run;
mod runners;
#[cfg(feature = "schema")]
pub mod schema;
mod size;
mod slope;
pub mod vram;
mod watch;
pub mod witness;

pub use admission::{Admission, Capacity, Start, Why};
pub use conclude::{Attempt, GroupRun, MOST_SAMPLES, Ran, conclude};
pub use config::{Concurrency, Config, Group, OnOutOfMemory, Runner};
pub use error::{Error, Result};
pub use history::History;
#[cfg(feature = "junit")]
pub use junit::junit;
pub use report::{GroupReport, Report, TestReport};
pub use run::{Event, Observer, Options, run};
pub use vram::{Forensics, Holder, Look, OutOfMemory, Vram};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
