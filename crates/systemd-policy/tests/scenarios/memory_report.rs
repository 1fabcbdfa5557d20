//! The report lists the configured services that run, with the process and the numbers that the kernel has of them: here, that
//! the recorded files have, read by other means.

use std::path::Path;

use systemd_policy::swap::Swap;
use systemd_policy::{Config, History, Report, decide, observe};

use super::machine::{Machine, tree};
use super::{CRITICAL, LOW, configured};

/// All trees that were recorded in the machine.
fn recorded() -> Vec<String> {
    let entries = std::fs::read_dir(tree("")).unwrap().map(|entry| entry.unwrap().file_name().into_string());
    let mut names: Vec<String> = entries.map(Result::unwrap).filter(|name| name.starts_with("vm-")).collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    names
}

/// The number behind a word that begins a line.
fn number(path: &Path, word: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap();
    let mut words =
        text.lines().map(str::split_whitespace).filter_map(|mut line| line.next().zip(line.next()));
    let (_, number) = words.find(|(first, _)| *first == word).unwrap();
    number.parse().unwrap()
}

#[test]
fn its_numbers_are_those_of_the_files() {
    for name in recorded() {
        let root = tree(&name);
        let machine = Machine::of(&name);
        let seen = observe(&machine.roots(), &configured()).unwrap();
        let report =
            Report::of(&seen, &decide(&seen, &History::default(), &[], &configured()), &configured());

        let meminfo = |word| number(&root.join("proc/meminfo"), word) * 1024;
        let system = report.system;
        assert_eq!(system.ram_total_bytes, meminfo("MemTotal:"));
        assert_eq!(system.ram_available_bytes, meminfo("MemAvailable:"));
        assert_eq!(system.ram_used_bytes, meminfo("MemTotal:") - meminfo("MemAvailable:"));
        assert_eq!(system.swap_total_bytes, meminfo("SwapTotal:"));
        assert_eq!(system.swap_used_bytes, meminfo("SwapTotal:") - meminfo("SwapFree:"));
        let psi = std::fs::read_to_string(root.join("proc/pressure/memory")).unwrap();
        let pressure = system.pressure.unwrap();
        assert!(psi.starts_with(&format!(
            "some avg10={:.2} avg60={:.2} ",
            pressure.some_avg10, pressure.some_avg60
        )));

        let services: Vec<&str> = report.services.keys().map(String::as_str).collect();
        assert_eq!(services, [CRITICAL, LOW], "{name}");
        for (unit, service) in &report.services {
            let group = root.join("sys/fs/cgroup/system.slice").join(unit);
            let pid: u32 =
                std::fs::read_to_string(group.join("cgroup.procs")).unwrap().trim().parse().unwrap();
            assert_eq!(service.pid, Some(pid), "{name}: {unit}");
            let status = |word| number(&root.join(format!("proc/{pid}/status")), word) * 1024;
            assert_eq!((service.rss_bytes, service.swap_bytes), (status("VmRSS:"), status("VmSwap:")));
        }
        assert_eq!(report.lacks, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn services_that_are_configured_by_default_and_not_there_are_not_in_it() {
    let seen = observe(&Machine::of("vm-apply-pressed").roots(), &Config::default()).unwrap();
    assert!(Report::of(&seen, &[], &Config::default()).services.is_empty());
}

#[test]
fn who_holds_most_swap_is_named_with_its_unit() {
    for name in ["vm-apply-kept", "vm-bring-back-done"] {
        let machine = Machine::of(name);
        let swap = Swap::observe(&machine.roots()).unwrap();
        let of = |unit: &str| {
            let holder = swap.holders.iter().find(|holder| holder.unit.as_deref() == Some(unit));
            holder.map_or(0, |holder| holder.swap_bytes)
        };
        assert_eq!((of(CRITICAL), of(LOW)), (machine.swapped(CRITICAL), machine.swapped(LOW)), "{name}");
        let boot = number(&tree(name).join("proc/stat"), "btime");
        let up = std::fs::read_to_string(tree(name).join("proc/uptime")).unwrap();
        let now = boot + up.split('.').next().unwrap().parse::<u64>().unwrap();
        for holder in &swap.holders {
            let started = holder.started_unix_s.unwrap();
            assert!((boot..=now).contains(&started), "{name}: {started} is not from {boot} to {now}");
        }
    }
}
