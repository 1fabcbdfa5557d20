//! What a look costs in CPU time, on this machine's `/proc`, with as many processes as are asked for (300):
//!
//! ```text
//! cargo run --release -p systemd-policy --example look_cost [processes] [looks]
//! ```
//!
//! The processes sleep; a service that has them all is written as a cgroup below a temporary directory, so that neither systemd
//! nor root is needed. Their `status` is the kernel's own.

use std::error::Error;
use std::fs;
use std::process::{Child, Command};

use systemd_policy::swap::Swap;
use systemd_policy::{Config, History, Observer, Report, Roots, decide};

/// What is stopped in the end, however this ends.
struct Sleepers(Vec<Child>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for sleeper in &mut self.0 {
            let _ = sleeper.kill();
            let _ = sleeper.wait();
        }
    }
}

/// CPU time of this process so far, user and system, in nanoseconds.
fn cpu_ns() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("no schedstat")?.parse()?)
}

/// The mean of so many looks, in milliseconds: the kernel's clock is too coarse for one.
fn measure(
    looks: usize,
    mut look: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    look()?;
    let before = cpu_ns()?;
    for _ in 0..looks {
        look()?;
    }
    Ok((cpu_ns()? - before) as f64 / 1e6 / looks as f64)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let processes: usize = arguments.next().map_or(Ok(300), |text| text.parse())?;
    let looks: usize = arguments.next().map_or(Ok(200), |text| text.parse())?.max(1);

    let mut sleepers = Sleepers(Vec::new());
    for _ in 0..processes {
        sleepers.0.push(Command::new("sleep").arg("3600").spawn()?);
    }
    let pids: Vec<u32> = sleepers.0.iter().map(Child::id).collect();

    let directory = tempfile::tempdir()?;
    let cgroup = directory.path().join("cgroup");
    let service = cgroup.join("system.slice/omnimind.service");
    fs::create_dir_all(&service)?;
    fs::write(cgroup.join("cgroup.controllers"), "memory\n")?;
    let list: Vec<String> = pids.iter().map(u32::to_string).collect();
    fs::write(service.join("cgroup.procs"), list.join("\n"))?;
    for (file, text) in [("low", "0\n"), ("high", "max\n"), ("max", "max\n"), ("swap.max", "max\n")] {
        fs::write(service.join(format!("memory.{file}")), text)?;
    }
    // The same processes below a `/proc` whose `meminfo` says that swap is in use, so that all are looked at.
    let proc = directory.path().join("proc");
    fs::create_dir(&proc)?;
    for pid in &pids {
        std::os::unix::fs::symlink(format!("/proc/{pid}"), proc.join(pid.to_string()))?;
    }
    let swapped = "MemTotal: 16 kB\nMemAvailable: 8 kB\nSwapTotal: 8 kB\nSwapFree: 4 kB\n";
    fs::write(proc.join("meminfo"), swapped)?;

    let config = Config::default();
    let roots = Roots { cgroup: cgroup.clone(), ..Roots::default() };
    let mut machine = Observer::new(roots.clone());
    let none = Config { services: [].into(), ..Config::default() };
    let alone = measure(looks, || {
        machine.observe(&none)?;
        Ok(())
    })?;
    let mut observer = Observer::new(roots.clone());
    let mut history = History::default();
    let full = measure(looks, || {
        let seen = observer.observe(&config)?;
        assert_eq!(seen.services.values().map(|service| service.pids.len()).sum::<usize>(), processes);
        let all = decide(&seen, &history, &[], &config);
        history.record(&seen);
        let _ = Report::of(&seen, &all, &config);
        Ok(())
    })?;
    let first = measure(looks, || {
        Observer::new(roots.clone()).observe(&config)?;
        Ok(())
    })?;
    let swap = measure(looks, || {
        Swap::observe(&Roots { proc: proc.clone(), ..Roots::default() })?;
        Ok(())
    })?;
    println!("CPU time of a look, mean of {looks}:");
    println!("{alone:8.3} ms  the machine alone");
    println!("{full:8.3} ms  the machine, a service of {processes} processes, decision and report");
    println!("{first:8.3} ms  the same by an observer that never looked before, without decision and report");
    println!("{swap:8.3} ms  who of {processes} processes holds swap");
    Ok(())
}
