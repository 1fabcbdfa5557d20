//! This machine, read by this crate and by `procfs`, which parses all of what this crate parses some of.
#![cfg(target_os = "linux")]

use procfs::Current;
use systemd_policy::{Config, Roots, observe};

#[test]
fn this_machine_is_seen_as_procfs_sees_it() {
    let seen = observe(&Roots::default(), &Config::default()).unwrap();
    let memory = procfs::Meminfo::current().unwrap();
    let in_container = seen.lacks.iter().any(|lack| lack.contains("container"));
    assert!(in_container || seen.system.ram_total_bytes == memory.mem_total);
    assert!(in_container || seen.system.swap_total_bytes == memory.swap_total);
    assert!(seen.system.ram_available_bytes > 0 && seen.system.ram_available_bytes <= memory.mem_total);
    let uptime = procfs::Uptime::current().unwrap().uptime;
    assert!(
        seen.at.as_secs_f64() <= uptime && seen.at.as_secs_f64() > uptime - 600.0,
        "{:?} {uptime}",
        seen.at
    );
    if let Some(pressure) = seen.system.pressure {
        assert!((0.0..=100.0).contains(&pressure.some_avg10));
    } else {
        assert!(seen.lacks.iter().any(|lack| lack.contains("PSI")), "{:?}", seen.lacks);
    }
}
