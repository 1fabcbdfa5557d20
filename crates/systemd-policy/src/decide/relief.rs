//! What makes room: ask, then reclaim, then limit; the least important services first, critical ones never but for asking.

use std::time::Duration;

use super::promise::{critical_bytes, part};
use super::strain::{EASED, Level};
use super::{Action, Candidate, LEAST_BYTES, Recommendation, Situation, mib};
use crate::config::Priority;

/// Where only pressure or swap is high, so much of RAM is made free: one part in so many.
const STEP_PART: u64 = 32;
/// A service is not limited to less than this, in bytes.
const LEAST_LIMIT_BYTES: u64 = 32 << 20;

/// What makes room under strain.
pub(super) fn relieve(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let mut need = need_bytes(situation);
    let asked = ask(situation, &mut need, all);
    let Situation { strain, stand, config, .. } = situation;
    // Pressure without full RAM comes from limits within it; taking from others would not help.
    if !strain.ram_short() {
        return;
    }
    let lately = Duration::from_secs(config.hold_s + 2 * config.interval_s);
    let tried = |action| stand.tried(action, lately);
    if asked && !tried(Action::AskToRelease) && strain.ram < Level::Critical {
        return;
    }
    let possible = reclaim(situation, &mut need, all);
    if tried(Action::Reclaim) || !possible {
        limit(situation, all);
    }
}

/// How much should be free in addition, in bytes.
fn need_bytes(situation: &Situation<'_>) -> u64 {
    let Situation { now, config, strain, .. } = situation;
    let (used, total) = (now.system.ram_used_bytes(), now.system.ram_total_bytes);
    let growth = strain.ram_soon.map_or(0, |bytes_per_s| (bytes_per_s * config.forecast_s as f64) as u64);
    let over = used.saturating_add(growth).saturating_sub(part(total, EASED * config.ram_high));
    over.max(total / STEP_PART).max(LEAST_BYTES)
}

/// Asks those that listen, until enough is asked for. Whether there is anybody to ask.
fn ask(situation: &Situation<'_>, need: &mut u64, all: &mut Vec<Recommendation>) -> bool {
    let Situation { strain, stand, .. } = situation;
    // A critical one is asked last, and only if it must be: only it knows what of its memory is not.
    let up_to = if strain.ram == Level::Critical { Priority::Critical } else { Priority::High };
    let mut anybody = false;
    for service in situation.expendable(up_to) {
        if service.policy.release_socket.is_none() || service.seen.rss_bytes < LEAST_BYTES {
            continue;
        }
        anybody = true;
        let bytes = service.seen.rss_bytes.min(*need);
        if bytes < LEAST_BYTES || stand.holds(service.name, Action::AskToRelease) {
            continue;
        }
        let rss = mib(service.seen.rss_bytes);
        let reason =
            format!("{}; {} more should be free, and it uses {rss} and can be asked", strain.why, mib(*need));
        *need -= bytes;
        all.push(Recommendation::new(service.name, Action::AskToRelease, bytes, reason));
    }
    anybody
}

/// Those that may be reclaimed or limited: never critical ones, important ones only where RAM is critical.
fn expendable<'a>(situation: &Situation<'a>) -> Vec<Candidate<'a>> {
    let critical = situation.strain.ram == Level::Critical;
    situation.expendable(if critical { Priority::High } else { Priority::Medium })
}

/// Reclaims, as far as swap has room below its threshold. Whether there is anything to reclaim, now or once it is not held.
fn reclaim(situation: &Situation<'_>, need: &mut u64, all: &mut Vec<Recommendation>) -> bool {
    let Situation { now, config, strain, stand } = situation;
    let system = &now.system;
    let swap_room =
        part(system.swap_total_bytes, EASED * config.swap_high).saturating_sub(system.swap_used_bytes());
    let mut room = if strain.swap { 0 } else { swap_room };
    let critical = critical_bytes(now, config);
    let mut possible = false;
    for service in expendable(situation) {
        let seen = service.seen;
        let own_room =
            seen.limits.swap_max_bytes.map_or(u64::MAX, |most| most.saturating_sub(seen.swap_bytes));
        let kept = critical.get(service.name).copied().unwrap_or_default();
        let bytes = seen.rss_bytes.saturating_sub(kept).min(room).min(own_room);
        if bytes < LEAST_BYTES {
            continue;
        }
        possible = true;
        let bytes = bytes.min(*need);
        if bytes < LEAST_BYTES || stand.holds(service.name, Action::Reclaim) {
            continue;
        }
        let reason = format!(
            "{}; {} more should be free, it uses {}, {} of it critical, and swap has room for {}",
            strain.why,
            mib(*need),
            mib(seen.rss_bytes),
            mib(kept),
            mib(room)
        );
        *need -= bytes;
        room -= bytes;
        all.push(Recommendation::new(service.name, Action::Reclaim, bytes, reason));
    }
    possible
}

/// Lets those that may be limited grow no further.
fn limit(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let Situation { strain, stand, .. } = situation;
    for service in expendable(situation) {
        let (name, rss) = (service.name, service.seen.rss_bytes);
        let bytes = rss.max(LEAST_LIMIT_BYTES);
        // One that is in effect is not changed, so that it does not creep after what it limits.
        let limited = service.seen.limits.high_bytes.is_some_and(|high| high <= bytes);
        let ours = stand.bytes(name, Action::Limit).is_some() && service.seen.limits.high_bytes.is_some();
        let small = service.seen.cgroup.is_none() || rss < LEAST_BYTES;
        if limited || ours || small || stand.holds(name, Action::Limit) {
            continue;
        }
        let reason = format!("{}; it uses {} and should not grow further", strain.why, mib(rss));
        all.push(Recommendation::new(name, Action::Limit, bytes, reason));
    }
}
