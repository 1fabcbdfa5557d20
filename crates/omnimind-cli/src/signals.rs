//! Turns a file-size limit from a sudden death into an error like any other: without this the system ends the process
//! with SIGXFSZ at the first write beyond the limit, before anything could be said.
#![allow(unsafe_code)] // Signals cannot be ignored without.

#[cfg(unix)]
pub(crate) fn survive_file_size_limits() {
    // SAFETY: SIG_IGN installs no handler, so no code of ours ever runs in a signal; the call has no other effect.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(not(unix))]
pub(crate) fn survive_file_size_limits() {}
