//! The binary as a user meets it: in one test binary, because linking takes longer than running.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod demo;
mod gpu;
mod index;
#[cfg(all(unix, feature = "homomorphic"))]
mod keyholder;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod memory_alerts;
mod mistakes;
mod oom_report;
mod sandbox;
#[cfg(unix)]
mod test_groups;
mod verbs;
