//! What is so: memory, swap, pressure, services. Reads files below roots that it is given; decides and changes nothing.
//!
//! What it reads are bytes from outside: a file that does not say what it should is a lack or an error, never a panic. It parses
//! the few lines that it needs itself, because `procfs` takes memory for every line and panics on some that are no lines of a
//! kernel; the tests compare both on this machine.

mod cgroups;
mod container;
pub(crate) mod machine;
mod parse;
pub(crate) mod processes;
pub(crate) mod reader;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, is_unit_name};
use crate::history::share;
use crate::{Error, Result};
use cgroups::Cgroups;
use reader::Reader;

pub(crate) use parse::{number, words};

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

impl Default for Roots {
    /// Those of the running system.
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), cgroup: "/sys/fs/cgroup".into() }
    }
}

impl Roots {
    /// Those below a directory into which a machine was recorded: `proc`, `sys` and `sys/fs/cgroup`.
    #[must_use]
    pub fn below(recorded: &Path) -> Self {
        let root = |path: &str| recorded.join(path);
        Self { proc: root("proc"), sys: root("sys"), cgroup: root("sys/fs/cgroup") }
    }
}

/// What was so at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// When, since the system was started.
    pub at: Duration,
    /// The machine.
    pub system: System,
    /// The card's memory, if whoever can read it handed it in: this crate cannot, and leaves it empty.
    pub vram: Option<Vram>,
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

impl System {
    /// RAM that is not available, in bytes.
    #[must_use]
    pub fn ram_used_bytes(&self) -> u64 {
        self.ram_total_bytes.saturating_sub(self.ram_available_bytes)
    }

    /// Swap in use, in bytes.
    #[must_use]
    pub fn swap_used_bytes(&self) -> u64 {
        self.swap_total_bytes.saturating_sub(self.swap_free_bytes)
    }

    /// RAM in use, 0 to 1.
    #[must_use]
    pub fn ram_share(&self) -> f64 {
        share(self.ram_used_bytes(), self.ram_total_bytes)
    }

    /// Swap in use, 0 to 1; 0 where there is none.
    #[must_use]
    pub fn swap_share(&self) -> f64 {
        share(self.swap_used_bytes(), self.swap_total_bytes)
    }
}

/// Memory of a graphics card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vram {
    /// In use, in bytes.
    pub used_bytes: u64,
    /// What there is, in bytes.
    pub total_bytes: u64,
}

impl Vram {
    /// In use, 0 to 1; 0 where there is none.
    #[must_use]
    pub fn share(&self) -> f64 {
        share(self.used_bytes, self.total_bytes)
    }
}

/// How much tasks waited for memory, in percent of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
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
    /// Its largest process; `None` if it does not run, or none can be seen. Files do not tell which one systemd calls main.
    pub pid: Option<u32>,
    /// Its cgroup, relative to the root of cgroups; `None` with cgroup v1 or where it does not run.
    pub cgroup: Option<PathBuf>,
    /// All its processes.
    pub pids: Vec<u32>,
    /// Resident memory of all its processes, in bytes. What several of them share counts for each.
    pub rss_bytes: u64,
    /// Swapped memory of all its processes, in bytes.
    pub swap_bytes: u64,
    /// The limits in effect.
    pub limits: Limits,
    /// Its own pressure.
    pub pressure: Option<Pressure>,
    /// The slice that lets least protection through to it; `None` if it lies in none, or with cgroup v1.
    pub low_ceiling: Option<LowCeiling>,
}

/// A slice protects what lies in it by no more than its own `memory.low`, whatever theirs are; systemd sets none by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowCeiling {
    /// The slice's name.
    pub slice: String,
    /// Its `memory.low`, in bytes.
    pub low_bytes: u64,
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

/// What is so now. Who looks again and again keeps an [`Observer`].
///
/// # Errors
///
/// As [`Observer::observe`].
pub fn observe(roots: &Roots, config: &Config) -> Result<Snapshot> {
    Observer::new(roots.clone()).observe(config)
}

/// Looks at the machine, and keeps what the next look can use: buffers, and where the services were.
#[derive(Debug)]
pub struct Observer {
    roots: Roots,
    reader: Reader,
    cgroups: Cgroups,
}

impl Observer {
    /// Looks below these roots.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self { roots, reader: Reader::default(), cgroups: Cgroups::default() }
    }

    /// What is so now: the machine, and the configured services that are there.
    ///
    /// # Errors
    ///
    /// [`Error::Observed`] if `uptime` or `meminfo` cannot be read or do not say what they should. All else that cannot be seen
    /// is in [`Snapshot::lacks`].
    pub fn observe(&mut self, config: &Config) -> Result<Snapshot> {
        let mut seen =
            Snapshot { at: machine::uptime(&mut self.reader, &self.roots)?, ..Snapshot::default() };
        seen.system = machine::system(&mut self.reader, &self.roots, &mut seen.lacks)?;
        let names = config.services.keys().map(String::as_str).filter(|name| is_unit_name(name));
        let names: Vec<&str> = names.collect();
        self.cgroups.look(&self.roots, &names, &mut seen.lacks);
        for name in names {
            if let Some(service) = self.cgroups.service(&mut self.reader, &self.roots, name, &mut seen.lacks)
            {
                seen.services.insert(name.to_owned(), service);
            }
        }
        Ok(seen)
    }
}

/// That a file of the kernel does not say what it should.
fn unexpected(path: &Path, expected: &str) -> Error {
    Error::Observed { path: path.to_owned(), reason: format!("does not say {expected}") }
}
