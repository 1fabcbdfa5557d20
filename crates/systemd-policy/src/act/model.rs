//! Hands on a system that is not there: it does what it is told, writes down what it was asked, and fails when it is to.
//! For tests of this crate and of those who build on it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use super::hands::{Hands, InEffect, Limit, Memory, Moved};
use crate::error::{Error, Result};

/// A system that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Its units, by name.
    pub units: BTreeMap<String, ModelUnit>,
    /// What it was asked to do, in order.
    pub asked: Vec<String>,
    /// How the next calls go, the first first; after these, all go well.
    pub faults: VecDeque<Fault>,
}

/// A unit of a [`Model`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelUnit {
    /// What systemd has, in bytes. `MemoryLow` that is not here is 0, the others infinity.
    pub set: BTreeMap<Limit, Option<u64>>,
    /// What the kernel has where it differs from that.
    pub ignored: BTreeMap<Limit, Option<u64>>,
    /// In swap, in bytes.
    pub swap_bytes: u64,
    /// In use, in bytes.
    pub memory_bytes: u64,
    /// On a card, in bytes.
    pub vram_bytes: u64,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Well.
    None,
    /// It is refused, and nothing changes.
    Refused,
    /// It is done, but the answer is lost: the caller sees an error.
    AnswerLost,
    /// It is said to be done, but the kernel does not have it.
    Ignored,
    /// The unit is gone before it can be done.
    Dies,
}

impl Model {
    /// With these units, each without limits.
    #[must_use]
    pub fn with<'a>(units: impl IntoIterator<Item = &'a str>) -> Self {
        let units = units.into_iter().map(|name| (name.to_owned(), ModelUnit::default())).collect();
        Self { units, ..Self::default() }
    }

    /// What systemd has for a unit, as a line of a unit file; `None` if there is no such unit.
    #[must_use]
    pub fn line(&self, unit: &str, limit: Limit) -> Option<String> {
        self.units.get(unit).map(|unit| limit.line(unit.get(limit)))
    }

    /// The unit, and how this call goes, unless it fails before anything is done.
    fn begin(&mut self, unit: &str, what: &str) -> Result<(&mut ModelUnit, Fault)> {
        self.asked.push(format!("{unit}: {what}"));
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::Refused => return Err(refused(unit, "the model refuses it")),
            Fault::Dies => drop(self.units.remove(unit)),
            _ => {}
        }
        let found = self.units.get_mut(unit).ok_or_else(|| Error::Gone { unit: unit.to_owned() })?;
        Ok((found, fault))
    }

    /// Moves so much from one of a unit's amounts.
    fn take(
        &mut self,
        (unit, what): (&str, &str),
        bytes: u64,
        amount: impl FnOnce(&mut ModelUnit) -> &mut u64,
    ) -> Result<Moved> {
        let (found, fault) = self.begin(unit, what)?;
        let amount = amount(found);
        let before_bytes = *amount;
        if fault != Fault::Ignored {
            *amount = before_bytes.saturating_sub(bytes);
        }
        let after_bytes = *amount;
        answer(unit, fault, Moved { before_bytes, after_bytes })
    }
}

impl ModelUnit {
    fn get(&self, limit: Limit) -> Option<u64> {
        let usual = if limit == Limit::MemoryLow { Some(0) } else { None };
        self.set.get(&limit).copied().unwrap_or(usual)
    }
}

fn refused(unit: &str, reason: &str) -> Error {
    Error::refused(unit, reason, "nothing is to be done")
}

fn answer<T>(unit: &str, fault: Fault, answer: T) -> Result<T> {
    if fault == Fault::AnswerLost { Err(refused(unit, "the answer is lost")) } else { Ok(answer) }
}

impl Hands for Model {
    fn limit(&mut self, unit: &str, limit: Limit) -> Result<Option<u64>> {
        let (found, fault) = self.begin(unit, &format!("read {}", limit.property()))?;
        let set = found.get(limit);
        answer(unit, fault, set)
    }

    fn set_limit(&mut self, unit: &str, limit: Limit, bytes: Option<u64>) -> Result<Option<u64>> {
        let (found, fault) = self.begin(unit, &format!("set {}", limit.line(bytes)))?;
        let before = found.get(limit);
        if fault == Fault::Ignored {
            found.ignored.entry(limit).or_insert(before);
        } else {
            found.ignored.remove(&limit);
        }
        found.set.insert(limit, bytes);
        answer(unit, fault, before)
    }

    fn in_effect(&mut self, unit: &str, limit: Limit) -> Result<InEffect> {
        let (found, fault) = self.begin(unit, &format!("check {}", limit.property()))?;
        let bytes = found.ignored.get(&limit).copied().unwrap_or_else(|| found.get(limit));
        answer(unit, fault, InEffect::Now(bytes))
    }

    fn bring_back(&mut self, unit: &str, bytes: u64) -> Result<Moved> {
        self.take((unit, &format!("bring back {bytes}")), bytes, |found| &mut found.swap_bytes)
    }

    fn reclaim(&mut self, unit: &str, bytes: u64) -> Result<Moved> {
        self.take((unit, &format!("reclaim {bytes}")), bytes, |found| &mut found.memory_bytes)
    }

    fn ask_to_release(
        &mut self,
        unit: &str,
        socket: &Path,
        memory: Memory,
        bytes: u64,
        _: &str,
    ) -> Result<Moved> {
        let what = format!("ask at {} for {bytes} of {memory}", socket.display());
        self.take((unit, &what), bytes, |found| match memory {
            Memory::Ram => &mut found.memory_bytes,
            Memory::Vram => &mut found.vram_bytes,
        })
    }
}
