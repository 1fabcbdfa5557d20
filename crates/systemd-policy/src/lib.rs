//! RAM and swap of services: what is so, what should be done about it, and doing it.
//!
//! | module | its idea |
//! |---|---|
//! | [`config`] | which services matter how much, and from when on something is to be done |
//! | [`observe`] | what is so: memory, swap, pressure, services; reads files, changes nothing |
//! | [`decide`] | what should be done, and why: a pure function of what was observed |
//! | [`act`] | doing it, checking that it took effect, and taking it back |
//! | [`monitor`] | the daemon: looks, decides, acts and tells, round after round |
//! | [`alerts`] | when to tell somebody, and how |
//! | [`units`] | drop-ins and the unit of the monitor: their text, installing and removing them |
//! | [`notify`] | what the daemon tells systemd: ready, alive, stopping |

pub mod act;
pub mod alerts;
pub mod config;
pub mod decide;
mod error;
pub mod monitor;
pub mod notify;
pub mod observe;
pub mod units;

pub use config::{Config, Priority, ServicePolicy};
pub use decide::{Action, Recommendation};
pub use error::{Error, Result};
pub use observe::Snapshot;
