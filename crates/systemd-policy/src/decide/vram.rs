//! What makes room on the card: its memory is moved only by the process that has it, so those that listen are asked.

use super::promise::part;
use super::strain::EASED;
use super::{Action, LEAST_BYTES, Recommendation, Situation, mib};
use crate::config::Priority;

/// Asks one service that listens, the least important first. How much each holds on the card is not known, and one that is asked
/// releases only what lies idle; so all is asked of one, and the next one is asked only if that did not help.
pub(super) fn ask(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let Situation { now, config, strain, stand } = situation;
    let (Some(vram), Some(short)) = (now.vram, &strain.vram) else { return };
    let growth = (short.growth_bytes_per_s * config.forecast_s as f64) as u64;
    let kept = part(vram.total_bytes, EASED * config.vram_high);
    let need = vram.used_bytes.saturating_add(growth).saturating_sub(kept).min(vram.used_bytes);
    if need < LEAST_BYTES {
        return;
    }
    let listening = situation.expendable(Priority::Critical).into_iter();
    let mut listening = listening.filter(|service| service.policy.release_socket.is_some());
    if let Some(service) = listening.find(|service| !stand.holds(service.name, Action::AskToReleaseVram)) {
        let reason = format!("{}; {} should be free, and it can be asked", short.why, mib(need));
        all.push(Recommendation::new(service.name, Action::AskToReleaseVram, need, reason));
    }
}
