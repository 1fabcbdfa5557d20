//! What holds in every situation.

use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{GIB, before, card, config, machine};
use super::*;
use crate::observe::Limits;

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..20 * GIB, Just(u64::MAX)]
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(vec![Priority::Low, Priority::Medium, Priority::High, Priority::Critical])
}

fn action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![
        Action::KeepOutOfSwap,
        Action::Protect,
        Action::BringBack,
        Action::AskToRelease,
        Action::AskToReleaseVram,
        Action::Reclaim,
        Action::Limit,
        Action::Lift,
        Action::Advise,
    ])
}

prop_compose! {
    fn service()(
        rss_bytes in bytes(), swap_bytes in bytes(), has_cgroup: bool,
        low_bytes in prop::option::of(0..4 * GIB), high_bytes in prop::option::of(bytes()),
        max_bytes in prop::option::of(bytes()), swap_max_bytes in prop::option::of(bytes()),
    ) -> Service {
        Service {
            pid: Some(7),
            cgroup: has_cgroup.then(|| "a".into()),
            pids: vec![7],
            rss_bytes,
            swap_bytes,
            limits: Limits { low_bytes, high_bytes, max_bytes, swap_max_bytes },
            pressure: None,
            low_ceiling: None,
        }
    }
}

prop_compose! {
    /// Any services on a machine that is used so much, in percent, and their configuration.
    fn situation(ram: Range<f64>, swap: Range<f64>, waited: Range<f64>, vram: Range<f64>)(
        (ram, swap, waited, vram) in (ram, swap, waited, prop::option::of(vram)),
        services in prop::collection::vec((service(), priority(), 0f64..=1.0, any::<bool>()), 0..6),
    ) -> (Snapshot, Config) {
        let mut now = machine(ram, swap, waited);
        now.vram = vram.map(card);
        let mut config = config();
        now.services.clear();
        config.services.clear();
        for (at, (service, priority, share, listens)) in services.into_iter().enumerate() {
            let mut policy = ServicePolicy::new(priority, share);
            policy.release_socket = listens.then(|| "/run/release".into());
            now.services.insert(format!("{at}.service"), service);
            config.services.insert(format!("{at}.service"), policy);
        }
        (now, config)
    }
}

fn standing() -> impl Strategy<Value = Vec<Standing>> {
    let one = (0u8..7, action(), bytes(), 0u64..4000).prop_map(|(at, action, bytes, since)| Standing {
        service: format!("{at}.service"),
        action,
        bytes,
        since: Duration::from_secs(since),
    });
    prop::collection::vec(one, 0..8)
}

