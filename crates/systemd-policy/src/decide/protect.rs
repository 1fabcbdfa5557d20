//! What keeps critical memory in RAM: out of swap, protected, brought back; and the taking back of what was set.

use std::collections::BTreeSet;

use super::promise::{critical_bytes, part, promisable_bytes};
use super::strain::{EASED, Eased};
use super::{Action, LEAST_BYTES, Recommendation, Situation, mib};
use crate::config::Priority;

/// A protection is changed when what it should be differs from it by more than one part in so many.
const CHANGED_PART: u64 = 10;

/// Under strain: critical services are kept out of swap, and critical bytes protected, the most important first, as long as
/// there is RAM to promise.
pub(super) fn keep(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let Situation { now, config, strain, stand } = situation;
    let critical = critical_bytes(now, config);
    let services = situation.services();
    let bytes_of = |name: &str| critical.get(name).copied().unwrap_or_default();
    // What is promised already counts, whoever promised it.
    let low_of = |service: &super::Candidate<'_>| {
        let ours = stand.bytes(service.name, Action::Protect);
        service.seen.limits.low_bytes.or(ours).unwrap_or_default()
    };
    let is_kept = |service: &super::Candidate<'_>| service.seen.limits.swap_max_bytes == Some(0);
    let promised = |service: &super::Candidate<'_>| {
        let resident = if is_kept(service) { service.seen.rss_bytes } else { 0 };
        bytes_of(service.name).max(low_of(service)).max(resident)
    };
    let taken = services.iter().map(promised).fold(0, u64::saturating_add);
    // Where others promised too much, nothing is added to it.
    let Some(mut left) = promisable_bytes(now.system.ram_total_bytes).checked_sub(taken) else { return };
    for service in &services {
        if service.seen.cgroup.is_none() {
            continue;
        }
        let (name, rss) = (service.name, service.seen.rss_bytes);
        let (bytes, low) = (bytes_of(name), low_of(service));
        let more = rss.saturating_sub(promised(service));
        let in_swap = service.policy.priority == Priority::Critical && now.system.swap_total_bytes > 0;
        if in_swap && !is_kept(service) && rss >= LEAST_BYTES && more <= left {
            left -= more;
            if !stand.holds(name, Action::KeepOutOfSwap) {
                let reason = format!("{}; it is critical, and {} of it are in RAM", strain.why, mib(rss));
                all.push(Recommendation::new(name, Action::KeepOutOfSwap, rss, reason));
            }
        }
        // What somebody else promised is left as it is, unless it is too little.
        let ours = stand.bytes(name, Action::Protect).is_some();
        let differs = bytes.abs_diff(low) > bytes / CHANGED_PART && (ours || bytes > low);
        // It costs nothing here: `taken` has the larger of both.
        if bytes >= LEAST_BYTES && differs && !stand.holds(name, Action::Protect) {
            let share = service.policy.critical_share * 1e2;
            let reason = format!(
                "{}; {share:.0} % of its {} must stay in RAM, {} are protected",
                strain.why,
                mib(rss),
                mib(low)
            );
            all.push(Recommendation::new(name, Action::Protect, bytes, reason));
        }
    }
}

/// Where RAM has room: what is critical and lies in swap is brought back, the most important first.
pub(super) fn bring_back(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let Situation { now, config, strain, stand } = situation;
    if strain.eased < Eased::Ram {
        return;
    }
    let total = now.system.ram_total_bytes;
    let mut room = part(total, EASED * config.ram_high).saturating_sub(now.system.ram_used_bytes());
    for service in situation.services() {
        let seen = service.seen;
        let stay = part(seen.rss_bytes.saturating_add(seen.swap_bytes), service.policy.critical_share);
        let missing = stay.saturating_sub(seen.rss_bytes).min(seen.swap_bytes);
        let bytes = missing.min(room);
        let worth = service.policy.priority >= Priority::High && bytes >= LEAST_BYTES;
        if !worth || stand.holds(service.name, Action::BringBack) {
            continue;
        }
        let share = service.policy.critical_share * 1e2;
        let reason = format!(
            "{} of it are in swap, {} of which must be in RAM ({share:.0} % are critical); there is room for {}",
            mib(seen.swap_bytes),
            mib(missing),
            mib(room)
        );
        room -= bytes;
        all.push(Recommendation::new(service.name, Action::BringBack, bytes, reason));
    }
}

/// When all numbers stayed clearly below their thresholds: what was set is taken back, of one service in a look, so that what
/// that does is seen before the next. What is set on a service that is no longer configured is taken back at once.
pub(super) fn lift(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let Situation { config, strain, stand, now } = situation;
    let lasting = stand.standing.iter().filter(|noted| noted.action.lasts());
    let services: BTreeSet<&str> = lasting.map(|noted| noted.service.as_str()).collect();
    let mut free = services.into_iter().filter(|service| !stand.holds(service, Action::Lift));
    let orphan = |service: &&str| !config.services.contains_key(*service);
    let (orphans, configured): (Vec<&str>, Vec<&str>) = free.by_ref().partition(orphan);
    let reason = "it is no longer configured";
    all.extend(
        orphans.iter().map(|service| Recommendation::new(service, Action::Lift, 0, reason.to_owned())),
    );
    let limited = |service: &&str| stand.bytes(service, Action::Limit).is_none();
    if let Some(service) = configured.into_iter().min_by_key(limited).filter(|_| strain.eased == Eased::All) {
        let reason = format!(
            "for {} s RAM stayed below {:.1} % and swap below {:.1} %; now {:.1} % and {:.1} %",
            config.hold_s,
            EASED * config.ram_high * 1e2,
            EASED * config.swap_high * 1e2,
            now.system.ram_share() * 1e2,
            now.system.swap_share() * 1e2
        );
        all.push(Recommendation::new(service, Action::Lift, 0, reason));
    }
}
