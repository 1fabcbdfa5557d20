//! What should be done, and why: a pure function of what was observed before and now, and of the configuration.

use serde::{Deserialize, Serialize};

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `MemorySwapMax=0`: nothing more of it goes to swap.
    KeepOutOfSwap,
    /// `MemoryLow=bytes`: so much of it is reclaimed last.
    Protect,
    /// Bring swapped pages back (`MADV_WILLNEED`), `bytes` of them.
    BringBack,
    /// Ask it, on its socket, to release so much.
    AskToRelease,
    /// Reclaim so much of it (`memory.reclaim`, or `MADV_PAGEOUT` page by page).
    Reclaim,
    /// `MemoryHigh=bytes`: above that it is slowed down and reclaimed.
    Limit,
    /// Take back what was set before on this service.
    Lift,
    /// For people: nothing is done. A service to restart, swappiness to lower.
    Advise,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The unit; empty for the whole machine.
    pub service: String,
    /// What.
    pub action: Action,
    /// How much, in bytes.
    pub bytes: u64,
    /// Why, with the numbers.
    pub reason: String,
}
