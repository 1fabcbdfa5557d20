use std::sync::{Arc, Mutex};

use super::*;
use crate::act::model::{Fault, Model};
use crate::config::{Priority, ServicePolicy};
use crate::error::Error;
use crate::observe::{Service, System, Vram};

const GIB: u64 = 1 << 30;

/// A machine of 16 GiB whose use is told by a function of the round; `None` is a round in which it cannot be observed.
struct Synthetic<F> {
    round: u64,
    used_percent: F,
}

impl<F: FnMut(u64) -> Option<u64>> Source for Synthetic<F> {
    fn observe(&mut self, config: &Config) -> Result<Snapshot> {
        self.round += 1;
        let Some(percent) = (self.used_percent)(self.round) else {
            return Err(Error::Observed { path: "/proc/meminfo".into(), reason: "it is gone".to_owned() });
        };
        let system = System {
            ram_total_bytes: 16 * GIB,
            ram_available_bytes: 16 * GIB * (100 - percent) / 100,
            swap_total_bytes: 4 * GIB,
            swap_free_bytes: 4 * GIB * (100 - percent / 2) / 100,
            ..System::default()
        };
        let service = |pid| Service {
            pid: Some(pid),
            cgroup: Some("system.slice/x.service".into()),
            pids: vec![pid],
            rss_bytes: 16 * GIB * percent / 100 / 4,
            swap_bytes: GIB / 4,
            ..Service::default()
        };
        let services =
            config.services.keys().zip(100..).map(|(name, pid)| (name.clone(), service(pid))).collect();
        Ok(Snapshot { at: Duration::from_secs(self.round), system, services, ..Snapshot::default() })
    }
}

fn config() -> Config {
    let mut config = Config { interval_s: 1, hold_s: 10, ..Config::default() };
    config.services.clear();
    for (unit, priority, share) in
        [("critical.service", Priority::Critical, 0.5), ("low.service", Priority::Low, 0.0)]
    {
        config.services.insert(unit.to_owned(), ServicePolicy::new(priority, share));
    }
    config
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn monitor<F: FnMut(u64) -> Option<u64>>(
    config: Config,
    used_percent: F,
) -> (Monitor<Synthetic<F>, Model>, Log) {
    let log = Log::default();
    let model = Model::with(["critical.service", "low.service"]);
    let source = Synthetic { round: 0, used_percent };
    (Monitor::new(config, source, model).log_to(Box::new(log.clone())), log)
}

fn line(
    monitor: &Monitor<Synthetic<impl FnMut(u64) -> Option<u64>>, Model>,
    unit: &str,
    limit: Limit,
) -> String {
    monitor.hands.line(unit, limit).unwrap()
}

#[test]
fn what_is_critical_is_kept_out_of_swap_under_strain_and_all_is_lifted_at_the_end() {
    let (mut monitor, log) = monitor(config(), |_| Some(92));
    for _ in 0..3 {
        monitor.round().unwrap();
    }
    assert_eq!(line(&monitor, "critical.service", Limit::MemorySwapMax), "MemorySwapMax=0");
    assert!(log.lines().iter().any(|line| line.starts_with("<4>RAM is 92.0 % used")), "{:?}", log.lines());
    assert!(monitor.end().is_complete());
    for limit in [Limit::MemorySwapMax, Limit::MemoryHigh] {
        for unit in ["critical.service", "low.service"] {
            assert!(line(&monitor, unit, limit).ends_with("=infinity"));
        }
    }
}

#[test]
fn a_day_of_rounds_every_second_leaves_nothing_behind_that_grows() {
    let used = |round: u64| (!round.is_multiple_of(997)).then_some(40 + round * 7 % 600 / 10);
    let (mut monitor, _) = monitor(config(), used);
    monitor = monitor.log_to(Box::new(std::io::sink()));
    let mut most = 0;
    let mut faults = 0u64;
    for round in 0..86_400 {
        faults = faults.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if faults >> 60 == 0 {
            monitor.hands.faults.push_back(Fault::Refused);
        }
        // An error of the source is one of the things it must survive.
        let _ = monitor.round();
        monitor.hands.asked.clear();
        if round == 10_000 {
            most = monitor.remembered() + 16;
        }
        assert!(most == 0 || monitor.remembered() <= most, "it grows: {}", monitor.remembered());
    }
    let Kept::InMemory(measures) = &monitor.kept else { panic!() };
    assert!(measures.standing().len() <= 6, "{measures:?}");
}

#[test]
fn what_fails_is_said_once_tried_again_and_its_end_is_told() {
    let (mut monitor, log) = monitor(config(), |_| Some(92));
    monitor.hands.units.remove("critical.service");
    for _ in 0..30 {
        monitor.round().unwrap();
    }
    let gone = |line: &&String| line.contains("KeepOutOfSwap") || line.contains("MemorySwapMax=0");
    let lines = log.lines();
    let said: Vec<_> = lines.iter().filter(gone).filter(|line| line.contains("no such unit")).collect();
    // Once in the log, once as an alert.
    assert_eq!(said.len(), 2, "{said:?}");
    monitor.hands.units.insert("critical.service".to_owned(), crate::act::model::ModelUnit::default());
    monitor.round().unwrap();
    assert_eq!(line(&monitor, "critical.service", Limit::MemorySwapMax), "MemorySwapMax=0");
    assert!(log.lines().iter().any(|line| line.contains("measures take effect again")), "{:?}", log.lines());
}

#[test]
fn a_round_that_fails_is_told_once_and_so_is_that_they_go_well_again() {
    let (mut monitor, log) = monitor(config(), |round| (!(3..9).contains(&round)).then_some(30));
    let failed = (0..12).filter(|_| monitor.round().is_err()).count();
    assert_eq!(failed, 6);
    let lines = log.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("a round failed")).count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("rounds go well again")).count(), 1);
}

