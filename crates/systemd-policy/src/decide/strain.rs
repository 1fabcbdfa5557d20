//! Whether memory is short, or soon will be; and whether it has been clearly enough for a while.

use std::time::Duration;

use crate::config::Config;
use crate::forecast::{Forecast, Outlook};
use crate::history::{History, Sample, share};
use crate::observe::Snapshot;

/// A number is clearly below its threshold below this part of it.
pub(super) const EASED: f64 = 0.9;
/// For pressure, which swings more.
const PRESSURE_EASED: f64 = 0.5;
/// Looks nearer to each other than this count as one: the other numbers of the kernel are not older either.
const LEAST_SPAN: Duration = Duration::from_millis(500);
/// The forecast looks at so many looks. A change of course among them is followed when a third of them have seen it.
const LOOKS: usize = 24;
/// A forecast calls for action only from this part of the threshold on: an empty machine that fills is at work.
const FORECAST_FROM: f64 = 0.5;

/// How much of RAM is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Usual,
    High,
    Critical,
}

/// What was clearly below its thresholds for `hold_s`, and is not about to be exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Eased {
    Nothing,
    /// RAM and pressure, not swap.
    Ram,
    All,
}

/// What is short.
#[derive(Debug)]
pub(super) struct Strain {
    /// How much of RAM is used.
    pub(super) ram: Level,
    /// RAM will be exhausted soon; how much it grows until then, in bytes per second.
    pub(super) ram_soon: Option<f64>,
    /// Swap is high, or will be exhausted soon.
    pub(super) swap: bool,
    /// Tasks wait for memory.
    pub(super) pressure: bool,
    /// The card's memory is high, or will be exhausted soon. Nothing of it is about RAM, and nothing of RAM about it.
    pub(super) vram: Option<VramShort>,
    /// What has been clearly enough for a while.
    pub(super) eased: Eased,
    /// All that is so of RAM, swap and pressure, with the numbers.
    pub(super) why: String,
}

/// That the card's memory is short, or will be.
#[derive(Debug)]
pub(super) struct VramShort {
    /// By how much it grows, if it will be exhausted soon; else 0.
    pub(super) growth_bytes_per_s: f64,
    /// With the numbers.
    pub(super) why: String,
}

impl Strain {
    pub(super) fn of(now: &Snapshot, history: &History, config: &Config) -> Self {
        let last = Sample::of(now);
        let looks = Looks { last, history, config };
        let before = history.recent(LOOKS).filter(|sample| sample.at < last.at);
        let forecast = Forecast::of(before.chain(std::iter::once(&last)));
        let (ram, swap) = (last.ram_share(), last.swap_share());
        let waited = last.pressure_some_avg10.unwrap_or_default();
        let mut why = Vec::new();

        let critical = looks.all(|sample| sample.ram_share() >= config.ram_critical);
        let high = looks.all(|sample| sample.ram_share() >= config.ram_high);
        let level = match (critical, high) {
            (true, _) => Level::Critical,
            (false, true) => Level::High,
            (false, false) => Level::Usual,
        };
        if level > Level::Usual {
            let (level, from) =
                if critical { ("critical", config.ram_critical) } else { ("high", config.ram_high) };
            why.push(format!("RAM is {:.1} % used, {level} from {:.1} % on", ram * 1e2, from * 1e2));
        }
        let swap_high =
            last.swap_total_bytes > 0 && looks.all(|sample| sample.swap_share() >= config.swap_high);
        if swap_high {
            let from = config.swap_high * 1e2;
            why.push(format!("swap is {:.1} % used, high from {from:.1} % on", swap * 1e2));
        }
        let pressing = |sample: &Sample| {
            sample.pressure_some_avg10.is_some_and(|waited| waited >= config.pressure_high_percent)
        };
        let pressure = looks.all(pressing);
        if pressure {
            let from = config.pressure_high_percent;
            why.push(format!(
                "tasks waited for memory in {waited:.1} % of the last 10 s, high from {from:.1} % on"
            ));
        }
        let ram_soon = soon("RAM", forecast.ram, ram >= FORECAST_FROM * config.ram_high, config);
        let swap_soon = soon("swap", forecast.swap, swap >= FORECAST_FROM * config.swap_high, config);
        why.extend([&ram_soon, &swap_soon].into_iter().flatten().map(|(_, why)| why.clone()));

        let eased = |sample: &Sample| {
            sample.ram_share() < EASED * config.ram_high
                && sample.pressure_some_avg10.is_none_or(|waited| {
                    waited < (PRESSURE_EASED * config.pressure_high_percent).max(f64::MIN_POSITIVE)
                })
        };
        let ram_eased = ram_soon.is_none() && looks.for_hold(eased);
        let swap_eased = |sample: &Sample| {
            share(sample.swap_used_bytes, sample.swap_total_bytes) < EASED * config.swap_high
                || sample.swap_total_bytes == 0
        };
        let all_eased = ram_eased && swap_soon.is_none() && looks.for_hold(swap_eased);
        Self {
            ram: level,
            ram_soon: ram_soon.map(|(bytes_per_s, _)| bytes_per_s),
            swap: swap_high || swap_soon.is_some(),
            pressure,
            vram: vram(&looks, forecast.vram, config),
            eased: match (all_eased, ram_eased) {
                (true, _) => Eased::All,
                (false, true) => Eased::Ram,
                (false, false) => Eased::Nothing,
            },
            why: why.join("; "),
        }
    }

