//! What it takes to look at a machine and at a service of many processes: the processes, the look, and a day of looks.

mod day;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use systemd_policy::{Config, History, Observer, Report, Roots, decide};

pub use day::day;

/// The service that has all the processes.
const SERVICE: &str = "omnimind.service";

/// Processes that sleep, as one service of a machine: the kernel's own `/proc`, and a tree of cgroups that is written here, so
/// that neither root nor systemd is needed. They end when this is dropped.
#[derive(Debug)]
pub struct Machine {
    sleepers: Vec<Child>,
    roots: Roots,
}

impl Machine {
    /// Starts so many processes; `folder` is where the tree of cgroups goes.
    ///
    /// # Errors
    /// If they cannot be started, or the tree cannot be written.
    pub fn with(processes: usize, folder: &Path) -> Result<Self> {
        let roots = Roots { cgroup: folder.join("cgroup"), ..Roots::default() };
        let mut machine = Self { sleepers: Vec::new(), roots };
        for _ in 0..processes {
            let mut sleep = Command::new("sleep");
            machine.sleepers.push(sleep.arg("86400").stdin(Stdio::null()).spawn().context("starting sleep")?);
        }
        let service = machine.roots.cgroup.join("system.slice").join(SERVICE);
        fs::create_dir_all(&service)?;
        fs::write(machine.roots.cgroup.join("cgroup.controllers"), "memory\n")?;
        let pids: Vec<String> = machine.pids().iter().map(u32::to_string).collect();
        fs::write(service.join("cgroup.procs"), pids.join("\n"))?;
        for (file, limit) in [("low", "0\n"), ("high", "max\n"), ("max", "max\n"), ("swap.max", "max\n")] {
            fs::write(service.join(format!("memory.{file}")), limit)?;
        }
        machine.set_swapped(false)?;
        Ok(machine)
    }

    /// Their numbers.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.sleepers.iter().map(Child::id).collect()
    }

    /// Whether the kernel says that part of the service is in swap, so that it must be found out of which process.
    ///
    /// # Errors
    /// If the tree cannot be written.
    pub fn set_swapped(&self, is_swapped: bool) -> Result<()> {
        let charged = if is_swapped { "4096\n" } else { "0\n" };
        let file = self.roots.cgroup.join("system.slice").join(SERVICE).join("memory.swap.current");
        fs::write(file, charged).context("writing the tree of cgroups")
    }

    /// CPU time of one look in seconds, the mean of so many: observe, decide, remember, report.
    ///
    /// # Errors
    /// If a look fails, or does not see all processes.
    pub fn look(&self, looks: u32) -> Result<f64> {
        let config = Config::default();
        let (mut observer, mut history) = (Observer::new(self.roots.clone()), History::default());
        let before = cpu_s()?;
        for _ in 0..looks {
            let seen = observer.observe(&config)?;
            let recommendations = decide(&seen, &history, &[], &config);
            history.record(&seen);
            let report = Report::of(&seen, &recommendations, &config);
            ensure!(
                seen.services.get(SERVICE).is_some_and(|service| service.pids.len() == self.sleepers.len()),
                "not all processes were seen"
            );
            ensure!(report.services.contains_key(SERVICE), "the service is not in the report");
        }
        Ok((cpu_s()? - before) / f64::from(looks.max(1)))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for sleeper in &mut self.sleepers {
            let _ = sleeper.kill();
            let _ = sleeper.wait();
        }
    }
}

/// CPU time of this process so far, in seconds. The kernel counts it in nanoseconds.
fn cpu_s() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: u64 = text.split_whitespace().next().context("schedstat is empty")?.parse()?;
    Ok(nanoseconds as f64 / 1e9)
}
