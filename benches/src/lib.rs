//! Our side of the measurements: what `cargo xtask bench` drives, in a process of its own, in turns with the peers.
//!
//! - [`model`]: a model in memory, and passes of the codec over it.
//! - [`planes`]: smooth data, and passes of the codec over it.
//! - [`schroedinger`]: where that smooth data comes from.
//! - [`recall`]: bringing a whole model back from a store.
//! - [`large_file`]: a safetensors file of any size.
//! - [`gpu`]: the kernels on a card.
//! - [`forensics`]: logs of tests.
//! - [`monitor`]: looks at the memory of services.
//! - [`index`]: the activation index, and a peer in Rust.
//! - [`vectors`]: the vectors that are searched.
//!
//! Times are taken around the calls of our libraries only. Other peers and judgements live elsewhere: `compression/peers.py`,
//! `index/peers.py` and `xtask`.

pub mod forensics;
pub mod gpu;
pub mod index;
pub mod large_file;
pub mod model;
pub mod monitor;
pub mod planes;
pub mod recall;
pub mod schroedinger;
mod tally;
pub mod vectors;

pub use tally::Tally;

use std::io::{BufRead, Write, stdin, stdout};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Answers commands, one JSON object per line on stdin and stdout, until stdin ends. What fails is reported to who asked.
///
/// # Errors
/// If stdin or stdout does.
pub fn serve<C: DeserializeOwned>(mut run: impl FnMut(C) -> Result<Value>) -> Result<()> {
    for line in stdin().lock().lines() {
        let command = serde_json::from_str(&line?).context("reading a command");
        let answer = match command.and_then(&mut run) {
            Ok(answer) => answer,
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        let mut out = stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
