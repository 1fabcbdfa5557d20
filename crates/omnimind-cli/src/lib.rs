//! The command line of `omnimind-memory`: the binary `omnimind`, and the readers of tensor files that it trusts.
//!
//! ```
//! use std::process::ExitCode;
//!
//! // What `omnimind --version` does.
//! assert_eq!(omnimind_cli::run(["omnimind", "--version"]), ExitCode::SUCCESS);
//! ```
//!
//! | module | its idea |
//! |---|---|
//! | [`tensor_file`] | `.safetensors`, `.npy` and `.npz`: nothing taken on trust, written whole or not at all |
//! | `args` | what can be typed |
//! | `config` | the settings in effect, and where each came from |
//! | `session` | the consolidator that a verb works with |
//! | `verbs` | one module per verb |
//! | `record` | a memory as it is printed, in JSON and in tables |
//! | `demo` | the whole idea in one minute |
//! | `output` | results on stdout, the rest on stderr; colours, tables, units |
//! | `failure` | what went wrong, and its exit code |
//!
//! No verb holds an algorithm: what a memory is and how it is kept is the business of `omnimind-memory`.

// Paths are shown in quotes, and what is not UTF-8 in them escaped: that is what their Debug form does.
#![allow(clippy::unnecessary_debug_formatting)]

mod args;
mod config;
mod demo;
mod failure;
mod output;
mod record;
mod session;
mod signals;
pub mod tensor_file;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line and says how it ended. Never panics on what was typed.
pub fn run<I>(arguments: I) -> ExitCode
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    signals::survive_file_size_limits();
    verbs::run(arguments)
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
