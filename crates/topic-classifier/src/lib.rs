//! Decides which layer a memory belongs to, and says why.
//!
//! A memory is what was consolidated instead of deleted. One that was born of a failure (an out-of-memory error,
//! a crash, a structural failure) may be *traumatic*: it goes to the Unconscious, where the process that lived
//! it cannot read it. Everything else goes to the Preconscious and can be recalled.
//!
//! The decision is a sum of weights, one per [`Factor`], and every answer carries its [`Reason`]s:
//!
//! ```
//! use topic_classifier::{Classifier, ClassifierConfig, ErrorKind, Layer, Signals};
//!
//! let classifier = Classifier::new(ClassifierConfig::default())?;
//! let answer = classifier.classify(&Signals {
//!     severity: Some("critical".into()),
//!     text: Some("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.".into()),
//!     ..Signals::default()
//! });
//!
//! assert_eq!(answer.layer, Layer::Unconscious);
//! assert_eq!(answer.error_kind, Some(ErrorKind::OutOfMemory));
//! assert_eq!(answer.trauma_score, 0.7); // 0.4 for the error, 0.3 for the severity
//! assert_eq!(answer.reasons[0].to_string(), "out_of_memory: \"torch.OutOfMemoryError\" in text adds 0.4");
//! # Ok::<(), topic_classifier::ClassifierError>(())
//! ```
//!
//! | module | its idea |
//! |---|---|
//! | [`layer`] | the three layers of a memory |
//! | [`config`] | weights and threshold, and what makes them valid |
//! | [`classify`] | signals in; layer, score and reasons out |
//! | [`kind`] | the classes of error that weigh |
//! | [`label`] | what short labels such as `oom` or `system-wide` mean |
//! | [`message`] | which errors a log or an exception message reports |
//!
//! The crate is pure: no files, no clock, no global state. It neither reads tensors nor moves anything.

pub mod classify;
pub mod config;
pub mod error;
pub mod kind;
pub mod label;
pub mod layer;
pub mod message;
mod pattern;

pub use classify::{Classification, Classifier, Factor, Reason, Signal, Signals};
pub use config::{ClassifierConfig, Weights};
pub use error::ClassifierError;
pub use kind::ErrorKind;
pub use layer::Layer;
pub use message::{Finding, findings};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
