//! What systemd and the kernel do when they are told, as [`systemd_policy::act::SystemdHands`] would have them do it, and the
//! ways in which they fail.

use std::path::{Path, PathBuf};

use systemd_policy::act::{Hands, InEffect, Limit, Memory, Moved};
use systemd_policy::{Error, Result};

use super::Machine;
use super::files;

impl Machine {
    /// The unit's cgroup, unless the bus is away or the unit is gone, or goes now.
    fn ask(&self, unit: &str) -> Result<PathBuf> {
        if self.0.is_bus_away.get() {
            return Err(refused("asking systemd", "the connection is closed", "try again when it is back"));
        }
        let dies = self.0.dies.borrow_mut().take_if(|(mortal, calls)| {
            let is_touched = mortal == unit;
            *calls = calls.saturating_sub(u32::from(is_touched && *calls > 0));
            is_touched && *calls == 0
        });
        if let Some((unit, _)) = dies {
            self.end(&unit);
        }
        self.group(unit).ok_or_else(|| Error::Gone { unit: unit.to_owned() })
    }
}

fn refused(what: &str, reason: &str, next_step: &str) -> Error {
    let (what, reason, next_step) = (what.to_owned(), reason.to_owned(), next_step.to_owned());
    Error::Refused { what, reason, next_step }
}

impl Hands for Machine {
    fn limit(&mut self, unit: &str, limit: Limit) -> Result<Option<u64>> {
        let group = self.ask(unit)?;
        let set = self.0.set.borrow().get(&(unit.to_owned(), limit)).copied();
        Ok(set.unwrap_or_else(|| files::amount(&group.join(limit.file()))))
    }

    fn set_limit(&mut self, unit: &str, limit: Limit, bytes: Option<u64>) -> Result<Option<u64>> {
        let before = self.limit(unit, limit)?;
        let group = self.ask(unit)?;
        self.0.set.borrow_mut().insert((unit.to_owned(), limit), bytes);
        files::set_amount(&group.join(limit.file()), bytes);
        if limit == Limit::MemoryHigh {
            let current = files::amount(&group.join("memory.current")).unwrap();
            self.swap_out(unit, current.saturating_sub(bytes.unwrap_or(u64::MAX)));
        }
        Ok(before)
    }

    fn in_effect(&mut self, unit: &str, limit: Limit) -> Result<InEffect> {
        let own = files::amount(&self.ask(unit)?.join(limit.file()));
        if limit != Limit::MemoryLow || own == Some(0) {
            return Ok(InEffect::Now(own));
        }
        let granted = files::amount(&self.slice().join(limit.file()));
        let less = granted.filter(|granted| own.is_none_or(|own| *granted < own));
        Ok(less.map_or(InEffect::Now(own), |bytes| InEffect::Weakened {
            ancestor: "system.slice".to_owned(),
            bytes,
        }))
    }

    fn bring_back(&mut self, unit: &str, bytes: u64) -> Result<Moved> {
        self.ask(unit)?;
        let before_bytes = self.swapped(unit);
        self.swap_in(unit, bytes);
        Ok(Moved { before_bytes, after_bytes: self.swapped(unit) })
    }

    fn reclaim(&mut self, unit: &str, bytes: u64) -> Result<Moved> {
        let current = self.ask(unit)?.join("memory.current");
        let before_bytes = files::amount(&current).unwrap();
        self.swap_out(unit, bytes);
        Ok(Moved { before_bytes, after_bytes: files::amount(&current).unwrap() })
    }

    fn ask_to_release(&mut self, unit: &str, socket: &Path, _: Memory, _: u64, _: &str) -> Result<Moved> {
        self.ask(unit)?;
        let what = format!("asking at {}", socket.display());
        Err(refused(&what, "nobody listens", "start it with its socket"))
    }
}
