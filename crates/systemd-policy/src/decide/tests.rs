//! Situations, one by one.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::history::Sample;
use crate::observe::{Limits, LowCeiling, Pressure, System, Vram};

pub(super) const GIB: u64 = 1 << 30;
const RAM: u64 = 16 * GIB;
const SWAP: u64 = 8 * GIB;

/// Four services, one of each priority: `low.service`, `medium.service`, `high.service`, `critical.service`.
pub(super) fn config() -> Config {
    let service = |name: &str, priority, share| (name.to_owned(), ServicePolicy::new(priority, share));
    Config {
        services: [
            service("low.service", Priority::Low, 0.0),
            service("medium.service", Priority::Medium, 0.0),
            service("high.service", Priority::High, 0.5),
            service("critical.service", Priority::Critical, 0.8),
        ]
        .into(),
        ..Config::default()
    }
}

/// All of them with `rss_bytes` in RAM, none in swap; so much of the machine used, in percent.
pub(super) fn machine(ram_percent: f64, swap_percent: f64, waited_percent: f64) -> Snapshot {
    let of = |whole: u64, percent: f64| (whole as f64 * percent / 1e2) as u64;
    let service = |name: &str| {
        let service = Service {
            pid: Some(1),
            cgroup: Some(PathBuf::from("system.slice").join(name)),
            pids: vec![1],
            rss_bytes: GIB,
            limits: Limits { low_bytes: Some(0), ..Limits::default() },
            ..Service::default()
        };
        (name.to_owned(), service)
    };
    Snapshot {
        at: Duration::from_hours(1),
        system: System {
            ram_total_bytes: RAM,
            ram_available_bytes: RAM - of(RAM, ram_percent),
            swap_total_bytes: SWAP,
            swap_free_bytes: SWAP - of(SWAP, swap_percent),
            pressure: Some(Pressure { some_avg10: waited_percent, ..Pressure::default() }),
            zswap: None,
            swappiness: Some(10),
        },
        vram: None,
        services: ["low.service", "medium.service", "high.service", "critical.service"].map(service).into(),
        lacks: Vec::new(),
    }
}

/// A card of which so much is used, in percent.
pub(super) fn card(percent: f64) -> Vram {
    Vram { used_bytes: (80.0 * GIB as f64 * percent / 1e2) as u64, total_bytes: 80 * GIB }
}

/// So many looks like this one before it, one each 30 s.
pub(super) fn before(now: &Snapshot, looks: u32) -> History {
    let mut history = History::default();
    for back in (1..=looks).rev() {
        history.push(Sample { at: now.at.saturating_sub(back * Duration::from_secs(30)), ..Sample::of(now) });
    }
    history
}

fn ago(service: &str, action: Action, seconds: u64) -> Standing {
    let since = Duration::from_hours(1).saturating_sub(Duration::from_secs(seconds));
    Standing { service: service.to_owned(), action, bytes: GIB, since }
}

/// What is decided, as pairs; the same was so in the last ten looks.
fn decided(now: &Snapshot, standing: &[Standing], config: &Config) -> Vec<(String, Action)> {
    let all = decide(now, &before(now, 10), standing, config);
    all.into_iter().map(|one| (one.service, one.action)).collect()
}

fn pairs(expected: &[(&str, Action)]) -> Vec<(String, Action)> {
    expected.iter().map(|(service, action)| ((*service).to_owned(), *action)).collect()
}

fn listening(services: &[&str]) -> Config {
    let mut config = config();
    for service in services {
        config.services.get_mut(*service).unwrap().release_socket = Some("/run/release".into());
    }
    config
}

const PROTECTED: [(&str, Action); 3] = [
    ("critical.service", Action::KeepOutOfSwap),
    ("critical.service", Action::Protect),
    ("high.service", Action::Protect),
];

#[test]
fn below_all_thresholds_nothing_is_done() {
    assert_eq!(decided(&machine(79.9, 49.9, 9.9), &[], &config()), []);
}

#[test]
fn one_look_alone_never_counts() {
    let now = machine(99.0, 99.0, 99.0);
    assert_eq!(decide(&now, &History::default(), &[], &config()), []);
    let mut just_before = History::default();
    just_before.push(Sample { at: now.at.saturating_sub(Duration::from_millis(10)), ..Sample::of(&now) });
    assert_eq!(decide(&now, &just_before, &[], &config()), []);
    let mut long_ago = History::default();
    long_ago.push(Sample { at: now.at.saturating_sub(Duration::from_mins(20)), ..Sample::of(&now) });
    assert_eq!(decide(&now, &long_ago, &[], &config()), []);
    assert!(!decide(&now, &before(&now, 1), &[], &config()).is_empty());
}

