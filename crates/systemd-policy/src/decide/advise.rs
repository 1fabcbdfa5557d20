//! What people should do: nothing of it is done here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::promise::critical_bytes;
use super::{Action, LEAST_BYTES, Recommendation, Situation, mib};
use crate::config::Priority;

/// What `vm.swappiness` should be at most where services matter: the kernel then swaps only when the page cache is used up.
const SWAPPINESS: u32 = 10;

/// Slices that let no protection through, swappiness, and which service to restart.
pub(super) fn advise(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let Situation { now, strain, stand, .. } = situation;
    if strain.any() {
        open_slices(situation, all);
    }
    let services = situation.services();
    let important = services.iter().filter(|service| service.policy.priority >= Priority::High);
    let swapped = important.map(|service| service.seen.swap_bytes).fold(0, u64::saturating_add);
    let swappiness = now.system.swappiness.filter(|swappiness| *swappiness > SWAPPINESS);
    if let Some(swappiness) = swappiness.filter(|_| strain.swap || swapped >= LEAST_BYTES)
        && !stand.holds("", Action::Advise)
    {
        let reason = format!(
            "vm.swappiness is {swappiness}, and {} of important services are in swap; set it to {SWAPPINESS} \
             (sysctl vm.swappiness={SWAPPINESS})",
            mib(swapped)
        );
        all.push(Recommendation::new("", Action::Advise, 0, reason));
    }
    if !strain.swap {
        return;
    }
    // The largest among the least important ones that hold any; never a critical one.
    let holders = services.iter().filter(|service| {
        service.policy.priority < Priority::Critical && service.seen.swap_bytes >= LEAST_BYTES
    });
    let Some(service) = holders.min_by_key(|service| {
        (service.policy.priority.max(Priority::Medium), Reverse(service.seen.swap_bytes))
    }) else {
        return;
    };
    if !stand.holds(service.name, Action::Advise) {
        let swapped = service.seen.swap_bytes;
        let reason = format!(
            "{}; of the services that may be restarted it holds most, {} (systemctl restart {})",
            strain.why,
            mib(swapped),
            service.name
        );
        all.push(Recommendation::new(service.name, Action::Advise, swapped, reason));
    }
}

/// `MemoryLow=` of a service comes to nothing where its slice has none.
fn open_slices(situation: &Situation<'_>, all: &mut Vec<Recommendation>) {
    let Situation { now, config, strain, stand } = situation;
    let critical = critical_bytes(now, config);
    let mut slices: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for service in situation.services() {
        let bytes = critical.get(service.name).copied().unwrap_or_default();
        if let Some(ceiling) = &service.seen.low_ceiling {
            let (needed, _) = slices.entry(&ceiling.slice).or_insert((0, ceiling.low_bytes));
            *needed = needed.saturating_add(bytes);
        }
    }
    for (slice, (needed, low)) in slices {
        if needed < LEAST_BYTES || low >= needed || stand.holds(slice, Action::Advise) {
            continue;
        }
        let reason = format!(
            "{}; {slice} protects {} of what lies in it, and {} of that must stay in RAM, so MemoryLow= of its services does \
             not help fully (systemctl set-property --runtime {slice} MemoryLow={needed})",
            strain.why,
            mib(low),
            mib(needed)
        );
        all.push(Recommendation::new(slice, Action::Advise, needed, reason));
    }
}
