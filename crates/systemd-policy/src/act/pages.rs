//! Pages of other processes: which are swapped, bringing them back, writing them out.
//!
//! `MADV_WILLNEED` alone reads swapped pages into the kernel's swap cache, but the process still counts them as swapped until
//! it touches them. So one byte of each is then read with `process_vm_readv` and thrown away, which is such a touch. What came
//! of it is measured (`VmSwap` before and after), not assumed.

#[expect(unsafe_code, reason = "system calls, each in a function of its own")]
mod advice;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IoSliceMut};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use advice::{Advice, MOST_RANGES, pidfd_open, process_madvise};

/// How many pages' entries of `pagemap` are read at once.
const ENTRIES: usize = 4096;

/// What `smaps` says of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mapping {
    range: Range<u64>,
    rss_bytes: u64,
    referenced_bytes: u64,
    swap_bytes: u64,
    /// `VmFlags: lo`: locked into RAM.
    locked: bool,
}

/// A process, held so that its number cannot come to mean another.
pub(super) struct Process<'a> {
    proc: &'a Path,
    pid: u32,
    handle: OwnedFd,
}

impl<'a> Process<'a> {
    pub(super) fn open(proc: &'a Path, pid: u32) -> io::Result<Self> {
        Ok(Self { proc, pid, handle: pidfd_open(pid)? })
    }

    /// Brings at most so many bytes of swapped pages back, and returns how many were asked for.
    pub(super) fn bring_back(&self, most_bytes: u64) -> io::Result<u64> {
        let ranges = self.swapped(most_bytes)?;
        let mut asked = 0;
        for some in ranges.chunks(MOST_RANGES) {
            process_madvise(&self.handle, some, Advice::WillNeed)?;
            for range in some {
                self.touch(range)?;
                asked += range.end - range.start;
            }
        }
        Ok(asked)
    }

