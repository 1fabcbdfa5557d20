//! What was last done to each service, and since when: what keeps decisions from flapping.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, Recommendation};

/// What was last done to a service. With [`Action::Lift`]: that all was taken back, which is remembered for as long as any measure
/// is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The unit; empty for the whole machine.
    pub service: String,
    /// What was done.
    pub action: Action,
    /// How much, in bytes.
    pub bytes: u64,
    /// When, since the system was started.
    pub since: Duration,
}

/// Notes that a recommendation took effect at this time. What was noted for the same service and action is replaced; a
/// [`Action::Lift`] replaces the service's lasting measures. So there are never more notes than services times actions.
pub fn remember(standing: &mut Vec<Standing>, done: &Recommendation, at: Duration) {
    standing.retain(|noted| {
        noted.service != done.service
            || !(noted.action == done.action
                || (done.action == Action::Lift && noted.action.lasts())
                || (noted.action == Action::Lift && done.action.lasts()))
    });
    let (service, action, bytes) = (done.service.clone(), done.action, done.bytes);
    standing.push(Standing { service, action, bytes, since: at });
}

impl Action {
    /// Whether it stays in effect until it is lifted; the others are done once.
    #[must_use]
    pub fn lasts(self) -> bool {
        matches!(self, Self::KeepOutOfSwap | Self::Protect | Self::Limit)
    }
}

/// What stands, as the rules ask for it.
#[derive(Clone, Copy)]
pub(super) struct Stand<'a> {
    pub(super) standing: &'a [Standing],
    pub(super) now: Duration,
    pub(super) hold: Duration,
}

impl<'a> Stand<'a> {
    /// What is noted of a service.
    fn of(self, service: &'a str) -> impl Iterator<Item = &'a Standing> {
        self.standing.iter().filter(move |noted| noted.service == service)
    }

    /// Whether this was done to it so lately that it may not be done again, or undone.
    pub(super) fn holds(self, service: &str, action: Action) -> bool {
        let age = |noted: &Standing| self.now.saturating_sub(noted.since);
        let counts = |noted: &Standing| {
            noted.action == action
                // What opposes it: limits and their lifting, swapping out and bringing back.
                || (action.lasts() && noted.action == Action::Lift)
                || (action == Action::Lift && noted.action.lasts())
                || matches!(
                    (action, noted.action),
                    (Action::Reclaim, Action::BringBack) | (Action::BringBack, Action::Reclaim)
                )
        };
        self.standing
            .iter()
            .filter(|noted| noted.service == service)
            .any(|noted| counts(noted) && age(noted) < self.hold)
    }

    /// What of this lasting kind is in effect, in bytes.
    pub(super) fn bytes(self, service: &'a str, action: Action) -> Option<u64> {
        self.of(service).find(|noted| noted.action == action).map(|noted| noted.bytes)
    }

    /// Whether this was done to any service before now, and not longer ago than `within`.
    pub(super) fn tried(self, action: Action, within: Duration) -> bool {
        let lately = |since: Duration| since < self.now && self.now.saturating_sub(since) <= within;
        self.standing.iter().any(|noted| noted.action == action && lately(noted.since))
    }
}
