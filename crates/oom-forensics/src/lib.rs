//! Test logs to findings: which tests ran out of GPU memory, where, why, and what to do about it.
//!
//! [`Analyzer`] reads logs of pytest, nextest, `cargo test`, or of no runner at all, of any size, in one pass and constant
//! memory, and yields a [`Report`]. [`Comparison`] says whether a later run is what was wanted.
//!
//! | module | its idea |
//! |---|---|
//! | [`analyzer`] | logs in, plain or packed; a report out |
//! | `scan` | the few lines that may say something, found without looking at lines |
//! | `boundary` | what a line says about tests, in the words of three runners |
//! | [`oom`] | which out-of-memory message a line is, with every number in it |
//! | `run` | which test a line belongs to, and what counts as one error |
//! | [`cause`] | why memory ran out: a pure function of numbers |
//! | [`growth`] | whether memory in use grows over a run |
//! | [`patterns`] | known errors to look for: configuration |
//! | [`report`] | what a log says, ready to be saved |
//! | [`compare`] | before and after, against targets |
//! | `junit` | a report as a build server reads it (feature `junit`) |
//! | `schema` | the JSON schema of a report (feature `schema`) |
//! | `generate` | logs made to order, with what is to be found in them (feature `generate`) |
//!
//! A log is never wrong: whatever its bytes are, there is a report. Errors are about reading it, and about configuration.

mod advice;
pub mod analyzer;
mod boundary;
pub mod cause;
pub mod compare;
mod conclude;
mod error;
#[cfg(feature = "generate")]
pub mod generate;
pub mod growth;
mod input;
#[cfg(feature = "junit")]
pub mod junit;
mod line;
pub mod oom;
pub mod patterns;
pub mod report;
mod run;
mod scan;
#[cfg(feature = "schema")]
pub mod schema;
mod size;

pub use analyzer::{Analyzer, Config};
pub use cause::{Cause, Diagnosis, Thresholds, diagnose};
pub use compare::{Comparison, Measure, Targets, Verdict};
pub use error::{Error, Result};
pub use growth::Growth;
pub use patterns::{Patterns, Severity};
pub use report::Report;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