    /// Writes at most about so many bytes of resident pages out, the mappings first that were used least lately. Returns how
    /// many were asked for.
    pub(super) fn page_out(&self, most_bytes: u64) -> io::Result<u64> {
        let mut mappings = self.mappings()?;
        mappings.retain(|mapping| mapping.rss_bytes > 0 && !mapping.locked);
        mappings.sort_by_key(|mapping| mapping.referenced_bytes.saturating_mul(1000) / mapping.rss_bytes);
        let ranges = to_page_out(&mappings, most_bytes, super::page_bytes());
        let mut asked = 0;
        for range in ranges {
            match process_madvise(&self.handle, std::slice::from_ref(&range), Advice::PageOut) {
                Ok(bytes) => asked += bytes,
                // Mappings that cannot be paged out (of devices, or gone by now) are left.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOMEM)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(asked)
    }

    fn file(&self, name: &str) -> io::Result<File> {
        File::open(self.proc.join(self.pid.to_string()).join(name))
    }

    fn mappings(&self) -> io::Result<Vec<Mapping>> {
        parse_smaps(BufReader::new(self.file("smaps")?))
    }

    /// The ranges of swapped pages, at most so many bytes of them.
    fn swapped(&self, most_bytes: u64) -> io::Result<Vec<Range<u64>>> {
        let page = super::page_bytes();
        let pagemap = self.file("pagemap")?;
        let mut left_pages = most_bytes.div_ceil(page);
        let mut ranges = Vec::new();
        let mut entries = vec![0; ENTRIES * 8];
        for Mapping { range, .. } in self.mappings()?.into_iter().filter(|mapping| mapping.swap_bytes > 0) {
            let mut first = range.start / page;
            while first < range.end / page && left_pages > 0 {
                let count = (range.end / page - first).min(ENTRIES as u64) as usize;
                let read = read_at_most(&pagemap, &mut entries[..count * 8], first * 8)?;
                if read < 8 {
                    break;
                }
                left_pages -= add_swapped(&entries[..read], first, page, left_pages, &mut ranges);
                first += read as u64 / 8;
            }
        }
        Ok(ranges)
    }

    /// Reads one byte of each page of the other process, as if it had touched it.
    fn touch(&self, range: &Range<u64>) -> io::Result<()> {
        let page = super::page_bytes();
        let mut thrown_away = [0; MOST_RANGES];
        let mut next = range.start;
        while next < range.end {
            let count = ((range.end - next) / page).clamp(1, MOST_RANGES as u64);
            let remote: Vec<_> =
                (0..count).map(|i| RemoteIoVec { base: (next + i * page) as usize, len: 1 }).collect();
            let mut local = [IoSliceMut::new(&mut thrown_away[..count as usize])];
            match process_vm_readv(Pid::from_raw(self.pid as i32), &mut local, &remote) {
                Ok(read) => next += (read as u64).max(1) * page,
                // It was unmapped meanwhile: on to the next.
                Err(nix::errno::Errno::EFAULT) => next += page,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// `VmSwap` and `VmRSS` of a process, in bytes; 0 if it is gone.
pub(super) fn swap_and_rss(proc: &Path, pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(proc.join(pid.to_string()).join("status")).unwrap_or_default();
    let kib = |key| status.lines().find_map(|line| kib_of(line, key)).unwrap_or(0);
    (kib("VmSwap:") * 1024, kib("VmRSS:") * 1024)
}

fn kib_of(line: &str, key: &str) -> Option<u64> {
    line.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn parse_smaps(mut lines: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(mappings);
        }
        let line = String::from_utf8_lossy(&line);
        if let Some(range) = range_of(&line) {
            mappings.push(Mapping { range, ..Mapping::default() });
        } else if let Some(mapping) = mappings.last_mut() {
            let line = line.trim_end();
            if let Some(kib) = kib_of(line, "Rss:") {
                mapping.rss_bytes = kib * 1024;
            } else if let Some(kib) = kib_of(line, "Referenced:") {
                mapping.referenced_bytes = kib * 1024;
            } else if let Some(kib) = kib_of(line, "Swap:") {
                mapping.swap_bytes = kib * 1024;
            } else if let Some(flags) = line.strip_prefix("VmFlags:") {
                mapping.locked = flags.split_whitespace().any(|flag| flag == "lo");
            }
        }
    }
}

/// `7f00-7f10 rw-p …`
fn range_of(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    (start < end).then_some(start..end)
}

fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// Adds the swapped pages among these entries of `pagemap` to the ranges, and returns how many there were.
fn add_swapped(entries: &[u8], first: u64, page: u64, most: u64, ranges: &mut Vec<Range<u64>>) -> u64 {
    /// From the kernel's documentation of pagemap.
    const SWAPPED: u64 = 1 << 62;
    let mut added = 0;
    for (number, entry) in (first..).zip(entries.as_chunks::<8>().0) {
        if u64::from_le_bytes(*entry) & SWAPPED == 0 || added == most {
            continue;
        }
        let start = number * page;
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end += page,
            _ => ranges.push(start..start + page),
        }
        added += 1;
    }
    added
}

/// What to page out of mappings so that about so many resident bytes are.
fn to_page_out(mappings: &[Mapping], most_bytes: u64, page: u64) -> Vec<Range<u64>> {
    let mut left = most_bytes;
    let mut ranges = Vec::new();
    for Mapping { range, rss_bytes, .. } in mappings {
        if left == 0 {
            break;
        }
        let length = range.end - range.start;
        // Of a mapping that holds more than is wanted, the part that holds so much if it is spread evenly.
        let share = u128::from(length) * u128::from(left.min(*rss_bytes)) / u128::from(*rss_bytes).max(1);
        let end = range.start + (share as u64).next_multiple_of(page).min(length);
        ranges.push(range.start..end);
        left = left.saturating_sub(*rss_bytes);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0a000-55d0c000 r--p 00000000 fe:00 1234  /usr/bin/x-y z
Rss:                   8 kB
Referenced:            8 kB
Swap:                  0 kB
SwapPss:               0 kB
VmFlags: rd mr mw me
7f000000-7f100000 rw-p 00000000 00:00 0
Rss:                 512 kB
Referenced:           16 kB
Swap:                256 kB
Locked:                0 kB
VmFlags: rd wr mr mw me ac lo
";

    #[test]
    fn smaps_are_read() {
        let mappings = parse_smaps(SMAPS.as_bytes()).unwrap();
        let second = Mapping {
            range: 0x7f00_0000..0x7f10_0000,
            rss_bytes: 512 << 10,
            referenced_bytes: 16 << 10,
            swap_bytes: 256 << 10,
            locked: true,
        };
        assert_eq!(mappings[1], second);
        assert_eq!((mappings.len(), mappings[0].swap_bytes, mappings[0].locked), (2, 0, false));
    }

    #[test]
    fn swapped_pages_are_joined_to_ranges_up_to_the_most_that_was_asked_for() {
        let entries: Vec<u8> = [1u64 << 62, 1 << 62, 1 << 63, 1 << 62, 0, 1 << 62]
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        let mut ranges = Vec::new();
        assert_eq!(add_swapped(&entries, 16, 4096, 3, &mut ranges), 3);
        assert_eq!(ranges, [16 * 4096..18 * 4096, 19 * 4096..20 * 4096]);
    }

    #[test]
    fn a_part_of_a_mapping_is_paged_out_if_that_is_enough() {
        let mapping = Mapping { range: 0..100 * 4096, rss_bytes: 50 * 4096, ..Mapping::default() };
        let two = [mapping.clone(), Mapping { range: 4096 * 200..4096 * 300, ..mapping }];
        assert_eq!(to_page_out(&two, 75 * 4096, 4096), [0..100 * 4096, 4096 * 200..4096 * 250]);
        assert_eq!(to_page_out(&two, 10 * 4096, 4096), vec![0..20 * 4096]);
    }

    #[test]
    fn a_child_is_asked_without_harm() {
        // Without swap there is nothing to bring back; that the calls are taken, and that the child lives on, can be seen.
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process::open(Path::new("/proc"), child.id()).unwrap();
        let asked = process.page_out(1 << 20).and_then(|_| process.bring_back(1 << 30));
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        match asked {
            Ok(_) => {}
            // Not every sandbox lets one process look into another.
            Err(error) => eprintln!("process_madvise cannot be had here ({error}): not tested"),
        }
    }
}
