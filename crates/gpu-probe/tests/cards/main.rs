//! The same suite for every card: simulated, real where there is one, and a stand-in for NVIDIA's libraries
//! where there is not.
#![allow(clippy::unwrap_used)] // helpers of tests are tests
#![allow(unsafe_code)] // adopting memory is a promise about an address

mod conformance;
mod failing_driver;
mod kernels;
mod stand_in;
