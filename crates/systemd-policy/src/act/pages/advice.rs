//! Advice about the pages of another process: the system calls that nix lacks.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What may be said of the pages of another process. Neither changes what they hold: `MADV_DONTNEED`, which does, is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// They will be needed: read them from swap.
    WillNeed,
    /// Write them out.
    PageOut,
}

/// A file descriptor for a process, which stays the same process even if its number is taken by another.
pub(super) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: two integers go in; what comes back is checked, is new, and has no other owner.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}

/// The most ranges that one call takes (`UIO_MAXIOV`).
pub(super) const MOST_RANGES: usize = 1024;

/// Gives advice about at most [`MOST_RANGES`] ranges of a process. Returns how many bytes it was taken for.
pub(super) fn process_madvise(process: &OwnedFd, ranges: &[Range<u64>], advice: Advice) -> io::Result<u64> {
    let advice = match advice {
        Advice::WillNeed => libc::MADV_WILLNEED,
        Advice::PageOut => libc::MADV_PAGEOUT,
    };
    let vector: Vec<libc::iovec> = ranges
        .iter()
        .take(MOST_RANGES)
        .map(|range| libc::iovec {
            iov_base: std::ptr::without_provenance_mut(range.start as usize),
            iov_len: (range.end - range.start) as usize,
        })
        .collect();
    // SAFETY: the vector lives for the call and its length is given; the addresses in it are of the other process, the kernel
    // checks them, and neither advice changes what memory holds.
    let taken = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_raw_fd(),
            vector.as_ptr(),
            vector.len(),
            advice,
            0,
        )
    };
    u64::try_from(taken).map_err(|_| io::Error::last_os_error())
}