#[test]
fn with_high_ram_the_critical_is_protected_and_the_unimportant_reclaimed() {
    let all = decide(&machine(85.0, 10.0, 0.0), &before(&machine(85.0, 10.0, 0.0), 10), &[], &config());
    let seen: Vec<_> = all.iter().map(|one| (one.service.clone(), one.action)).collect();
    let expected =
        [&PROTECTED[..], &[("low.service", Action::Reclaim), ("medium.service", Action::Reclaim)]].concat();
    assert_eq!(seen, pairs(&expected));
    let of = |action| all.iter().filter(|one| one.action == action).map(|one| one.bytes).collect::<Vec<_>>();
    // 80 % of 1 GiB, 50 % of 1 GiB; 85 % less 72 % of 16 GiB is 2.08 GiB, of which both have 2.
    assert_eq!(of(Action::Protect), [GIB * 8 / 10, GIB / 2]);
    assert_eq!(of(Action::Reclaim), [GIB, GIB]);
    for one in &all {
        assert!(one.reason.contains("RAM is 85.0 % used, high from 80.0 % on"), "{}", one.reason);
    }
}

#[test]
fn first_is_asked_then_reclaimed_then_limited() {
    let now = machine(85.0, 10.0, 0.0);
    let config = listening(&["low.service", "critical.service"]);
    let protected = [
        ago("critical.service", Action::KeepOutOfSwap, 60),
        ago("critical.service", Action::Protect, 60),
        ago("high.service", Action::Protect, 60),
    ];
    let mut standing = protected.to_vec();
    assert_eq!(decided(&now, &standing, &config), pairs(&[("low.service", Action::AskToRelease)]));
    standing.push(ago("low.service", Action::AskToRelease, 30));
    let reclaimed = [("low.service", Action::Reclaim), ("medium.service", Action::Reclaim)];
    assert_eq!(decided(&now, &standing, &config), pairs(&reclaimed));
    standing.extend([ago("low.service", Action::Reclaim, 20), ago("medium.service", Action::Reclaim, 20)]);
    let limited = [("low.service", Action::Limit), ("medium.service", Action::Limit)];
    assert_eq!(decided(&now, &standing, &config), pairs(&limited));
    standing.extend([ago("low.service", Action::Limit, 10), ago("medium.service", Action::Limit, 10)]);
    assert_eq!(decided(&now, &standing, &config), []);
}

#[test]
fn with_critical_ram_there_is_no_waiting_and_important_services_give_too() {
    let now = machine(95.0, 10.0, 0.0);
    let all = decided(&now, &[], &listening(&["low.service", "critical.service"]));
    let expected = [
        ("low.service", Action::AskToRelease),
        ("critical.service", Action::AskToRelease),
        ("low.service", Action::Reclaim),
        ("medium.service", Action::Reclaim),
    ];
    assert_eq!(all[3..], pairs(&expected));
    // What was asked for is not reclaimed as well: 3.68 GiB, of which 1 and 1 are asked for and 1 and 0.68 reclaimed.
    let all = decided(&now, &[], &config());
    let reclaimed: Vec<_> =
        all.iter().filter(|one| one.1 == Action::Reclaim).map(|one| one.0.as_str()).collect();
    assert_eq!(reclaimed, ["low.service", "medium.service", "high.service"]);
}

#[test]
fn of_what_is_reclaimed_the_critical_part_stays() {
    let mut now = machine(99.0, 0.0, 0.0);
    now.services.retain(|name, _| name == "high.service");
    let all = decide(&now, &before(&now, 10), &[], &config());
    let reclaimed: Vec<_> =
        all.iter().filter(|one| one.action == Action::Reclaim).map(|one| one.bytes).collect();
    assert_eq!(reclaimed, [GIB / 2]);
}

#[test]
fn with_full_swap_nothing_is_pushed_into_it_and_a_restart_is_advised() {
    let mut now = machine(85.0, 60.0, 0.0);
    now.system.swappiness = Some(60);
    now.services.get_mut("low.service").unwrap().swap_bytes = GIB;
    now.services.get_mut("medium.service").unwrap().swap_bytes = 2 * GIB;
    now.services.get_mut("critical.service").unwrap().swap_bytes = 3 * GIB;
    let all = decided(&now, &[], &config());
    let expected = [
        ("low.service", Action::Limit),
        ("medium.service", Action::Limit),
        ("", Action::Advise),
        ("medium.service", Action::Advise),
    ];
    assert_eq!(all[3..], pairs(&expected));
}