    /// Whether RAM is short, or will be.
    pub(super) fn ram_short(&self) -> bool {
        self.ram > Level::Usual || self.ram_soon.is_some()
    }

    /// Whether anything is short.
    pub(super) fn any(&self) -> bool {
        self.ram_short() || self.swap || self.pressure
    }
}

/// By how much it grows, in bytes per second, if it will be exhausted within `forecast_s`; and that in words. `near` says whether
/// enough is in use for that to be no ordinary work.
fn soon(name: &str, outlook: Outlook, near: bool, config: &Config) -> Option<(f64, String)> {
    let Outlook::Growing { bytes_per_s, exhausted: Some(end) } = outlook else { return None };
    if !near || end.likely_s > config.forecast_s as f64 {
        return None;
    }
    let why = format!(
        "{name} grows by {:.1} MiB/s and is exhausted in {:.0} s if it goes on so (95 %: {:.0} to {:.0} s), sooner than {} s",
        bytes_per_s / f64::from(1 << 20),
        end.likely_s,
        end.earliest_s,
        end.latest_s,
        config.forecast_s
    );
    Some((bytes_per_s, why))
}

fn vram(looks: &Looks<'_>, outlook: Outlook, config: &Config) -> Option<VramShort> {
    let share = looks.last.vram.filter(|vram| vram.total_bytes > 0)?.share();
    let from = config.vram_high;
    let high = looks
        .all(|sample| sample.vram_share() >= from)
        .then(|| format!("VRAM is {:.1} % used, high from {:.1} % on", share * 1e2, from * 1e2));
    let soon = soon("VRAM", outlook, share >= FORECAST_FROM * from, config);
    let growth_bytes_per_s = soon.as_ref().map_or(0.0, |(bytes_per_s, _)| *bytes_per_s);
    let why: Vec<String> = high.into_iter().chain(soon.map(|(_, why)| why)).collect();
    (!why.is_empty()).then(|| VramShort { growth_bytes_per_s, why: why.join("; ") })
}

/// This look and those before it.
struct Looks<'a> {
    last: Sample,
    history: &'a History,
    config: &'a Config,
}

impl Looks<'_> {
    /// The earlier ones, the latest first, with their age; those before a long gap say nothing about now.
    fn earlier(&self) -> impl Iterator<Item = (Duration, &Sample)> {
        let longest = Duration::from_secs(self.config.hold_s.max(2 * self.config.interval_s));
        let before = self.history.samples().rev().filter(|sample| sample.at < self.last.at);
        let aged = before.map(|sample| (self.last.at.saturating_sub(sample.at), sample));
        aged.take_while(move |(age, _)| *age <= longest)
    }

    /// Whether it is so in this look and the one before.
    fn all(&self, so: impl Fn(&Sample) -> bool) -> bool {
        if !so(&self.last) {
            return false;
        }
        for (age, sample) in self.earlier() {
            if !so(sample) {
                return false;
            }
            if age >= LEAST_SPAN {
                return true;
            }
        }
        false
    }

    /// Whether it was so in all looks of the last `hold_s`, of which there must be two.
    fn for_hold(&self, so: impl Fn(&Sample) -> bool) -> bool {
        self.all(&so) && self.earlier().all(|(_, sample)| so(sample))
    }
}
