//! What can be done to a system. Each deed tells what was so before, so that it can be taken back.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A limit of a unit's memory, by its property. `None` for its value means infinity throughout.
///
/// `MemoryLimit=` is not here because systemd has given it up, and `MemoryLock=` because there is no such property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// `MemoryLow=`, `memory.low`: reclaimed last.
    MemoryLow,
    /// `MemoryHigh=`, `memory.high`: above it the unit is slowed down and reclaimed.
    MemoryHigh,
    /// `MemoryMax=`, `memory.max`: beyond it the kernel kills. Read, never set while a unit runs.
    MemoryMax,
    /// `MemorySwapMax=`, `memory.swap.max`
    MemorySwapMax,
}

impl Limit {
    /// The name of its property, as in unit files and over D-Bus.
    #[must_use]
    pub const fn property(self) -> &'static str {
        match self {
            Self::MemoryLow => "MemoryLow",
            Self::MemoryHigh => "MemoryHigh",
            Self::MemoryMax => "MemoryMax",
            Self::MemorySwapMax => "MemorySwapMax",
        }
    }

    /// The name of its file in a cgroup.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::MemoryLow => "memory.low",
            Self::MemoryHigh => "memory.high",
            Self::MemoryMax => "memory.max",
            Self::MemorySwapMax => "memory.swap.max",
        }
    }

    /// As in a unit file: `MemoryHigh=1048576`.
    #[must_use]
    pub fn line(self, bytes: Option<u64>) -> String {
        format!("{}={}", self.property(), Amount(bytes))
    }
}

/// Bytes, or `infinity`.
pub(crate) struct Amount(pub(crate) Option<u64>);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{bytes}"),
            None => f.write_str("infinity"),
        }
    }
}

/// How long a process may take to release memory.
pub const RELEASE_PATIENCE: Duration = Duration::from_secs(20);

/// Which memory a process is asked to release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// RAM.
    #[default]
    Ram,
    /// That of a graphics card.
    Vram,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ram => "RAM",
            Self::Vram => "VRAM",
        })
    }
}

/// What the kernel says of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InEffect {
    /// This is in effect, in bytes.
    Now(Option<u64>),
    /// The unit does not run; the limit counts from when it starts.
    WhenItStarts,
    /// The unit has it, but an ancestor grants less, so less is in effect.
    Weakened {
        /// The cgroup that grants less, relative to the root of cgroups.
        ancestor: String,
        /// What it grants, in bytes.
        bytes: u64,
    },
}

/// How much there was before and after something was moved, in bytes: swap in use for what is brought back, memory in use
/// for what is reclaimed or released.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Before.
    pub before_bytes: u64,
    /// After.
    pub after_bytes: u64,
}

impl Moved {
    /// By how much it became less; 0 if it grew meanwhile.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.before_bytes.saturating_sub(self.after_bytes)
    }
}

/// What can be done to a system. Nothing here decides; nothing here is done to a unit that was not configured.
///
/// All methods: [`Error::Gone`](crate::Error::Gone) if there is no such unit (any more), and
/// [`Error::Refused`](crate::Error::Refused) with the next step if the system does not do it.
#[expect(clippy::missing_errors_doc, reason = "the same two for all, said above")]
pub trait Hands {
    /// What is set for a unit, in bytes.
    fn limit(&mut self, unit: &str, limit: Limit) -> Result<Option<u64>>;

    /// Sets it until the next boot, in bytes. Tells what was set before.
    fn set_limit(&mut self, unit: &str, limit: Limit, bytes: Option<u64>) -> Result<Option<u64>>;

    /// What the kernel says of it, as against what was asked for.
    fn in_effect(&mut self, unit: &str, limit: Limit) -> Result<InEffect>;

    /// Brings at most so many bytes of the unit's swapped pages back.
    fn bring_back(&mut self, unit: &str, bytes: u64) -> Result<Moved>;

    /// Reclaims so much of the unit's memory: the kernel writes it out where there is swap, or to its files.
    fn reclaim(&mut self, unit: &str, bytes: u64) -> Result<Moved>;

    /// Asks the unit, at its socket, to release so much. What it holds on a card cannot be seen from here: of VRAM, what it says
    /// that it released counts as released.
    fn ask_to_release(
        &mut self,
        unit: &str,
        socket: &Path,
        memory: Memory,
        bytes: u64,
        reason: &str,
    ) -> Result<Moved>;
}
