//! What this crate asks of its surroundings, so that it knows neither a driver nor a log format: a look at the card, and
//! whether an output says "out of memory".

use std::io::Read;

use serde::{Deserialize, Serialize};

/// Looks at cards, as often as it is asked: from one thread, every 50 ms.
pub trait Vram: Send {
    /// What is looked at, in a few words: `"cuda"`, `"simulated"`, `"none"`.
    fn source(&self) -> String;

    /// What is held of the card `device` now.
    ///
    /// # Errors
    ///
    /// Why nothing was seen: there is no such card, or it does not answer. A look that fails is a gap, no reason to stop.
    fn look(&mut self, device: u32) -> Result<Look, String>;
}

/// One look at one card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// The size of the card in bytes.
    pub total_bytes: u64,
    /// Bytes in use, by whomever.
    pub used_bytes: u64,
    /// Who holds them; `None` where the driver does not tell.
    pub holders: Option<Vec<Holder>>,
}

/// A process that holds memory of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its number, as this machine sees it.
    pub pid: u32,
    /// How much, in bytes; `None` where the driver does not tell.
    pub used_bytes: Option<u64>,
}

/// Reads what a test printed.
pub trait Forensics: Send + Sync {
    /// Whether the output of one test says that a device ran out of memory. The output may be long, and hold any bytes: it is
    /// read once, from the beginning, in constant memory.
    fn out_of_memory(&self, output: &mut dyn Read) -> Option<OutOfMemory>;
}

/// An out-of-memory error of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutOfMemory {
    /// Its line, shortened.
    pub message: String,
    /// Why memory ran out, in a word of the reader: `"competing_processes"`.
    pub cause: Option<String>,
    /// What was asked for, in bytes, if the message says so.
    pub requested_bytes: Option<u64>,
}
