//! Doing what was decided, checking that it took effect, and taking it back.

pub mod apply;
pub mod hands;
pub mod measures;
pub mod model;

pub use apply::{Applied, CouldNot, Deed, Done, Plan, Step, apply, lift_all, plan};
pub use hands::{Hands, InEffect, Limit, Moved};
pub use measures::{Measure, Measures};
pub use model::Model;

/// The size of a page, in bytes.
pub(crate) fn page_bytes() -> u64 {
    #[cfg(unix)]
    if let Ok(Some(bytes)) = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE) {
        return u64::try_from(bytes).unwrap_or(4096).max(1);
    }
    4096
}
