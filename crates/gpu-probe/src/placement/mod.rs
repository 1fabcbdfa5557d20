//! Where a piece of work should run: on which card, or on the CPU, and why. Asks no card; takes what is known and answers, so
//! that a card that is not there can be judged too.
//!
//! The rules, in this order; the first that says CPU ends it, for each card by itself:
//!
//! | rule | CPU if |
//! |---|---|
//! | [`NoGpu`](Rule::NoGpu) | there is no card |
//! | [`VramHigh`](Rule::VramHigh) | more than 85 % of the card is in use, or soon will be |
//! | [`LargeAllocation`](Rule::LargeAllocation) | more than 200 MB are wanted, and more than 70 % is in use |
//! | [`EmbeddingModel`](Rule::EmbeddingModel) | it is a sentence-embedding model, and more than 80 % is in use |
//! | [`DoesNotFit`](Rule::DoesNotFit) | the card has fewer free bytes than are wanted |
//! | [`ResemblesCrash`](Rule::ResemblesCrash) | it resembles what crashed, and its kind of work would go to the card |
//! | [`CpuWork`](Rule::CpuWork) | it is neither math, quantum, tensor nor embedding work |
//!
//! Otherwise it goes to the card, the emptiest of several that take it ([`GpuWork`](Rule::GpuWork)). More pressure never moves work
//! onto a card.
//!
//! ```
//! use gpu_probe::{CardState, PlacementConfig, Rule, TaskKind, Work, place};
//!
//! let work = Work::new(TaskKind::Math, 300_000_000);
//! let config = PlacementConfig::default();
//! let roomy = place(&work, &[CardState::hypothetical(0, 0.60)], &config);
//! assert_eq!((roomy.device.to_string().as_str(), roomy.rule), ("cuda:0", Rule::GpuWork));
//! let crowded = place(&work, &[CardState::hypothetical(0, 0.72)], &config);
//! assert_eq!((crowded.device.to_string().as_str(), crowded.rule), ("cpu", Rule::LargeAllocation));
//! ```

mod config;
mod task;

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::forecast::Trend;
use crate::info::MemoryInfo;
use crate::sampler::{Growth, Recorder, Sample};

pub use config::PlacementConfig;
pub use task::{TaskKind, Work};

/// What is known of a card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CardState {
    /// Its index.
    pub device: u32,
    /// Share in use now, 0 to 1.
    pub used_fraction: f64,
    /// Bytes that nobody holds; none if it is not known, and then nothing is too large.
    pub free_bytes: Option<u64>,
    /// Share that will be in use when the work begins, if somebody has a forecast: the middle of what is
    /// [expected](crate::forecast::Expected). Its upper end would send work away from every card that is merely restless, and
    /// what is in use now counts anyway.
    pub forecast_fraction: Option<f64>,
    /// Bytes that other processes hold, where the driver tells. Said in the reason; they count as used like all others.
    pub others_bytes: Option<u64>,
    /// The other process that took most while the card was watched, if it was and one did. Said in the reason; what it holds counts
    /// like all others'.
    pub growth: Option<Growth>,
}

impl CardState {
    /// A card as it is now.
    #[must_use]
    pub fn new(device: u32, memory: &MemoryInfo) -> Self {
        Self { free_bytes: Some(memory.free_bytes), ..Self::hypothetical(device, memory.used_fraction()) }
    }

    /// With where it is heading, so far ahead, and who took most, as far as a recorder has seen it.
    #[must_use]
    pub fn heading(self, seen: &Recorder, ahead: Duration) -> Self {
        let trend = Trend::of(seen.history(self.device).iter().filter_map(Sample::used_fraction));
        Self {
            forecast_fraction: trend.map(|trend| trend.expected_in(ahead).middle),
            growth: seen.growth(self.device).into_iter().next(),
            ..self
        }
    }

    /// A card of which only the share in use is known.
    #[must_use]
    pub fn hypothetical(device: u32, used_fraction: f64) -> Self {
        Self {
            device,
            used_fraction,
            free_bytes: None,
            forecast_fraction: None,
            others_bytes: None,
            growth: None,
        }
    }

    /// Now or soon, whichever is more. What is not a number counts as full.
    fn pressure(&self) -> f64 {
        let now = self.used_fraction.max(self.forecast_fraction.unwrap_or(0.0));
        if self.used_fraction.is_nan() || self.forecast_fraction.is_some_and(f64::is_nan) { 1.0 } else { now }
    }
}

/// Where work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// On the processor.
    Cpu,
    /// On the card with this index.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// CPU: there is no card.
    NoGpu,
    /// CPU: too much of it is in use.
    VramHigh,
    /// CPU: too much is wanted for how full it is.
    LargeAllocation,
    /// CPU: a sentence-embedding model can do without the rest of it.
    EmbeddingModel,
    /// CPU: the free bytes do not suffice.
    DoesNotFit,
    /// CPU: something like it has crashed.
    ResemblesCrash,
    /// CPU: it gains nothing from a card.
    CpuWork,
    /// The card.
    GpuWork,
}

