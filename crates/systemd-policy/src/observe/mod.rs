//! What is so: memory, swap, pressure, services. Reads files below roots that it is given; decides and changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Where the kernel's files are: `/proc`, `/sys` and `/sys/fs/cgroup`, or a recorded tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
    /// `/sys/fs/cgroup`
    pub cgroup: PathBuf,
}

/// What was so at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// When, since the system was started.
    pub at: Duration,
    /// The machine.
    pub system: System,
    /// The configured services that are there, by unit name.
    pub services: BTreeMap<String, Service>,
    /// What could not be seen, and what that means: no PSI, cgroup v1, no swap, not enough rights.
    pub lacks: Vec<String>,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct System {
    /// `MemTotal`, or the limit of the container that this runs in, in bytes.
    pub ram_total_bytes: u64,
    /// `MemAvailable`, in bytes.
    pub ram_available_bytes: u64,
    /// `SwapTotal`, in bytes; 0 where there is none.
    pub swap_total_bytes: u64,
    /// `SwapFree`, in bytes.
    pub swap_free_bytes: u64,
    /// `/proc/pressure/memory`; `None` where the kernel does not tell.
    pub pressure: Option<Pressure>,
    /// Bytes that zswap keeps compressed, and what they take; `None` where it is off.
    pub zswap: Option<Zswap>,
    /// `vm.swappiness`
    pub swappiness: Option<u32>,
}

/// How much tasks waited for memory, in percent of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some task waited, in the last 10 s.
    pub some_avg10: f64,
    /// In the last 60 s.
    pub some_avg60: f64,
    /// In the last 300 s.
    pub some_avg300: f64,
    /// All tasks waited, in the last 10 s.
    pub full_avg10: f64,
    /// In the last 60 s.
    pub full_avg60: f64,
    /// In the last 300 s.
    pub full_avg300: f64,
}

/// What zswap keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Zswap {
    /// Bytes before compression.
    pub stored_bytes: u64,
    /// Bytes of RAM that they take.
    pub pool_bytes: u64,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    /// Its main process, or its largest; `None` if it does not run.
    pub pid: Option<u32>,
    /// Its cgroup, relative to the root of cgroups; `None` with cgroup v1 or where it does not run.
    pub cgroup: Option<PathBuf>,
    /// All its processes.
    pub pids: Vec<u32>,
    /// Resident memory of all its processes, in bytes.
    pub rss_bytes: u64,
    /// Swapped memory of all its processes, in bytes.
    pub swap_bytes: u64,
    /// The limits in effect.
    pub limits: Limits,
    /// Its own pressure.
    pub pressure: Option<Pressure>,
}

/// Limits of a cgroup in bytes; `None` where there is none (`max`), or where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// `memory.low`; 0 protects nothing.
    pub low_bytes: Option<u64>,
    /// `memory.high`
    pub high_bytes: Option<u64>,
    /// `memory.max`
    pub max_bytes: Option<u64>,
    /// `memory.swap.max`
    pub swap_max_bytes: Option<u64>,
}