#[test]
fn pressure_alone_protects_and_asks_but_takes_from_nobody() {
    let all = decided(&machine(50.0, 10.0, 20.0), &[], &listening(&["medium.service"]));
    assert_eq!(all, pairs(&[&PROTECTED[..], &[("medium.service", Action::AskToRelease)]].concat()));
}

#[test]
fn a_full_card_is_asked_for_from_one_service_after_the_other_the_least_important_first() {
    let mut now = machine(50.0, 10.0, 0.0);
    now.vram = Some(card(90.0));
    let config = listening(&["medium.service", "critical.service"]);
    let all = decide(&now, &before(&now, 1), &[], &config);
    let [one] = &all[..] else { panic!("{all:?}") };
    assert_eq!((&*one.service, one.action), ("medium.service", Action::AskToReleaseVram));
    // 90 % less nine tenths of 85 %, of 80 GiB.
    assert_eq!(one.bytes >> 20, (80.0 * 1024.0 * 0.135) as u64);
    assert!(one.reason.contains("VRAM is 90.0 % used, high from 85.0 % on"), "{}", one.reason);
    let mut standing = vec![ago("medium.service", Action::AskToReleaseVram, 30)];
    let next = [("critical.service", Action::AskToReleaseVram)];
    assert_eq!(decided(&now, &standing, &config), pairs(&next));
    standing.push(ago("critical.service", Action::AskToReleaseVram, 10));
    assert_eq!(decided(&now, &standing, &config), []);
    assert_eq!(decide(&now, &History::default(), &[], &config), [], "one look alone never counts");
    assert_eq!(decided(&now, &[], &self::config()), [], "nobody listens");
}

#[test]
fn a_card_that_fills_is_asked_for_before_it_is_full() {
    let mut now = machine(50.0, 10.0, 0.0);
    now.vram = Some(card(60.0));
    let growing = |percent_a_look: f64| {
        let mut history = History::default();
        for back in (1..=10u32).rev() {
            let at = now.at.saturating_sub(back * Duration::from_secs(30));
            let vram = Some(card(60.0 - percent_a_look * f64::from(back)));
            history.push(Sample { at, vram, ..Sample::of(&now) });
        }
        decide(&now, &history, &[], &listening(&["low.service"]))
    };
    // 4.5 % in 30 s: 40 % in 267 s. 3 %: in 400 s.
    let all = growing(4.5);
    assert_eq!(all.iter().map(|one| one.action).collect::<Vec<_>>(), [Action::AskToReleaseVram]);
    assert!(
        all[0].reason.contains("VRAM grows by 122.9 MiB/s and is exhausted in 267 s"),
        "{}",
        all[0].reason
    );
    assert_eq!(growing(3.0), []);
}

#[test]
fn a_forecast_acts_before_the_threshold() {
    let now = machine(60.0, 10.0, 0.0);
    let growing = |share_a_look: f64| {
        let mut history = History::default();
        for back in (1..=10u32).rev() {
            let used = (RAM as f64 * (0.6 - share_a_look * f64::from(back))) as u64;
            let at = now.at.saturating_sub(back * Duration::from_secs(30));
            history.push(Sample { at, ram_used_bytes: used, ..Sample::of(&now) });
        }
        decide(&now, &history, &[], &config())
    };
    // 4.5 % in 30 s: 40 % in 267 s. 3 %: in 400 s.
    let all = growing(0.045);
    assert!(all.iter().any(|one| one.action == Action::Reclaim), "{all:?}");
    assert!(all[0].reason.contains("RAM grows by 24.6 MiB/s and is exhausted in 267 s"), "{}", all[0].reason);
    assert_eq!(growing(0.03), []);
}

#[test]
fn what_is_critical_is_brought_back_only_where_ram_has_room() {
    let swapped = |ram_percent| {
        let mut now = machine(ram_percent, 30.0, 0.0);
        let critical = now.services.get_mut("critical.service").unwrap();
        (critical.rss_bytes, critical.swap_bytes) = (GIB, 3 * GIB);
        now.services.get_mut("low.service").unwrap().swap_bytes = GIB;
        now
    };
    let now = swapped(50.0);
    let all = decide(&now, &before(&now, 10), &[], &config());
    // 80 % of 4 GiB should be there, 1 GiB is.
    let expected = [("critical.service".to_owned(), Action::BringBack, GIB * 22 / 10)];
    let seen: Vec<_> = all.iter().map(|one| (one.service.clone(), one.action, one.bytes)).collect();
    assert_eq!(seen, expected);
    // 72 % less 71 % of 16 GiB are 163.8 MiB.
    let now = swapped(71.0);
    let all = decide(&now, &before(&now, 10), &[], &config());
    assert_eq!(all[0].bytes >> 20, 163);
    assert_eq!(decided(&swapped(75.0), &[], &config()), []);
    let lately = [ago("critical.service", Action::BringBack, 100)];
    assert_eq!(decided(&swapped(50.0), &lately, &config()), []);
}

