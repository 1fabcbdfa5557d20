//! Who holds swap: every process with swapped memory, and what is in swap besides.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::history::share;
use crate::observe::machine::meminfo;
use crate::observe::reader::Reader;
use crate::observe::{Roots, number, processes, words};
use crate::{Error, Result};

/// The kernel counts the times that it shows in hundredths of a second (`USER_HZ`) on all machines that this runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Who holds swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swap {
    /// Swap, in bytes.
    pub total_bytes: u64,
    /// Swap in use, in bytes.
    pub used_bytes: u64,
    /// The processes that hold any, the largest first.
    pub holders: Vec<Holder>,
    /// What no process is shown to hold.
    pub rest: Rest,
    /// Compressed in RAM by zswap instead of on the device, in bytes before compression; part of what is in use.
    pub zswapped_bytes: u64,
    /// What could not be seen, and what that means.
    pub lacks: Vec<String>,
}

/// A process that holds swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// What it holds, in bytes. What was swapped out before a fork counts for both.
    pub swap_bytes: u64,
    /// Of the swap in use, 0 to 1.
    pub share: f64,
    /// The unit of systemd that it belongs to: of a user's manager if it is in one.
    pub unit: Option<String>,
    /// When it started, in seconds since 1970.
    pub started_unix_s: Option<u64>,
}

/// What is in swap and in no process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// All of it, in bytes: in use, less what processes hold. 0 if they hold more, because of what they share.
    pub bytes: u64,
    /// Pages that were read back and whose place in swap is kept, in bytes at most.
    pub cached_bytes: u64,
    /// What remains: shared memory and files in tmpfs, processes that cannot be seen, in bytes at least.
    pub shared_or_unseen_bytes: u64,
}

impl Swap {
    /// Who holds swap now. Where none is in use, no process is looked at.
    ///
    /// # Errors
    ///
    /// [`Error::Observed`] if `meminfo` or the list of processes cannot be read.
    pub fn observe(roots: &Roots) -> Result<Self> {
        let mut reader = Reader::default();
        let memory = meminfo(&mut reader, roots)?;
        let used_bytes = memory.swap_total.saturating_sub(memory.swap_free);
        let mut swap = Self {
            total_bytes: memory.swap_total,
            used_bytes,
            holders: Vec::new(),
            rest: Rest::default(),
            zswapped_bytes: memory.zswap.map_or(0, |zswap| zswap.stored_bytes.min(used_bytes)),
            lacks: Vec::new(),
        };
        if memory.swap_total == 0 {
            swap.lacks.push("no swap: nobody can hold any".to_owned());
        }
        if used_bytes > 0 {
            swap.look(&mut reader, roots)?;
        }
        let held = swap.holders.iter().map(|holder| holder.swap_bytes).fold(0, u64::saturating_add);
        let bytes = used_bytes.saturating_sub(held);
        let cached_bytes = memory.swap_cached.min(bytes);
        swap.rest = Rest { bytes, cached_bytes, shared_or_unseen_bytes: bytes - cached_bytes };
        Ok(swap)
    }

    fn look(&mut self, reader: &mut Reader, roots: &Roots) -> Result<()> {
        let booted = reader.all(&roots.proc.join("stat")).ok().and_then(boot_time);
        let entries = std::fs::read_dir(&roots.proc)
            .map_err(|error| Error::Observed { path: roots.proc.clone(), reason: error.to_string() })?;
        let pids = entries.flatten().filter_map(|entry| number(entry.file_name().as_encoded_bytes()));
        let mut refused = 0_usize;
        for pid in pids.filter_map(|pid| u32::try_from(pid).ok()) {
            let (name, swap_bytes) = match processes::read(reader, &roots.proc, pid) {
                Ok(Some(process)) if process.swap_bytes > 0 => {
                    (String::from_utf8_lossy(process.name).into_owned(), process.swap_bytes)
                }
                Ok(_) => continue,
                Err(_) => {
                    refused += 1;
                    continue;
                }
            };
            self.holders.push(Holder {
                pid,
                name,
                swap_bytes,
                share: share(swap_bytes, self.used_bytes),
                unit: unit(reader, &roots.proc, pid),
                started_unix_s: started(reader, &roots.proc, pid)
                    .zip(booted)
                    .map(|(since, at)| at.saturating_add(since)),
            });
        }
        self.holders.sort_by_key(|holder| (std::cmp::Reverse(holder.swap_bytes), holder.pid));
        if refused > 0 {
            self.lacks.push(format!("{refused} processes may not be looked at; root may"));
        }
        Ok(())
    }
}

/// The line `btime` of `/proc/stat`: when the system was started, in seconds since 1970.
fn boot_time(bytes: &[u8]) -> Option<u64> {
    let line = bytes.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"btime "))?;
    words(line).next().and_then(number)
}

/// When it started, in seconds since the system was: the 22nd field of its `stat`. The second, in parentheses, is its name and
/// may have blanks and parentheses in it.
fn started(reader: &mut Reader, proc: &Path, pid: u32) -> Option<u64> {
    let bytes = reader.of_process(proc, pid, "stat").ok()?;
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    let ticks = words(bytes.get(end + 1..)?).nth(19).and_then(number)?;
    Some(ticks / TICKS_PER_SECOND)
}

/// The unit in the path of its cgroup, of version 2 or else of systemd's own hierarchy.
fn unit(reader: &mut Reader, proc: &Path, pid: u32) -> Option<String> {
    let bytes = reader.of_process(proc, pid, "cgroup").ok()?;
    let line = |marks: &str| {
        let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        lines.filter_map(|line| Some(line.split_once(marks)?.1)).find_map(unit_in)
    };
    line("0::").or_else(|| line(":name=systemd:")).map(str::to_owned)
}

/// What is behind the last dot of a unit's name.
fn kind(unit: &str) -> &str {
    unit.rsplit_once('.').map_or("", |(_, kind)| kind)
}

/// What lies in the slices; if that is the manager of a user, what lies in its slices.
fn unit_in(cgroup: &str) -> Option<&str> {
    let mut parts = cgroup.split('/').filter(|part| !part.is_empty() && kind(part) != "slice");
    let ends = |part: &&str| matches!(kind(part), "service" | "scope");
    let unit = parts.next().filter(ends)?;
    if !unit.starts_with("user@") {
        return Some(unit);
    }
    parts.next().filter(ends).or(Some(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_what_lies_in_the_slices() {
        for (cgroup, unit) in [
            ("/system.slice/omnimind.service", Some("omnimind.service")),
            ("/system.slice/system-getty.slice/getty@tty1.service/deeper", Some("getty@tty1.service")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/a.service", Some("a.service")),
            ("/user.slice/user-1000.slice/user@1000.service", Some("user@1000.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            ("/init.scope", Some("init.scope")),
            ("/docker/0123", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(unit_in(cgroup), unit, "{cgroup}");
        }
    }
}
