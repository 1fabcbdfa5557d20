//! A day of looks every second, as fast as they go: what the monitor keeps of it.
//!
//! The machine is made up, and told to be under strain and at rest by turns, with rounds that cannot look and deeds that are
//! refused, so that history, measures, alerts and everything else that remembers is filled.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use systemd_policy::act::{Hands, InEffect, Limit, Memory, Model, Moved, model::Fault};
use systemd_policy::config::{Priority, ServicePolicy};
use systemd_policy::monitor::{Monitor, Source};
use systemd_policy::observe::{Pressure, Service, System, Vram};
use systemd_policy::{Config, Error, Snapshot};

const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;
const GIB: u64 = 1 << 30;
const PROCESSES: u32 = 300;
/// Every so many rounds the machine cannot be looked at.
const BLIND_EVERY: u64 = 997;
/// Every so many deeds one is refused.
const REFUSED_EVERY: u64 = 13;
const UNITS: [(&str, Priority, f64); 3] = [
    ("omnimind.service", Priority::Critical, 0.5),
    ("omnimind-index.service", Priority::High, 0.0),
    ("omnimind-batch.service", Priority::Low, 0.0),
];

/// Runs a day of rounds, and says what this process took, in bytes: at most, after an hour, and after the day.
///
/// # Errors
/// If the kernel does not tell, or nothing was done or refused on that day.
pub fn day() -> Result<Value> {
    let mut config = Config { interval_s: 1, hold_s: 10, ..Config::default() };
    config.services =
        UNITS.map(|(unit, priority, share)| (unit.to_owned(), ServicePolicy::new(priority, share))).into();
    let hands = Forgetful { model: Model::with(UNITS.map(|(unit, ..)| unit)), deeds: 0 };
    let mut monitor = Monitor::new(config, Machine { round: 0 }, hands).log_to(Box::new(io::sink()));
    let (mut after_hour, mut done, mut could_not, mut blind) = (0, 0, 0, 0);
    for round in 1..=DAY {
        match monitor.round() {
            Ok(round) => {
                done += round.applied.done.len();
                could_not += round.applied.could_not.len();
            }
            Err(_) => blind += 1,
        }
        if round == HOUR {
            after_hour = of_this_process("RssAnon:")?;
        }
    }
    ensure!(done > 0 && could_not > 0 && blind > 0, "a day on which nothing happened measures nothing");
    let (after_day, peak) = (of_this_process("RssAnon:")?, of_this_process("VmHWM:")?);
    Ok(json!({
        "rounds": DAY,
        "done": done,
        "could_not": could_not,
        "peak_bytes": peak,
        "after_hour_bytes": after_hour,
        "after_day_bytes": after_day,
    }))
}

/// One line of `/proc/self/status`, in bytes.
fn of_this_process(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).context("the kernel does not tell")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// A machine of 16 GiB whose memory fills and empties in waves of ten minutes.
struct Machine {
    round: u64,
}

impl Source for Machine {
    fn observe(&mut self, config: &Config) -> systemd_policy::Result<Snapshot> {
        self.round += 1;
        if self.round.is_multiple_of(BLIND_EVERY) {
            return Err(Error::Observed { path: "/proc/meminfo".into(), reason: "is not there".to_owned() });
        }
        // Up and down again between 40 and 99 percent.
        let wave = (self.round % 600).abs_diff(300);
        let percent = 40 + wave * 59 / 300;
        let system = System {
            ram_total_bytes: 16 * GIB,
            ram_available_bytes: 16 * GIB * (100 - percent) / 100,
            swap_total_bytes: 4 * GIB,
            swap_free_bytes: 4 * GIB * (100 - percent / 2) / 100,
            pressure: Some(Pressure { some_avg10: wave as f64 / 10.0, ..Pressure::default() }),
            ..System::default()
        };
        let service = |unit: &str, first_pid: u32| Service {
            pid: Some(first_pid),
            cgroup: Some(Path::new("system.slice").join(unit)),
            pids: (first_pid..first_pid + PROCESSES).collect(),
            rss_bytes: 16 * GIB * percent / 100 / 4,
            swap_bytes: GIB * wave / 300,
            ..Service::default()
        };
        let pids = (1_000..).step_by(PROCESSES as usize);
        let services: BTreeMap<_, _> =
            config.services.keys().zip(pids).map(|(unit, pid)| (unit.clone(), service(unit, pid))).collect();
        let vram = Some(Vram { used_bytes: 80 * GIB * percent / 100, total_bytes: 80 * GIB });
        Ok(Snapshot { at: Duration::from_secs(self.round), system, vram, services, lacks: Vec::new() })
    }
}

/// Hands on a system that is not there. The model writes down all that it is asked, which would be the growth that is looked for.
struct Forgetful {
    model: Model,
    deeds: u64,
}

impl Forgetful {
    fn model(&mut self) -> &mut Model {
        self.model.asked.clear();
        self.deeds += 1;
        if self.deeds.is_multiple_of(REFUSED_EVERY) {
            self.model.faults.push_back(Fault::Refused);
        }
        &mut self.model
    }
}

impl Hands for Forgetful {
    fn limit(&mut self, unit: &str, limit: Limit) -> systemd_policy::Result<Option<u64>> {
        self.model().limit(unit, limit)
    }

    fn set_limit(
        &mut self,
        unit: &str,
        limit: Limit,
        bytes: Option<u64>,
    ) -> systemd_policy::Result<Option<u64>> {
        self.model().set_limit(unit, limit, bytes)
    }

    fn in_effect(&mut self, unit: &str, limit: Limit) -> systemd_policy::Result<InEffect> {
        self.model().in_effect(unit, limit)
    }

    fn bring_back(&mut self, unit: &str, bytes: u64) -> systemd_policy::Result<Moved> {
        self.model().bring_back(unit, bytes)
    }

    fn reclaim(&mut self, unit: &str, bytes: u64) -> systemd_policy::Result<Moved> {
        self.model().reclaim(unit, bytes)
    }

    fn ask_to_release(
        &mut self,
        unit: &str,
        socket: &Path,
        memory: Memory,
        bytes: u64,
        reason: &str,
    ) -> systemd_policy::Result<Moved> {
        self.model().ask_to_release(unit, socket, memory, bytes, reason)
    }
}