#[test]
fn measures_are_lifted_one_service_a_look_when_all_is_clearly_well_for_long() {
    let standing = [ago("critical.service", Action::Protect, 500), ago("low.service", Action::Limit, 500)];
    assert_eq!(
        decided(&machine(50.0, 10.0, 0.0), &standing, &config()),
        pairs(&[("low.service", Action::Lift)])
    );
    assert_eq!(decided(&machine(75.0, 10.0, 0.0), &standing, &config()), []);
    let fresh = [ago("low.service", Action::Limit, 100)];
    assert_eq!(decided(&machine(50.0, 10.0, 0.0), &fresh, &config()), []);
    let gone = [ago("gone.service", Action::Limit, 500)];
    assert_eq!(
        decided(&machine(75.0, 10.0, 0.0), &gone, &config()),
        pairs(&[("gone.service", Action::Lift)])
    );
}

#[test]
fn a_lifted_measure_is_not_set_again_at_once() {
    let lifted: Vec<_> = ["critical.service", "high.service"].map(|name| ago(name, Action::Lift, 100)).into();
    let all = decided(&machine(85.0, 10.0, 0.0), &lifted, &config());
    assert_eq!(all, pairs(&[("low.service", Action::Reclaim), ("medium.service", Action::Reclaim)]));
}

#[test]
fn without_cgroups_nothing_is_set_and_without_swap_nothing_reclaimed() {
    let mut now = machine(85.0, 10.0, 0.0);
    now.services.values_mut().for_each(|service| service.cgroup = None);
    let reclaimed = [("low.service", Action::Reclaim), ("medium.service", Action::Reclaim)];
    assert_eq!(decided(&now, &[], &config()), pairs(&reclaimed));
    let mut now = machine(85.0, 0.0, 0.0);
    (now.system.swap_total_bytes, now.system.swap_free_bytes) = (0, 0);
    let limited = [("low.service", Action::Limit), ("medium.service", Action::Limit)];
    assert_eq!(decided(&now, &[], &config()), pairs(&[&PROTECTED[1..], &limited].concat()));
}

#[test]
fn a_slice_that_lets_no_protection_through_is_named_with_what_it_needs() {
    let mut now = machine(85.0, 10.0, 0.0);
    let ceiling = |low_bytes| Some(LowCeiling { slice: "system.slice".to_owned(), low_bytes });
    now.services.get_mut("critical.service").unwrap().low_ceiling = ceiling(0);
    now.services.get_mut("high.service").unwrap().low_ceiling = ceiling(0);
    let all = decide(&now, &before(&now, 10), &[], &config());
    let advice = all.iter().find(|one| one.action == Action::Advise).unwrap();
    // 80 % and 50 % of 1 GiB.
    assert_eq!((&*advice.service, advice.bytes >> 20), ("system.slice", 819 + 512));
    assert!(advice.reason.contains("MemoryLow=1395864371"), "{}", advice.reason);
    for service in ["critical.service", "high.service"] {
        now.services.get_mut(service).unwrap().low_ceiling = ceiling(2 * GIB);
    }
    assert!(!decided(&now, &[], &config()).iter().any(|one| one.1 == Action::Advise));
}

#[test]
fn what_cannot_be_promised_is_not() {
    let mut now = machine(95.0, 10.0, 0.0);
    now.services.get_mut("critical.service").unwrap().rss_bytes = 15 * GIB;
    now.services.get_mut("high.service").unwrap().rss_bytes = 6 * GIB;
    let config = config();
    let critical = critical_bytes(&now, &config);
    assert_eq!(critical["critical.service"], 12 * GIB);
    // 14.4 of 16 GiB may be promised.
    assert_eq!(critical["high.service"], promisable_bytes(RAM) - 12 * GIB);
    let all = decided(&now, &[], &config);
    assert!(!all.contains(&("critical.service".to_owned(), Action::KeepOutOfSwap)), "{all:?}");
    assert_eq!(promisable_bytes(100 << 20), 0);
}
