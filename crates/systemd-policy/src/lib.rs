//! RAM and swap of services: what is so, what should be done about it, and doing it.
//!
//! | module | its idea |
//! |---|---|
//! | [`config`] | which services matter how much, and from when on something is to be done |
//! | [`observe`] | what is so: memory, swap, pressure, services; reads files, changes nothing |
//! | [`decide`] | what should be done, and why: a pure function of what was observed |
//! | [`act`] | doing it, checking that it took effect, and taking it back |

pub mod act;
pub mod config;
pub mod decide;
mod error;
pub mod observe;

pub use config::{Config, Priority, ServicePolicy};
pub use decide::{Action, Recommendation};
pub use error::{Error, Result};
pub use observe::Snapshot;
