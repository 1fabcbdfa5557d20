//! What is wrong in a round, and what it is like in one line.

use super::Round;
use crate::alerts::{Alerts, Kind};
use crate::config::Config;
use crate::forecast::Forecast;
use crate::history::{History, Sample};

/// The forecast looks at so many looks, as deciding does.
const LOOKS: usize = 24;

/// What of a look is compared with a threshold, 0 to 1.
type Share = fn(&Sample) -> f64;

/// Each kind that is seen in numbers: what is wrong, if anything, and what is well again when it is not.
///
/// A number is wrong when two looks one after the other are above its threshold, and well again when two are below.
pub(super) fn look(
    history: &History,
    config: &Config,
    alerts: &Alerts,
) -> Vec<(Kind, Option<String>, String)> {
    let percent = |share: f64| share * 1e2;
    let pressure: Share = |sample| sample.pressure_some_avg10.unwrap_or_default() / 1e2;
    let numbers: [(Kind, &str, f64, Share); 5] = [
        (Kind::RamCritical, "RAM", config.ram_critical, Sample::ram_share),
        (Kind::RamHigh, "RAM", config.ram_high, Sample::ram_share),
        (Kind::SwapHigh, "swap", config.swap_high, Sample::swap_share),
        (Kind::VramHigh, "VRAM", config.vram_high, Sample::vram_share),
        (Kind::PressureHigh, "waiting for memory", config.pressure_high_percent / 1e2, pressure),
    ];
    let mut seen: Vec<_> = numbers
        .into_iter()
        .map(|(kind, name, threshold, share)| {
            let looks: Vec<f64> = history.recent(2).map(share).collect();
            let above = looks.iter().filter(|share| **share >= threshold).count();
            let wrong = above == 2 || (above == 1 && alerts.is_wrong(kind));
            let now = looks.last().copied().unwrap_or_default();
            let text = match kind {
                Kind::PressureHigh => {
                    format!("tasks waited for memory {:.1} % of the last 10 s", percent(now))
                }
                _ => format!("{name} is {:.1} % used, at or above {:.1} %", percent(now), percent(threshold)),
            };
            (kind, wrong.then_some(text), format!("{name} is below {:.1} % again", percent(threshold)))
        })
        .collect();
    let forecast = Forecast::of(history.recent(LOOKS));
    let soon = |name: &str, outlook: &crate::forecast::Outlook| {
        let exhaustion = outlook.exhaustion()?;
        let text = format!(
            "{name} will be exhausted in about {:.0} s (not before {:.0} s)",
            exhaustion.likely_s, exhaustion.earliest_s
        );
        (exhaustion.likely_s <= config.forecast_s as f64).then_some(text)
    };
    // Memory that is half empty and fills is at work.
    let filled = |share: Share, high: f64| history.recent(1).all(|sample| share(sample) >= high / 2.0);
    let wrong = soon("RAM", &forecast.ram)
        .filter(|_| filled(Sample::ram_share, config.ram_high))
        .or_else(|| soon("swap", &forecast.swap))
        .or_else(|| soon("VRAM", &forecast.vram).filter(|_| filled(Sample::vram_share, config.vram_high)));
    seen.push((Kind::Forecast, wrong, "memory is not about to be exhausted any more".to_owned()));
    seen
}

/// What `systemctl status` shows.
pub(super) fn status(round: &Round) -> String {
    let system = &round.snapshot.system;
    let (ram, swap) = (system.ram_share() * 1e2, system.swap_share() * 1e2);
    let vram =
        round.snapshot.vram.map_or(String::new(), |vram| format!(", VRAM {:.1} %", vram.share() * 1e2));
    let (done, could_not) = (round.applied.done.len(), round.applied.could_not.len());
    format!(
        "RAM {ram:.1} %, swap {swap:.1} %{vram} used; this round: {done} done, {could_not} could not be done"
    )
}