/// A machine at rest with a card that is used so much in each round, in percent.
struct WithCard<F>(Synthetic<F>, Vec<u64>);

impl<F: FnMut(u64) -> Option<u64>> Source for WithCard<F> {
    fn observe(&mut self, config: &Config) -> Result<Snapshot> {
        let seen = self.0.observe(config)?;
        let percent = self.1[self.0.round as usize - 1];
        let vram = Some(Vram { used_bytes: 80 * GIB * percent / 100, total_bytes: 80 * GIB });
        Ok(Snapshot { vram, ..seen })
    }
}

#[test]
fn a_full_card_is_told_and_asked_for_and_that_it_is_over_is_told_too() {
    let mut config = config();
    config.services.get_mut("low.service").unwrap().release_socket = Some("/run/low/release".into());
    let mut model = Model::with(["critical.service", "low.service"]);
    model.units.get_mut("low.service").unwrap().vram_bytes = 40 * GIB;
    let source = WithCard(Synthetic { round: 0, used_percent: |_| Some(30) }, vec![90, 90, 90, 50, 50]);
    let mut monitor = Monitor::new(config, source, model).log_to(Box::new(std::io::sink()));
    let rounds: Vec<_> = (0..5).map(|_| monitor.round().unwrap()).collect();
    let told: Vec<_> =
        rounds.iter().flat_map(|round| &round.alerts).map(|alert| (alert.kind, alert.recovered)).collect();
    assert_eq!(told, [(Kind::VramHigh, false), (Kind::VramHigh, true)]);
    let asked = rounds.iter().flat_map(|round| &round.recommendations).map(|one| one.action);
    assert_eq!(asked.collect::<Vec<_>>(), [Action::AskToReleaseVram], "once while it is held");
    // 90 % less nine tenths of 85 %, of 80 GiB.
    let left = monitor.hands.units["low.service"].vram_bytes;
    assert_eq!((40 * GIB - left) >> 20, 11_059);
}

#[test]
fn what_an_earlier_daemon_left_is_taken_over_or_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("measures.json");
    let staying = Config { lift_at_end: false, ..config() };
    let (monitor, _) = monitor(staying.clone(), |_| Some(92));
    let mut monitor = monitor.keep_at(path.clone());
    (0..3).for_each(|_| drop(monitor.round().unwrap()));
    assert_eq!(monitor.end(), Applied::default());
    let left = Measures::read(&path).unwrap();
    assert!(!left.is_empty());

    // The next one does not know this service any more, and the machine is at rest.
    let mut fewer = staying;
    fewer.services.remove("critical.service");
    fewer.lift_at_end = true;
    let model = monitor.hands.clone();
    let mut next = Monitor::new(fewer, Synthetic { round: 0, used_percent: |_| Some(20) }, model)
        .log_to(Box::new(std::io::sink()))
        .keep_at(path.clone());
    next.round().unwrap();
    assert_eq!(line(&next, "critical.service", Limit::MemorySwapMax), "MemorySwapMax=infinity");
    assert!(next.end().is_complete());
    assert!(Measures::read(&path).unwrap().is_empty());
}

#[test]
fn it_stops_when_it_is_told_and_tells_systemd_what_it_does() {
    let (mut monitor, _) = monitor(config(), |_| Some(30));
    let stop = AtomicBool::new(false);
    let mut rounds = 0;
    let ended = monitor.run(&stop, &Notifier::nobody(), |_| {
        rounds += 1;
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((rounds, ended.is_complete()), (1, true));
}
