//! Main memory: the kernel's OOM killer, and allocators that were refused.

use crate::size::{bytes_after, leading_number};

use super::code::is_code_before;
use super::{Message, Numbers, ProcessUse, Source, is_raised};

/// `Out of memory: Killed process 1234 (python3) total-vm:…kB, anon-rss:…kB, …` and `oom-kill:constraint=…,task=python3,pid=1234`.
/// The process is the one that was killed; what it held is what the kernel calls `anon-rss`.
pub(super) fn killed(line: &str) -> Option<Message> {
    let victim = if line.contains("oom-kill:constraint=") {
        let pid = line.rsplit_once(",pid=").and_then(|(_, pid)| leading_number(pid));
        let name = line.split_once(",task=").and_then(|(_, rest)| rest.split(',').next());
        (pid, name, None)
    } else {
        let at = line.find("ut of memory: Kill").or_else(|| line.find("OOM killer: Kill"))?;
        let (_, rest) = line[at..].split_once(" process ")?;
        let name = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(name, _)| name);
        (leading_number(rest), name, bytes_after(rest, "anon-rss:"))
    };
    let (pid, name, bytes) = victim;
    let pid = u32::try_from(pid?).ok()?;
    let name = name.map(|name| crate::line::shortened(name, 64));
    let others = vec![ProcessUse { pid, name, bytes }];
    Some(Message::new(Source::Kernel, Numbers { others, ..Numbers::default() }))
}

pub(super) fn allocator(line: &str) -> Option<Message> {
    let refused = |requested_bytes| {
        Some(Message::new(Source::HostAllocator, Numbers { requested_bytes, ..Numbers::default() }))
    };
    // "DefaultCPUAllocator: can't allocate memory: you tried to allocate 34359738368 bytes."
    if let Some(at) = line.find("DefaultCPUAllocator: ") {
        return (!is_code_before(line, at)).then(|| refused(bytes_after(line, "you tried to allocate ")))?;
    }
    if let Some(at) = line.find("std::bad_alloc") {
        return (!is_code_before(line, at)).then(|| refused(None))?;
    }
    // "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 14.9 GiB for an array with shape (2000000000,)"
    let at = line.find("MemoryError")?;
    let owner = line[..at].rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
    let is_host = matches!(owner, "" | "_Array" | "Array");
    (is_host && is_raised(line, at, "MemoryError".len()))
        .then(|| refused(bytes_after(line, "Unable to allocate ")))?
}
