//! The same suite for every card: simulated, real where there is one, and a stand-in for NVIDIA's libraries
//! where there is not.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod conformance;
mod stand_in;
