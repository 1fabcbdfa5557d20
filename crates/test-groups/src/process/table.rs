//! The processes of this machine, as `/proc` tells them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;

/// An environment longer than this is read to here.
const MOST_ENVIRONMENT_BYTES: u64 = 1 << 20;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// When it began, in ticks since the machine did: together with its number this is it and no other.
    pub(crate) started: u64,
    /// It has ended, and nobody has asked how.
    pub(crate) zombie: bool,
}

/// All that there are.
pub(super) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

/// The one with this number.
pub(super) fn process(pid: u32) -> Option<Process> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    Some(process(pid)?.parent)
}

/// Fields 3 (state), 4 (parent), 5 (group) and 22 (start) of `stat`; the name before them may hold anything, even `)`.
fn parse(pid: u32, stat: &[u8]) -> Option<Process> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Process { pid, parent, group, started, zombie: matches!(state, "Z" | "X" | "x") })
}

/// What descends from these, without them.
pub(super) fn descendants(all: &[Process], roots: &[u32]) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut next: Vec<u32> = roots.to_vec();
    while let Some(pid) = next.pop() {
        // Taken out, so that a table read while it changed cannot go round in a circle.
        for child in children.remove(&pid).unwrap_or_default() {
            next.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// A variable of the environment with which a process began, if it may be read.
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ"))
        .ok()?
        .take(MOST_ENVIRONMENT_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    bytes.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_hide_the_parent() {
        let stat = b"71 (a) b (c) S 5 70 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 6 7";
        let expected = Process { pid: 71, parent: 5, group: 70, started: 12345, zombie: false };
        assert_eq!(parse(71, stat), Some(expected));
        assert_eq!(parse(71, b"71 (a"), None);
        assert_eq!(parse(71, b"71 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_in_the_table_with_its_parent() {
        let own = process(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(all().contains(&own));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let process = |pid, parent| Process { pid, parent, group: 0, started: 0, zombie: false };
        let all = [process(1, 2), process(2, 1), process(3, 2), process(9, 8)];
        let mut found: Vec<u32> = descendants(&all, &[1]).iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }
}