impl Rule {
    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoGpu => "no_gpu",
            Self::VramHigh => "vram_high",
            Self::LargeAllocation => "large_allocation",
            Self::EmbeddingModel => "embedding_model",
            Self::DoesNotFit => "does_not_fit",
            Self::ResemblesCrash => "resembles_crash",
            Self::CpuWork => "cpu_work",
            Self::GpuWork => "gpu_work",
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A decision, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Placement {
    /// Where to run.
    pub device: Device,
    /// Which rule decided.
    pub rule: Rule,
    /// Why, in words.
    pub reason: String,
}

/// Decides. With several cards it is the emptiest that takes the work; if none does, the reason is that of the emptiest.
#[must_use]
pub fn place(work: &Work, cards: &[CardState], config: &PlacementConfig) -> Placement {
    let mut by_pressure: Vec<&CardState> = cards.iter().collect();
    by_pressure.sort_by(|a, b| a.pressure().total_cmp(&b.pressure()).then(a.device.cmp(&b.device)));
    let Some(emptiest) = by_pressure.first() else {
        return Placement { device: Device::Cpu, rule: Rule::NoGpu, reason: "there is no GPU".to_owned() };
    };
    let judged = |card: &CardState| {
        let rule = judge(work, card, config);
        let device = if rule == Rule::GpuWork { Device::Cuda(card.device) } else { Device::Cpu };
        Placement { device, rule, reason: reason(work, card, config, rule) }
    };
    let taken = by_pressure.iter().find(|card| judge(work, card, config) == Rule::GpuWork);
    judged(taken.unwrap_or(emptiest))
}

fn judge(work: &Work, card: &CardState, config: &PlacementConfig) -> Rule {
    let pressure = card.pressure();
    if pressure > config.most_used {
        Rule::VramHigh
    } else if work.bytes > config.large_bytes && pressure > config.most_used_for_large {
        Rule::LargeAllocation
    } else if work.kind == TaskKind::Embedding && pressure > config.most_used_for_embeddings {
        Rule::EmbeddingModel
    } else if card.free_bytes.is_some_and(|free| work.bytes > free) {
        Rule::DoesNotFit
    } else if !work.kind.gains_from_a_card() {
        Rule::CpuWork
    } else if work.influence >= config.felt_from {
        Rule::ResemblesCrash
    } else {
        Rule::GpuWork
    }
}

fn reason(work: &Work, card: &CardState, config: &PlacementConfig, rule: Rule) -> String {
    let percent = |fraction: f64| 100.0 * fraction;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let soon =
        if card.forecast_fraction.is_some_and(|soon| soon > card.used_fraction) { " soon" } else { "" };
    let others = card
        .others_bytes
        .filter(|&bytes| bytes > 0)
        .map_or_else(String::new, |bytes| format!(" ({:.0} MB of it by other processes)", megabytes(bytes)));
    let growth =
        card.growth.as_ref().filter(|growth| growth.more_bytes() > 0).map_or_else(String::new, |growth| {
            let name = growth.name.as_deref().unwrap_or("process");
            format!("; {name} ({}) just took {:.0} MB more", growth.pid, megabytes(growth.more_bytes()))
        });
    let used = format!("{:.1} % of cuda:{} is in use{soon}{others}", percent(card.pressure()), card.device);
    let why = match rule {
        Rule::NoGpu => return "there is no GPU".to_owned(),
        Rule::VramHigh => format!("{used}, more than {:.0} %", percent(config.most_used)),
        Rule::LargeAllocation => format!(
            "{:.0} MB are wanted, more than {:.0} MB, and {used}, more than {:.0} %",
            megabytes(work.bytes),
            megabytes(config.large_bytes),
            percent(config.most_used_for_large)
        ),
        Rule::EmbeddingModel => format!(
            "sentence-embedding models make room above {:.0} %, and {used}",
            percent(config.most_used_for_embeddings)
        ),
        Rule::DoesNotFit => format!(
            "{:.0} MB are wanted, and {:.0} MB of cuda:{} are free",
            megabytes(work.bytes),
            megabytes(card.free_bytes.unwrap_or_default()),
            card.device
        ),
        Rule::ResemblesCrash => {
            return format!(
                "it resembles what crashed, by at least {:.2}; from {:.2} on it is kept off the card",
                work.influence, config.felt_from
            );
        }
        Rule::CpuWork => return format!("{} work gains nothing from a card", work.kind),
        Rule::GpuWork => format!("{} work gains from a card, and {used}", work.kind),
    };
    why + &growth
}

#[cfg(test)]
mod tests;
