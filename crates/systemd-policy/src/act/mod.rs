//! Doing what was decided, checking that it took effect, and taking it back.
//!
//! | module | its idea |
//! |---|---|
//! | [`hands`] | what can be done to a system |
//! | [`apply`](mod@apply) | doing recommendations one by one; if one fails, those before it are undone |
//! | [`measures`] | what stands, since when, and what was so before: survives the end of the daemon |
//! | [`systemd`] | hands on a real system: D-Bus, cgroup files, pages of processes |
//! | [`model`] | hands on a system that is not there, for tests |
//! | [`critical`] | memory of this process that never leaves RAM |
//! | [`release`] | asking a process to release memory, and answering |

pub mod apply;
#[cfg(all(target_os = "linux", feature = "dbus"))]
mod cgroup;
#[cfg(target_os = "linux")]
pub mod critical;
pub mod hands;
pub mod measures;
pub mod model;
#[cfg(all(target_os = "linux", feature = "dbus"))]
mod pages;
#[cfg(target_os = "linux")]
pub mod release;
#[cfg(all(target_os = "linux", feature = "dbus"))]
pub mod systemd;

pub use apply::{Applied, CouldNot, Deed, Done, Plan, Step, apply, lift_all, plan};
#[cfg(target_os = "linux")]
pub use critical::{CriticalBuffer, CriticalRegion};
pub use hands::{Hands, InEffect, Limit, Memory, Moved, RELEASE_PATIENCE};
pub use measures::{Measure, Measures};
pub use model::Model;
#[cfg(all(target_os = "linux", feature = "dbus"))]
pub use systemd::SystemdHands;

/// The size of a page, in bytes.
pub(crate) fn page_bytes() -> u64 {
    #[cfg(unix)]
    if let Ok(Some(bytes)) = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE) {
        return u64::try_from(bytes).unwrap_or(4096).max(1);
    }
    4096
}

/// Whether limits are the same to the kernel, which counts in pages.
pub(crate) fn same(a: Option<u64>, b: Option<u64>) -> bool {
    let pages = |bytes: Option<u64>| bytes.map(|bytes| bytes / page_bytes());
    pages(a) == pages(b)
}
