//! RAM and swap of services: what is so, what should be done about it, and doing it.
//!
//! | module | its idea |
//! |---|---|
//! | [`config`] | which services matter how much, and from when on something is to be done |
//! | [`observe`](mod@observe) | what is so: memory, swap, pressure, services; reads files, changes nothing |
//! | [`swap`] | who holds swap, and how much |
//! | [`history`] | the key numbers of the last looks, in a ring |
//! | [`forecast`] | when RAM, swap or the card's memory will be exhausted |
//! | [`decide`](mod@decide) | what should be done, and why: a pure function of what was observed |
//! | [`budget`] | what memory may be used, against what is |
//! | [`report`] | what the report says, as JSON |
//! | [`act`] | doing it, checking that it took effect, and taking it back |
//! | [`monitor`] | the daemon: looks, decides, acts and tells, round after round |
//! | [`alerts`] | when to tell somebody, and how |
//! | [`units`] | drop-ins and the unit of the monitor: their text, installing and removing them |
//! | [`notify`] | what the daemon tells systemd: ready, alive, stopping |

pub mod act;
pub mod alerts;
pub mod budget;
#[cfg(all(target_os = "linux", feature = "dbus"))]
mod bus;
pub mod config;
pub mod decide;
mod error;
pub mod forecast;
pub mod history;
pub mod monitor;
pub mod notify;
pub mod observe;
pub mod report;
pub mod swap;
pub mod units;

pub use config::{Config, Priority, ServicePolicy};
pub use decide::{Action, Recommendation, Standing, decide, remember};
pub use error::{Error, Result};
pub use history::History;
pub use observe::{Observer, Roots, Snapshot, observe};
pub use report::Report;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
