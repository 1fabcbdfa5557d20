//! `PyTorch`'s two wordings, and that of gpu-probe, which has the shape of the newer one.
//!
//! Until 2.0: `Tried to allocate 20.00 MiB (GPU 0; 3.81 GiB total capacity; 2.90 GiB already allocated; 17.94 MiB free;
//! 3.02 GiB reserved in total by PyTorch)`. Since: `Tried to allocate X. GPU 0 has a total capacity of Y of which Z is
//! free. Process 1234 has 1.2 GiB memory in use. Including non-PyTorch memory, this process has …`.

use crate::size::{bytes_after, bytes_before, leading_bytes, leading_number};

use super::code::is_code_before;
use super::{MOST_PROCESSES, Message, Numbers, ProcessUse, Source};

pub(super) fn read(line: &str) -> Option<Message> {
    const TRIED: &str = "Tried to allocate ";
    let at = line.find("out of memory")?;
    let tried = at + line[at..].find(TRIED)?;
    let requested = leading_bytes(&line[tried + TRIED.len()..])?;
    if is_code_before(line, at) {
        return None;
    }
    let device = line[..at].trim_end();
    let text = &line[at..];
    let is_probe = text.contains(" This process has ");
    let source = match device.rsplit([' ', ':']).next() {
        Some("CUDA") if is_probe => Source::GpuProbe,
        Some("CUDA") => Source::PyTorch,
        _ => Source::PyTorchOther,
    };
    let mut numbers = if text.contains(" total capacity;") { old(text) } else { new(text) };
    numbers.requested_bytes = Some(requested);
    if is_probe {
        of_probe(text, &mut numbers);
    }
    let says_fragmented = is_probe && text.contains("Memory is fragmented");
    Some(Message { source, numbers, says_fragmented })
}

fn old(text: &str) -> Numbers {
    let allocated_bytes = bytes_before(text, " already allocated");
    let reserved_bytes =
        bytes_before(text, " reserved in total by PyTorch").or_else(|| bytes_before(text, " cached"));
    Numbers {
        device: device_after(text, "(GPU "),
        total_bytes: bytes_before(text, " total capacity"),
        free_bytes: bytes_before(text, " free"),
        allocated_bytes,
        reserved_bytes,
        reserved_unallocated_bytes: reserved_bytes
            .zip(allocated_bytes)
            .map(|(reserved, allocated)| reserved.saturating_sub(allocated)),
        ..Numbers::default()
    }
}

fn new(text: &str) -> Numbers {
    let allocated_bytes = bytes_before(text, " is allocated by PyTorch");
    let reserved_unallocated_bytes = bytes_before(text, " is reserved by PyTorch but unallocated");
    // MPS: "(MPS allocated: 5.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)".
    Numbers {
        device: device_after(text, " GPU "),
        total_bytes: bytes_after(text, "total capacity of ")
            .or_else(|| bytes_after(text, "total capacty of ")) // 2.1 misspelt it.
            .or_else(|| bytes_after(text, "max allowed: ")),
        free_bytes: bytes_after(text, " of which ").or_else(|| bytes_before(text, " is free")),
        largest_free_bytes: bytes_before(text, " of it in one piece"),
        allocated_bytes: allocated_bytes.or_else(|| bytes_after(text, "MPS allocated: ")),
        reserved_bytes: allocated_bytes
            .zip(reserved_unallocated_bytes)
            .map(|(allocated, rest)| allocated.saturating_add(rest)),
        reserved_unallocated_bytes,
        this_process_bytes: bytes_after(text, "this process has "),
        others: processes(text),
        ..Numbers::default()
    }
}

/// `This process has 3.00 MiB memory in use: 1.00 MiB allocated, 2.00 MiB reserved but unallocated.`, or `This process has
/// allocated 1.00 MiB.`
fn of_probe(text: &str, numbers: &mut Numbers) {
    numbers.this_process_bytes = bytes_after(text, " This process has ");
    numbers.reserved_bytes = numbers.this_process_bytes;
    numbers.allocated_bytes =
        bytes_before(text, " allocated,").or_else(|| bytes_after(text, "This process has allocated "));
    numbers.reserved_unallocated_bytes = bytes_before(text, " reserved but unallocated");
}

fn device_after(text: &str, words: &str) -> Option<u32> {
    let at = text.find(words)?;
    leading_number(&text[at + words.len()..])?.try_into().ok()
}

/// Each `Process 1234 (python) has 1.20 GiB memory in use.`
fn processes(text: &str) -> Vec<ProcessUse> {
    let process = |text: &str| {
        let pid = leading_number(text)?.try_into().ok()?;
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let named = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (name, rest) = named.map_or((None, rest), |(name, rest)| (Some(name), rest.trim_start()));
        let used = rest.strip_prefix("has ")?;
        let name = name.map(|name| crate::line::shortened(name, 64)).filter(|name| !name.is_empty());
        Some(ProcessUse { pid, name, bytes: leading_bytes(used) })
    };
    text.split("Process ").skip(1).filter_map(process).take(MOST_PROCESSES).collect()
}
