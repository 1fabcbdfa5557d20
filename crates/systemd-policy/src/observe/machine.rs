//! The machine: RAM, swap, pressure, zswap, swappiness.

use std::io::ErrorKind;
use std::time::Duration;

use super::reader::Reader;
use super::{Pressure, Roots, System, Zswap, container, parse, unexpected};
use crate::{Error, Result};

/// Since the system was started.
pub(super) fn uptime(reader: &mut Reader, roots: &Roots) -> Result<Duration> {
    let path = roots.proc.join("uptime");
    let bytes = reader.once(&path).map_err(|error| failed(&path, &error))?;
    let seconds = parse::words(bytes).next().and_then(parse::seconds);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| unexpected(&path, "for how long the system runs"))
}

/// What `meminfo` says, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meminfo {
    pub(crate) total: u64,
    pub(crate) available: u64,
    pub(crate) swap_total: u64,
    pub(crate) swap_free: u64,
    pub(crate) swap_cached: u64,
    pub(crate) shmem: u64,
    pub(crate) zswap: Option<Zswap>,
}

pub(crate) fn meminfo(reader: &mut Reader, roots: &Roots) -> Result<Meminfo> {
    let path = roots.proc.join("meminfo");
    let bytes = reader.once(&path).map_err(|error| failed(&path, &error))?;
    let [
        mut total,
        mut available,
        mut swap_total,
        mut swap_free,
        mut cached,
        mut shmem,
        mut pool,
        mut stored,
    ] = [None; 8];
    for line in parse::lines(bytes) {
        for (name, value) in [
            (&b"MemTotal:"[..], &mut total),
            (b"MemAvailable:", &mut available),
            (b"SwapTotal:", &mut swap_total),
            (b"SwapFree:", &mut swap_free),
            (b"SwapCached:", &mut cached),
            (b"Shmem:", &mut shmem),
            (b"Zswap:", &mut pool),
            (b"Zswapped:", &mut stored),
        ] {
            if line.starts_with(name) {
                *value = parse::kib_line(line, name);
            }
        }
    }
    let zswap = stored.zip(pool).map(|(stored_bytes, pool_bytes)| Zswap { stored_bytes, pool_bytes });
    let total = total.filter(|total| *total > 0).ok_or_else(|| unexpected(&path, "MemTotal"))?;
    Ok(Meminfo {
        total,
        available: available.ok_or_else(|| unexpected(&path, "MemAvailable"))?.min(total),
        swap_total: swap_total.unwrap_or_default(),
        swap_free: swap_free.unwrap_or_default().min(swap_total.unwrap_or_default()),
        swap_cached: cached.unwrap_or_default(),
        shmem: shmem.unwrap_or_default(),
        zswap,
    })
}

/// The machine, or the container that this runs in.
pub(super) fn system(reader: &mut Reader, roots: &Roots, lacks: &mut Vec<String>) -> Result<System> {
    let memory = meminfo(reader, roots)?;
    let mut system = System {
        ram_total_bytes: memory.total,
        ram_available_bytes: memory.available,
        swap_total_bytes: memory.swap_total,
        swap_free_bytes: memory.swap_free,
        pressure: None,
        zswap: zswap(reader, roots, &memory),
        swappiness: number(reader, &roots.proc.join("sys/vm/swappiness"))
            .and_then(|value| value.try_into().ok()),
    };
    let own_pressure = container::limit(reader, roots, &mut system, lacks);
    system.pressure = own_pressure.or_else(|| pressure(reader, roots, lacks));
    if system.swap_total_bytes == 0 {
        lacks.push("no swap: nothing can be swapped out, and only caches can be reclaimed".to_owned());
    }
    Ok(system)
}

fn pressure(reader: &mut Reader, roots: &Roots, lacks: &mut Vec<String>) -> Option<Pressure> {
    let path = roots.proc.join("pressure/memory");
    let without = "how long tasks wait for memory is not known, only how much is used";
    match reader.once(&path).map(parse::pressure) {
        Ok(Some(pressure)) => return Some(pressure),
        Ok(None) => lacks.push(format!("{} is not as PSI writes it: {without}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            lacks.push(format!("no PSI, the kernel is built without it or older than 4.20: {without}"));
        }
        // The file is there, but PSI is switched off (`psi=1` at boot switches it on).
        Err(error) => lacks.push(format!("no PSI ({error}; psi=1 at boot switches it on): {without}")),
    }
    None
}

/// What zswap keeps, from `meminfo` (since Linux 5.19) or debugfs; `None` where it is off and keeps nothing.
fn zswap(reader: &mut Reader, roots: &Roots, memory: &Meminfo) -> Option<Zswap> {
    let enabled = reader.once(&roots.sys.join("module/zswap/parameters/enabled")).ok();
    let enabled = enabled.is_some_and(|bytes| matches!(bytes.first(), Some(b'Y' | b'1')));
    let kept = memory.zswap.or_else(|| {
        let debug = roots.sys.join("kernel/debug/zswap");
        let pool_bytes = number(reader, &debug.join("pool_total_size"))?;
        let pages = number(reader, &debug.join("stored_pages"))?;
        // The kernel's pages are of 4 KiB on all machines that have the file and run this.
        Some(Zswap { stored_bytes: pages.saturating_mul(4096), pool_bytes })
    });
    // Switched off, it still keeps what it has until that is read back.
    let keeps = kept.is_some_and(|kept| kept.stored_bytes > 0);
    (enabled || keeps).then(|| kept.unwrap_or_default())
}

pub(super) fn number(reader: &mut Reader, path: &std::path::Path) -> Option<u64> {
    reader.once(path).ok().and_then(parse::only_number)
}

fn failed(path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::Observed { path: path.to_owned(), reason: error.to_string() }
}