proptest! {
    #[test]
    fn below_the_thresholds_only_what_is_undone_or_advised_is_said(
        (now, config) in situation(0.0..79.9, 0.0..49.9, 0.0..9.9, 0.0..84.9),
        standing in standing(),
        looks in 0u32..20,
    ) {
        for one in decide(&now, &before(&now, looks), &standing, &config) {
            let harmless = [Action::BringBack, Action::Lift, Action::Advise];
            prop_assert!(harmless.contains(&one.action), "{:?}", one);
        }
    }

    #[test]
    fn a_single_look_sets_nothing_off((now, config) in situation(0.0..100.0, 0.0..100.0, 0.0..100.0, 0.0..100.0)) {
        for one in decide(&now, &History::default(), &[], &config) {
            prop_assert_eq!(one.action, Action::Advise);
        }
    }

    #[test]
    fn a_critical_service_is_never_reclaimed_or_limited_and_nothing_below_its_critical_bytes(
        (now, config) in situation(0.0..100.0, 0.0..100.0, 0.0..100.0, 0.0..100.0),
        standing in standing(),
    ) {
        let critical = critical_bytes(&now, &config);
        for one in decide(&now, &before(&now, 10), &standing, &config) {
            prop_assert!(!one.reason.is_empty());
            if matches!(one.action, Action::Reclaim | Action::Limit) {
                prop_assert!(config.services[&one.service].priority < Priority::Critical, "{:?}", one);
                let kept = critical[one.service.as_str()];
                let remains = match one.action {
                    Action::Reclaim => now.services[&one.service].rss_bytes.saturating_sub(one.bytes),
                    _ => one.bytes,
                };
                prop_assert!(remains >= kept, "{:?} leaves {} of {}", one, remains, kept);
            }
        }
    }

    #[test]
    fn no_more_is_promised_than_there_is(
        (now, config) in situation(0.0..100.0, 0.0..100.0, 0.0..100.0, 0.0..100.0),
        standing in standing(),
    ) {
        let critical = critical_bytes(&now, &config);
        let promisable = promisable_bytes(now.system.ram_total_bytes);
        prop_assert!(critical.values().sum::<u64>() <= promisable);
        let all = decide(&now, &before(&now, 10), &standing, &config);
        if !all.iter().any(|one| matches!(one.action, Action::Protect | Action::KeepOutOfSwap)) {
            return Ok(());
        }
        // Then what is promised in the end, old and new, fits.
        let promised = now.services.iter().map(|(name, service)| {
            let new = |action| all.iter().find(|one| one.service == *name && one.action == action);
            let low = new(Action::Protect).map_or(service.limits.low_bytes.unwrap_or(0), |one| one.bytes);
            let kept = service.limits.swap_max_bytes == Some(0) || new(Action::KeepOutOfSwap).is_some();
            low.max(if kept { service.rss_bytes } else { 0 }).max(critical[name.as_str()])
        });
        prop_assert!(promised.fold(0, u64::saturating_add) <= promisable);
    }

    #[test]
    fn what_is_brought_back_and_reclaimed_has_room(
        (now, config) in situation(0.0..100.0, 0.0..100.0, 0.0..100.0, 0.0..100.0),
        standing in standing(),
    ) {
        let all = decide(&now, &before(&now, 10), &standing, &config);
        let sum = |action| all.iter().filter(|one| one.action == action).map(|one| one.bytes).sum::<u64>();
        let system = &now.system;
        prop_assert!(
            system.ram_used_bytes() + sum(Action::BringBack) <= (0.8 * system.ram_total_bytes as f64) as u64
                || sum(Action::BringBack) == 0
        );
        prop_assert!(
            system.swap_used_bytes() + sum(Action::Reclaim) <= (0.5 * system.swap_total_bytes as f64) as u64
                || sum(Action::Reclaim) == 0
        );
    }

    #[test]
    fn first_is_asked_then_reclaimed_then_limited_then_advised(
        (now, config) in situation(0.0..100.0, 0.0..100.0, 0.0..100.0, 0.0..100.0),
        standing in standing(),
    ) {
        let all = decide(&now, &before(&now, 10), &standing, &config);
        let place = |action| match action {
            Action::KeepOutOfSwap | Action::Protect => 0,
            Action::AskToRelease => 1,
            Action::Reclaim => 2,
            Action::Limit => 3,
            Action::AskToReleaseVram => 4,
            Action::BringBack => 5,
            Action::Lift => 6,
            Action::Advise => 7,
        };
        prop_assert!(all.is_sorted_by_key(|one| place(one.action)), "{:?}", all);
        // Nothing is said of a service twice, and a limit is never lifted in the look that sets it.
        for (at, one) in all.iter().enumerate() {
            prop_assert!(!all[..at].iter().any(|other| other.service == one.service && other.action == one.action));
            let opposed = |other: &&Recommendation| other.service == one.service && other.action.lasts();
            prop_assert!(one.action != Action::Lift || all.iter().find(opposed).is_none());
        }
    }

    #[test]
    fn of_the_card_one_service_that_listens_is_asked_and_nothing_else_depends_on_it(
        (now, config) in situation(0.0..100.0, 0.0..100.0, 0.0..100.0, 0.0..100.0),
        standing in standing(),
        looks in 0u32..12,
    ) {
        let history = before(&now, looks);
        let (asked, others): (Vec<_>, Vec<_>) = decide(&now, &history, &standing, &config)
            .into_iter()
            .partition(|one| one.action == Action::AskToReleaseVram);
        prop_assert!(asked.len() <= 1 && (looks > 0 || asked.is_empty()), "{:?}", asked);
        for one in asked {
            let vram = now.vram.unwrap();
            prop_assert!(vram.share() >= config.vram_high && one.bytes <= vram.used_bytes, "{:?}", one);
            prop_assert!(config.services[&one.service].release_socket.is_some());
            let hold = Duration::from_secs(config.hold_s);
            let lately = |noted: &&Standing| noted.service == one.service && noted.action == one.action;
            prop_assert!(standing.iter().filter(lately).all(|noted| now.at.saturating_sub(noted.since) >= hold));
        }
        let without = Snapshot { vram: None, ..now.clone() };
        prop_assert_eq!(others, decide(&without, &before(&without, looks), &standing, &config));
    }

    /// The random walk is carried out: what is decided takes effect in the next look.
    #[test]
    fn a_walk_around_the_thresholds_changes_a_measure_at_most_once_while_it_is_held(
        steps in prop::collection::vec((-6.0f64..6.0, -4.0f64..4.0, 0.0f64..20.0, 0.0f64..1.0), 10..200),
        interval in 1u64..60,
        hold in 30u64..150,
    ) {
        let mut config = config();
        (config.interval_s, config.hold_s) = (interval, hold);
        let hold = Duration::from_secs(hold);
        let (mut ram, mut swap) = (80.0, 50.0);
        let mut now = machine(ram, swap, 0.0);
        let mut history = History::default();
        let mut standing = Vec::new();
        let mut changes: Vec<(String, Action, Duration)> = Vec::new();
        let mut calm = 0;
        for (ram_step, swap_step, waited, event) in steps {
            // Now and then it is calm for a while, so that measures are lifted; then short again.
            calm = if event > 0.9 { 12 } else { calm - 1 };
            (ram, swap) = (f64::clamp(ram + ram_step, 65.0, 95.0), f64::clamp(swap + swap_step, 40.0, 60.0));
            let (ram, swap, waited) = if calm > 0 { (60.0, 30.0, 0.0) } else { (ram, swap, waited) };
            let next = machine(ram, swap, waited);
            now.at += Duration::from_secs(interval);
            now.system = next.system;
            for one in decide(&now, &history, &standing, &config) {
                remember(&mut standing, &one, now.at);
                let last = changes.iter().rev().find(|(service, action, _)| {
                    *service == one.service
                        && (*action == one.action
                            || (one.action == Action::Lift && action.lasts())
                            || (*action == Action::Lift && one.action.lasts()))
                });
                if let Some((_, action, at)) = last {
                    let age = now.at.saturating_sub(*at);
                    prop_assert!(age >= hold, "{:?} after {:?}, {:?} before", one, action, age);
                }
                if let Some(service) = now.services.get_mut(&one.service) {
                    match one.action {
                        Action::KeepOutOfSwap => service.limits.swap_max_bytes = Some(0),
                        Action::Protect => service.limits.low_bytes = Some(one.bytes),
                        Action::Limit => service.limits.high_bytes = Some(one.bytes),
                        Action::Lift => service.limits = Limits { low_bytes: Some(0), ..Limits::default() },
                        _ => {}
                    }
                }
                changes.push((one.service, one.action, now.at));
            }
            prop_assert!(standing.len() <= 5 * 9);
            history.record(&now);
        }
    }
}
