//! Locking pages into RAM: the system calls that nix lacks, or takes no addresses for.

use std::io;
use std::ops::Range;

/// Keeps pages in RAM from when they are first touched. The range must be of whole pages.
pub(super) fn mlock_on_fault(pages: &Range<usize>) -> io::Result<()> {
    /// From `linux/mman.h`.
    const MLOCK_ONFAULT: libc::c_int = 1;
    // SAFETY: locking changes neither what pages hold nor where they are; the kernel refuses addresses that are not mapped.
    let answer =
        unsafe { libc::syscall(libc::SYS_mlock2, pages.start, pages.end - pages.start, MLOCK_ONFAULT) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// As [`mlock_on_fault`], but all pages are brought into RAM at once: for kernels before 4.4.
pub(super) fn mlock(pages: &Range<usize>) -> io::Result<()> {
    // SAFETY: as above.
    let answer = unsafe { libc::mlock(std::ptr::without_provenance(pages.start), pages.end - pages.start) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets pages leave RAM again.
pub(super) fn munlock(pages: &Range<usize>) -> io::Result<()> {
    // SAFETY: as above; pages that are not locked, or not there any more, are refused or left.
    let answer = unsafe { libc::munlock(std::ptr::without_provenance(pages.start), pages.end - pages.start) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives up all effective capabilities of the calling thread, and of no other.
#[cfg(test)]
pub(super) fn drop_thread_capabilities() -> io::Result<()> {
    // `_LINUX_CAPABILITY_VERSION_3` and this thread.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: header and data have the layout and the size that version 3 has (two structures of three numbers).
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
