//! The limits of the container that this runs in: they are what it has of RAM and swap.
//!
//! A container is told from a machine by the cgroup of process 1: on a machine that is the root, which has no limits, or
//! `/init.scope`. With a cgroup namespace the root is the container's cgroup and has files that a machine's root has not.

use std::path::{Path, PathBuf};

use super::reader::{Reader, below};
use super::{Pressure, Roots, System, machine, parse};

/// Cgroups lie this deep within each other at most, to be looked at.
const DEEPEST: usize = 32;

/// Cuts what the machine has to what the container has, and says so. The container's own pressure, if the kernel tells it.
pub(super) fn limit(
    reader: &mut Reader,
    roots: &Roots,
    system: &mut System,
    lacks: &mut Vec<String>,
) -> Option<Pressure> {
    let before = (system.ram_total_bytes, system.swap_total_bytes);
    let mut pressure = None;
    if roots.cgroup.join("cgroup.controllers").exists() {
        let own = of_process_1(reader, roots, b"0::");
        // From the innermost outwards: each cuts.
        for directory in own.as_deref().map(|own| up_to(&roots.cgroup, own)).unwrap_or_default() {
            cut_v2(reader, &directory, system);
            if pressure.is_none() && directory.join("memory.max").exists() {
                pressure = reader.once(&directory.join("memory.pressure")).ok().and_then(parse::pressure);
            }
        }
    } else {
        cut_v1(reader, &roots.cgroup.join("memory"), system);
    }
    let after = (system.ram_total_bytes, system.swap_total_bytes);
    if after != before {
        lacks.push(format!(
            "in a container: its limits count, {} of {} bytes of RAM and {} of {} bytes of swap",
            after.0, before.0, after.1, before.1
        ));
    }
    pressure
}

/// The directory of the cgroup of process 1, without the scope in which systemd puts itself. The line begins so.
fn of_process_1(reader: &mut Reader, roots: &Roots, begins: &[u8]) -> Option<PathBuf> {
    let bytes = reader.of_process(&roots.proc, 1, "cgroup").ok()?;
    let name = parse::lines(bytes).find_map(|line| line.strip_prefix(begins))?;
    let name = std::str::from_utf8(name).ok()?;
    // A process that is outside of the namespace is shown with `/..`.
    if name.split('/').any(|part| part == "..") {
        return None;
    }
    Some(below(&roots.cgroup, name.strip_suffix("/init.scope").unwrap_or(name)))
}

/// A directory and those that it lies in, up to the root.
fn up_to(root: &Path, inner: &Path) -> Vec<PathBuf> {
    inner.ancestors().take_while(|path| path.starts_with(root)).take(DEEPEST).map(Path::to_owned).collect()
}

fn cut_v2(reader: &mut Reader, directory: &Path, system: &mut System) {
    let mut number = |file: &str| machine::number(reader, &directory.join(file));
    let (max, current) = (number("memory.max"), number("memory.current"));
    let (swap_max, swap_current) = (number("memory.swap.max"), number("memory.swap.current"));
    if let (Some(max), Some(current)) = (max, current) {
        cut_ram(reader, system, max, current, &directory.join("memory.stat"), b"inactive_file");
    }
    if let (Some(max), Some(current)) = (swap_max, swap_current) {
        cut_swap(system, max, current);
    }
}

fn cut_v1(reader: &mut Reader, directory: &Path, system: &mut System) {
    let mut number = |file: &str| machine::number(reader, &directory.join(file));
    let (max, current) = (number("memory.limit_in_bytes"), number("memory.usage_in_bytes"));
    let (both_max, both) = (number("memory.memsw.limit_in_bytes"), number("memory.memsw.usage_in_bytes"));
    if let (Some(max), Some(current)) = (max, current) {
        cut_ram(reader, system, max, current, &directory.join("memory.stat"), b"total_inactive_file");
        if let (Some(both_max), Some(both)) = (both_max, both) {
            cut_swap(system, both_max.saturating_sub(max), both.saturating_sub(current));
        }
    }
}

/// Without a limit the numbers of version 1 are larger than any RAM.
fn cut_ram(reader: &mut Reader, system: &mut System, max: u64, current: u64, stat: &Path, cache: &[u8]) {
    if max == 0 || max >= system.ram_total_bytes {
        return;
    }
    // Caches that are not in use are given back for the asking, as `MemAvailable` has it.
    let cached = reader.all(stat).ok().and_then(|bytes| parse::keyed(bytes, cache)).unwrap_or_default();
    let used = current.saturating_sub(cached);
    system.ram_total_bytes = max;
    system.ram_available_bytes = system.ram_available_bytes.min(max.saturating_sub(used));
}

fn cut_swap(system: &mut System, max: u64, current: u64) {
    if max < system.swap_total_bytes {
        system.swap_total_bytes = max;
        system.swap_free_bytes = system.swap_free_bytes.min(max.saturating_sub(current));
    }
}
