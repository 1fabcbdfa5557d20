//! What should be done, and why: a pure function of what was observed before and now, of what was done before, and of the
//! configuration.
//!
//! - Something is done only under strain: RAM, swap or pressure above its threshold in this look and the one before, or a
//!   forecast, from at least five looks, that RAM or swap is exhausted within `forecast_s`. One look alone never counts.
//! - Without strain only three things are said: bring critical pages back where RAM has room, lift what was set before, advice.
//! - First what is critical is protected. Then services are asked to release memory; if that was tried and the strain stays,
//!   the least important are reclaimed; if that was tried too, they are limited. Where RAM is critical, asking and reclaiming go
//!   together.
//! - A critical service is never reclaimed, limited or swapped.
//! - Where the card's memory is above its threshold in two looks, or a forecast says that it will be exhausted, services that
//!   listen are asked to release of it, one in a look and the least important first: nobody else can move what is on a card.
//! - What is promised to stay in RAM is never more than RAM less what the system needs, see [`promisable_bytes`].
//! - What was done to a service is not done again, changed or lifted for `hold_s`, and is lifted only when all numbers stayed
//!   clearly below their thresholds for as long.

mod advise;
mod promise;
mod protect;
mod relief;
mod standing;
mod strain;
mod vram;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Priority, ServicePolicy};
use crate::history::History;
use crate::observe::{Service, Snapshot};

pub use promise::{critical_bytes, promisable_bytes};
pub use standing::{Standing, remember};

/// Less than this is not worth an action, in bytes.
const LEAST_BYTES: u64 = 4 << 20;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `MemorySwapMax=0`: nothing more of it goes to swap. `bytes` is its resident memory, which so stays in RAM.
    KeepOutOfSwap,
    /// `MemoryLow=bytes`: so much of it is reclaimed last.
    Protect,
    /// Bring swapped pages back (`MADV_WILLNEED`), `bytes` of them.
    BringBack,
    /// Ask it, on its socket, to release so much RAM.
    AskToRelease,
    /// Ask it, on its socket, to release so much of the card's memory.
    AskToReleaseVram,
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

impl Recommendation {
    fn new(service: &str, action: Action, bytes: u64, reason: String) -> Self {
        Self { service: service.to_owned(), action, bytes, reason }
    }
}

/// What should be done now, the first thing first. `history` holds the looks before `now`, and may hold `now` too; `standing` is
/// what was done before and is still in effect or held, as [`remember`] keeps it.
#[must_use]
pub fn decide(
    now: &Snapshot,
    history: &History,
    standing: &[Standing],
    config: &Config,
) -> Vec<Recommendation> {
    let situation = Situation {
        now,
        config,
        strain: strain::Strain::of(now, history, config),
        stand: standing::Stand { standing, now: now.at, hold: std::time::Duration::from_secs(config.hold_s) },
    };
    let mut all = Vec::new();
    if situation.strain.any() {
        protect::keep(&situation, &mut all);
        relief::relieve(&situation, &mut all);
    }
    vram::ask(&situation, &mut all);
    protect::bring_back(&situation, &mut all);
    protect::lift(&situation, &mut all);
    advise::advise(&situation, &mut all);
    all
}

/// Everything that a rule may look at.
struct Situation<'a> {
    now: &'a Snapshot,
    config: &'a Config,
    strain: strain::Strain,
    stand: standing::Stand<'a>,
}

/// A configured service that is there.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    name: &'a str,
    policy: &'a ServicePolicy,
    seen: &'a Service,
}

impl<'a> Situation<'a> {
    /// The configured services that are there: the most important first, then by name.
    fn services(&self) -> Vec<Candidate<'a>> {
        candidates(self.now, self.config)
    }

    /// Those that may be made smaller, up to this priority: the least important first, then the largest.
    fn expendable(&self, up_to: Priority) -> Vec<Candidate<'a>> {
        let mut services = self.services();
        services.retain(|service| service.policy.priority <= up_to);
        services.sort_by_key(|service| (service.policy.priority, std::cmp::Reverse(service.seen.rss_bytes)));
        services
    }
}

fn candidates<'a>(now: &'a Snapshot, config: &'a Config) -> Vec<Candidate<'a>> {
    let with_policy = now
        .services
        .iter()
        .filter_map(|(name, seen)| config.services.get(name).map(|policy| Candidate { name, policy, seen }));
    let mut all: Vec<_> = with_policy.collect();
    all.sort_by_key(|service| std::cmp::Reverse(service.policy.priority));
    all
}

/// So many bytes, for a reader.
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
