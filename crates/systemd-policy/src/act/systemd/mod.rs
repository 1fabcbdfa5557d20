//! Hands on a real system: limits through systemd's D-Bus API, what is in effect from cgroup files, pages through
//! `process_madvise`.

mod manager;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use super::cgroup::Cgroup;
use super::hands::{Hands, InEffect, Limit, Memory, Moved, RELEASE_PATIENCE};
use super::pages::{Process, swap_and_rss};
use super::release;
use crate::bus::Bus;
use crate::error::{Error, Result};
use crate::observe::Roots;
use manager::Systemd;

/// How long systemd may take to write to the cgroup what it was told.
const TAKES_EFFECT: Duration = Duration::from_secs(2);

/// Infinity, over D-Bus.
const INFINITY: u64 = u64::MAX;

/// Hands on a real system. Connects when it is first needed, and again after the connection has broken.
#[derive(Debug)]
pub struct SystemdHands {
    systemd: Systemd,
    roots: Roots,
}

impl SystemdHands {
    /// On the services of the system. Needs root, or polkit's leave.
    #[must_use]
    pub fn system(roots: Roots) -> Self {
        Self { systemd: Systemd::new(Bus::System), roots }
    }

    /// On the services of the user who calls.
    #[must_use]
    pub fn user(roots: Roots) -> Self {
        Self { systemd: Systemd::new(Bus::User), roots }
    }

    /// On the systemd of the bus at this D-Bus address.
    #[must_use]
    pub fn at(address: &str, roots: Roots) -> Self {
        Self { systemd: Systemd::new(Bus::Address(address.to_owned())), roots }
    }

    /// Has systemd read its units anew, after they were installed or removed.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it does not.
    pub fn reload(&mut self) -> Result<()> {
        self.systemd.reload()
    }

    /// Starts a unit, or starts it anew if it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] and [`Error::Refused`].
    pub fn restart(&mut self, unit: &str) -> Result<()> {
        self.systemd.restart(unit)
    }

    /// Stops a unit.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] and [`Error::Refused`].
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        self.systemd.stop(unit)
    }

    /// The unit's cgroup; `None` if it does not run.
    fn cgroup(&mut self, unit: &str) -> Result<Option<Cgroup>> {
        let path: String = self.systemd.property(unit, interface(unit)?, "ControlGroup")?;
        if path.is_empty() {
            return Ok(None);
        }
        Ok(Some(Cgroup::new(&self.roots.cgroup, &path)?).filter(Cgroup::exists))
    }

    fn running(&mut self, unit: &str) -> Result<Cgroup> {
        let next = "start it first";
        self.cgroup(unit)?.ok_or_else(|| Error::refused(unit, "it does not run", next))
    }

    fn swap_bytes(&self, pids: &[u32]) -> u64 {
        pids.iter().map(|pid| swap_and_rss(&self.roots.proc, *pid).0).sum()
    }
}

/// The D-Bus interface of units of this kind.
fn interface(unit: &str) -> Result<&'static str> {
    match unit.rsplit('.').next() {
        Some("service") => Ok("org.freedesktop.systemd1.Service"),
        Some("slice") => Ok("org.freedesktop.systemd1.Slice"),
        Some("scope") => Ok("org.freedesktop.systemd1.Scope"),
        _ => Err(Error::refused(unit, "only services, slices and scopes have memory", "name one of these")),
    }
}

impl Hands for SystemdHands {
    fn limit(&mut self, unit: &str, limit: Limit) -> Result<Option<u64>> {
        let interface = interface(unit)?;
        let state: String = self.systemd.property(unit, "org.freedesktop.systemd1.Unit", "LoadState")?;
        if state == "not-found" {
            return Err(Error::Gone { unit: unit.to_owned() });
        }
        let bytes: u64 = self.systemd.property(unit, interface, limit.property())?;
        Ok(Some(bytes).filter(|bytes| *bytes != INFINITY))
    }

    fn set_limit(&mut self, unit: &str, limit: Limit, bytes: Option<u64>) -> Result<Option<u64>> {
        let before = self.limit(unit, limit)?;
        self.systemd.set(unit, limit.property(), bytes.unwrap_or(INFINITY))?;
        // systemd answers before it writes to the cgroup; what is still not so after this is for the caller to see.
        let pause = Duration::from_millis(10);
        let mut waited = Duration::ZERO;
        while waited < TAKES_EFFECT {
            match self.in_effect(unit, limit)? {
                InEffect::Now(now) if super::same(now, bytes) => break,
                InEffect::Now(_) => {}
                InEffect::WhenItStarts | InEffect::Weakened { .. } => break,
            }
            std::thread::sleep(pause);
            waited += pause;
        }
        Ok(before)
    }

    fn in_effect(&mut self, unit: &str, limit: Limit) -> Result<InEffect> {
        match self.cgroup(unit)? {
            Some(cgroup) => cgroup.in_effect(limit),
            None => Ok(InEffect::WhenItStarts),
        }
    }

    fn bring_back(&mut self, unit: &str, bytes: u64) -> Result<Moved> {
        let pids = self.running(unit)?.pids();
        let before_bytes = self.swap_bytes(&pids);
        let mut left = bytes;
        for pid in &pids {
            if left == 0 || swap_and_rss(&self.roots.proc, *pid).0 == 0 {
                continue;
            }
            let asked = Process::open(&self.roots.proc, *pid).and_then(|process| process.bring_back(left));
            left = left.saturating_sub(of_process(unit, *pid, asked)?);
        }
        Ok(Moved { before_bytes, after_bytes: self.swap_bytes(&pids) })
    }

    fn reclaim(&mut self, unit: &str, bytes: u64) -> Result<Moved> {
        let cgroup = self.running(unit)?;
        let before_bytes = cgroup.memory_bytes()?;
        if !cgroup.reclaim(bytes)? {
            let mut left = bytes;
            for pid in cgroup.pids() {
                if left == 0 {
                    break;
                }
                let asked = Process::open(&self.roots.proc, pid).and_then(|process| process.page_out(left));
                left = left.saturating_sub(of_process(unit, pid, asked)?);
            }
        }
        Ok(Moved { before_bytes, after_bytes: cgroup.memory_bytes()? })
    }

    fn ask_to_release(
        &mut self,
        unit: &str,
        socket: &Path,
        memory: Memory,
        bytes: u64,
        reason: &str,
    ) -> Result<Moved> {
        let cgroup = self.running(unit)?;
        let before_bytes = cgroup.memory_bytes()?;
        let answer = release::ask(socket, memory, bytes, reason, RELEASE_PATIENCE)?;
        Ok(match memory {
            Memory::Ram => Moved { before_bytes, after_bytes: cgroup.memory_bytes()? },
            Memory::Vram => Moved { before_bytes: answer.released_bytes, after_bytes: 0 },
        })
    }
}

/// How much was asked of a process; nothing of one that has ended meanwhile.
fn of_process(unit: &str, pid: u32, asked: std::io::Result<u64>) -> Result<u64> {
    match asked {
        Ok(bytes) => Ok(bytes),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => Ok(0),
        Err(error) => {
            let next = "it needs Linux 5.13, CAP_SYS_PTRACE and CAP_SYS_NICE: run it as root";
            Err(Error::refused(format!("{unit}: pages of process {pid}"), error, next))
        }
    }
}
