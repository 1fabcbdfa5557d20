//! The scenarios that `cargo xtask vm-test` runs in a machine with real systemd, on machines that were recorded there
//! (`trees/vm-*`): the same claims, in files of the same names. There the kernel and systemd are real and a run takes minutes;
//! here they are a model, every file that is read is real, and each course of events can be had.
//!
//! - [`machine`]: a recorded tree that reacts.
//! - [`memory_apply`], [`memory_bring_back`], [`memory_daemon`], [`memory_report`]: as there.
//! - [`any_course`]: what holds whatever happens.
//!
//! What units say is asked of the units themselves, in the tests of the crate.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod any_course;
mod machine;
mod memory_apply;
mod memory_bring_back;
mod memory_daemon;
mod memory_report;

use std::time::Duration;

use systemd_policy::act::{Applied, Measures, apply, plan};
use systemd_policy::{
    Config, History, Observer, Priority, Recommendation, ServicePolicy, Snapshot, Standing, decide, remember,
};

use machine::Machine;

const CRITICAL: &str = "vmtest-critical.service";
const LOW: &str = "vmtest-low.service";
const LOOK_APART: Duration = Duration::from_secs(1);

/// The services that `configure` in `xtask/src/vm_test/guest/lib.sh` writes.
fn configured() -> Config {
    let services = [
        (CRITICAL.to_owned(), ServicePolicy::new(Priority::Critical, 0.9)),
        (LOW.to_owned(), ServicePolicy::new(Priority::Low, 0.0)),
    ];
    Config { services: services.into(), ..Config::default() }
}

/// With the thresholds that those scenarios have that press.
fn strict() -> Config {
    Config { ram_high: 0.4, ram_critical: 0.5, interval_s: 1, hold_s: 1, ..configured() }.validated().unwrap()
}

/// Somebody who calls `omnimind memory apply` again and again.
struct Operator {
    machine: Machine,
    config: Config,
    observer: Observer,
    measures: Measures,
    standing: Vec<Standing>,
}

impl Operator {
    fn of(machine: &Machine, config: Config) -> Self {
        let (observer, measures) = (machine.observer(), Measures::in_memory());
        Self { machine: machine.clone(), config, observer, measures, standing: Vec::new() }
    }

    /// Two looks, as the verb has them.
    fn look(&mut self) -> (Snapshot, Vec<Recommendation>) {
        self.machine.pass(LOOK_APART);
        let mut history = History::default();
        history.record(&self.observer.observe(&self.config).unwrap());
        self.machine.pass(LOOK_APART);
        let now = self.observer.observe(&self.config).unwrap();
        let recommendations = decide(&now, &history, &self.standing, &self.config);
        (now, recommendations)
    }

    /// `memory apply --dry-run`: the lines that it shows.
    fn dry_run(&mut self) -> Vec<String> {
        let (_, recommendations) = self.look();
        let plan = plan(&recommendations, &self.config, self.measures.standing());
        assert_eq!(plan.refused, []);
        plan.steps.iter().map(ToString::to_string).collect()
    }

    /// `memory apply`. What belongs to a service is done together.
    fn apply(&mut self) -> Applied {
        let (now, mut recommendations) = self.look();
        let mut all = Applied::default();
        while let Some(first) = recommendations.first() {
            let service = first.service.clone();
            let of_it: Vec<_> = recommendations.extract_if(.., |one| one.service == service).collect();
            let applied = apply(&of_it, &mut self.machine, &self.config, &mut self.measures);
            for done in &applied.done {
                remember(&mut self.standing, &done.recommendation, now.at);
            }
            all.extend(applied);
        }
        assert!(all.is_complete(), "{all:?}");
        all
    }

    /// `memory apply`, until it is so; a scenario waits for a minute at most, which is as many calls.
    fn apply_until(&mut self, what: &str, is_so: impl Fn(&Machine) -> bool) {
        for _ in 0..30 {
            if is_so(&self.machine) {
                return;
            }
            self.apply();
        }
        panic!("it never is so that {what}");
    }
}

/// Whether the kernel has it that nothing more of a unit goes to swap.
fn is_kept_out_of_swap(machine: &Machine, unit: &str) -> bool {
    machine.limits(unit).is_some_and(|limits| limits.contains(&("memory.swap.max", "0\n".to_owned())))
}
