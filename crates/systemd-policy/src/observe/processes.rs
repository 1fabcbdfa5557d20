//! What a process uses: three lines of its `status`, or, where it has none in swap, one number of its `statm`, which costs
//! the kernel a quarter of that.

use std::io;
use std::path::Path;

use super::parse;
use super::reader::Reader;

/// What a process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Process<'a> {
    /// As the kernel writes it, at most 64 bytes.
    pub(crate) name: &'a [u8],
    /// `VmRSS`; 0 for threads of the kernel and for what has ended and is not yet fetched.
    pub(crate) rss_bytes: u64,
    /// `VmSwap`. Shared memory that lies in swap is not in it.
    pub(crate) swap_bytes: u64,
}

/// `None` where it has ended, or is hidden.
pub(crate) fn read<'a>(reader: &'a mut Reader, proc: &Path, pid: u32) -> io::Result<Option<Process<'a>>> {
    Ok(file(reader, proc, pid, "status")?.map(of))
}

/// Its resident memory in bytes, and nothing else. `None` as for [`read`].
pub(crate) fn read_rss(reader: &mut Reader, proc: &Path, pid: u32) -> io::Result<Option<u64>> {
    Ok(file(reader, proc, pid, "statm")?.map(|bytes| {
        // The second of its numbers, in pages.
        let pages = parse::words(bytes).nth(1).and_then(parse::number).unwrap_or_default();
        pages.saturating_mul(crate::act::page_bytes())
    }))
}

fn file<'a>(reader: &'a mut Reader, proc: &Path, pid: u32, name: &str) -> io::Result<Option<&'a [u8]>> {
    match reader.of_process(proc, pid, name) {
        Ok(bytes) => Ok(Some(bytes)),
        // ESRCH: it ended between opening and reading.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(3) => Ok(None),
        Err(error) => Err(error),
    }
}

fn of(bytes: &[u8]) -> Process<'_> {
    let mut process = Process::default();
    let mut lines = parse::lines(bytes);
    if let Some(name) = lines.next().and_then(|line| line.strip_prefix(b"Name:\t")) {
        process.name = name;
    }
    for line in lines.filter(|line| line.starts_with(b"Vm")) {
        if let Some(bytes) = parse::kib_line(line, b"VmRSS:") {
            process.rss_bytes = bytes;
        } else if let Some(bytes) = parse::kib_line(line, b"VmSwap:") {
            process.swap_bytes = bytes;
            break;
        }
    }
    process
}
