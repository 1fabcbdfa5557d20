//! Processes that lose their parent come to this one while tests run, and are waited for when they end.

use std::collections::HashSet;
use std::process::{Child, Command};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpgrp};

use super::table;

/// How many [`Reaper`]s there are, whether this process was one before, and the children that somebody waits for by themselves.
#[derive(Debug, Default)]
struct State {
    reapers: usize,
    was_subreaper: bool,
    waited_for: HashSet<u32>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as it lives, this process adopts the orphans among its descendants. That is a property of the whole process.
#[derive(Debug)]
pub(crate) struct Reaper(());

impl Reaper {
    pub(crate) fn new() -> Self {
        let mut state = state();
        if state.reapers == 0 {
            state.was_subreaper = subreaper::is_set();
            subreaper::set(true);
        }
        state.reapers += 1;
        Self(())
    }

    /// Whether orphans come here.
    pub(super) fn works() -> bool {
        subreaper::is_set()
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        reap_orphans();
        let mut state = state();
        state.reapers -= 1;
        if state.reapers == 0 && !state.was_subreaper {
            subreaper::set(false);
        }
    }
}

/// Starts a child that somebody will wait for.
pub(super) fn start(command: &mut Command) -> std::io::Result<Child> {
    // Held while it starts, so that it cannot be taken for an orphan in between.
    let mut state = state();
    let child = command.spawn()?;
    state.waited_for.insert(child.id());
    Ok(child)
}

/// Nobody waits for this child any more, because somebody has.
pub(super) fn forget(pid: u32) {
    state().waited_for.remove(&pid);
}

/// Waits for adopted processes that have ended. Children that this program started for itself are in its own process group, or
/// are waited for by those who started them here: they are left alone.
pub(super) fn reap_orphans() {
    let state = state();
    let (own, own_group) = (std::process::id(), getpgrp().as_raw() as u32);
    for process in table::all() {
        let adopted = process.zombie && process.parent == own && process.group != own_group;
        if adopted && !state.waited_for.contains(&process.pid) {
            // Whoever was faster is welcome.
            let _ = waitpid(Pid::from_raw(process.pid as i32), Some(WaitPidFlag::WNOHANG));
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod subreaper {
    pub(super) fn is_set() -> bool {
        nix::sys::prctl::get_child_subreaper().unwrap_or(false)
    }

    pub(super) fn set(on: bool) {
        // Kernels before 3.4 cannot; then processes are found by their mark only.
        let _ = nix::sys::prctl::set_child_subreaper(on);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod subreaper {
    pub(super) fn is_set() -> bool {
        false
    }

    pub(super) fn set(_: bool) {}
}
