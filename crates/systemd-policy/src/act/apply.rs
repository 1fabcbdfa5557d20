//! Doing recommendations one by one. Each is shown, done and checked; if one fails, those before it in the same call are
//! undone, the last first, and what could not be undone is said and stays written down in the [`Measures`].
//!
//! What was moved (pages brought back, memory reclaimed or released) needs no undoing: the kernel moves it again as it is used.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::hands::{Amount, Hands, InEffect, Limit, Memory, Moved};
use super::measures::{Measure, Measures};
use crate::config::Config;
use crate::decide::{Action, Recommendation};
use crate::error::{Error, Result};

/// One thing that would be done. Its `Display` is the line that people see before it is done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What was recommended.
    pub recommendation: Recommendation,
    /// What that means on this system.
    pub deed: Deed,
}

/// What is done for a recommendation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A property of the unit is set, in bytes.
    Set(Limit, Option<u64>),
    /// A property that was set goes back to what it was before, in bytes.
    Lift(Limit, Option<u64>),
    /// Swapped pages are brought back.
    BringBack,
    /// Memory is reclaimed.
    Reclaim,
    /// The service is asked at this socket to release this memory.
    AskToRelease(PathBuf, Memory),
    /// Nothing: it is for people, or there is nothing to lift.
    Nothing,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recommendation { service, bytes, reason, .. } = &self.recommendation;
        if !service.is_empty() {
            write!(f, "{service}: ")?;
        }
        match &self.deed {
            Deed::Set(limit, to) => write!(f, "set {}", limit.line(*to))?,
            Deed::Lift(limit, to) => write!(f, "set {} as it was before", limit.line(*to))?,
            Deed::BringBack => write!(f, "bring up to {bytes} bytes back from swap")?,
            Deed::Reclaim => write!(f, "reclaim {bytes} bytes")?,
            Deed::AskToRelease(socket, memory) => {
                write!(f, "ask at {} to release {bytes} bytes of {memory}", socket.display())?;
            }
            Deed::Nothing if self.recommendation.action == Action::Lift => {
                f.write_str("nothing to take back")?;
            }
            Deed::Nothing => return f.write_str(reason),
        }
        write!(f, " ({reason})")
    }
}

/// What would be done, and what would be refused. If anything is refused, nothing is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Plan {
    /// What would be done, in this order.
    pub steps: Vec<Step>,
    /// What would be refused, and why.
    pub refused: Vec<CouldNot>,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Done {
    /// What was recommended.
    pub recommendation: Recommendation,
    /// What was done: `omnimind.service: set MemorySwapMax=0 (why)`.
    pub what: String,
    /// What was so before, in bytes: the limit that was set (`None`: infinity), or what was in swap or in use.
    pub before: Option<u64>,
    /// What is so now, in bytes.
    pub after: Option<u64>,
    /// Whether the kernel says so too.
    pub took_effect: bool,
    /// What else is to be known; mostly empty.
    pub note: String,
}

/// Something that could not be done, or could not be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CouldNot {
    /// What.
    pub what: String,
    /// Why, and the next step.
    pub reason: String,
    /// What may be left changed: unit and limit. `None` if nothing is.
    pub left: Option<(String, Limit)>,
}

/// What became of recommendations.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Applied {
    /// What was done and stands.
    pub done: Vec<Done>,
    /// What was done, and undone because something after it failed; the last first.
    pub undone: Vec<Done>,
    /// What could not be done or undone. Empty if all went well.
    pub could_not: Vec<CouldNot>,
}

impl Applied {
    /// Whether all was done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.could_not.is_empty()
    }

    /// Adds what became of others.
    pub fn extend(&mut self, other: Self) {
        self.done.extend(other.done);
        self.undone.extend(other.undone);
        self.could_not.extend(other.could_not);
    }
}

/// What [`apply`] would do, without doing it: what `--dry-run` shows.
#[must_use]
pub fn plan(recommendations: &[Recommendation], config: &Config, standing: &[Measure]) -> Plan {
    let mut plan = Plan::default();
    for recommendation in recommendations {
        match deeds(recommendation, config, standing) {
            Ok(deeds) => plan
                .steps
                .extend(deeds.into_iter().map(|deed| Step { recommendation: recommendation.clone(), deed })),
            Err(error) => plan.refused.push(CouldNot {
                what: format!("{}: {:?}", recommendation.service, recommendation.action),
                reason: error.to_string(),
                left: None,
            }),
        }
    }
    plan
}

fn deeds(
    Recommendation { service, action, bytes, .. }: &Recommendation,
    config: &Config,
    standing: &[Measure],
) -> Result<Vec<Deed>> {
    if *action == Action::Advise {
        return Ok(vec![Deed::Nothing]);
    }
    let refused = |reason: &str, next: String| Error::refused(service.clone(), reason, next);
    if *action == Action::Lift {
        // What was set is taken back even if the unit is not configured any more.
        let of_it = standing.iter().rev().filter(|measure| measure.unit == *service);
        let lifts: Vec<_> = of_it.map(|measure| Deed::Lift(measure.limit, measure.before)).collect();
        return Ok(if lifts.is_empty() { vec![Deed::Nothing] } else { lifts });
    }
    let Some(policy) = config.services.get(service) else {
        let next =
            format!("units that are not configured are not touched: add [memory.services.\"{service}\"]");
        return Err(refused("is not configured", next));
    };
    Ok(vec![match action {
        Action::KeepOutOfSwap => Deed::Set(Limit::MemorySwapMax, Some(0)),
        Action::Protect => Deed::Set(Limit::MemoryLow, Some(*bytes)),
        Action::Limit if *bytes == 0 => {
            return Err(refused(
                "MemoryHigh=0 would stop it",
                "recommend a limit that it can run within".to_owned(),
            ));
        }
        Action::Limit => Deed::Set(Limit::MemoryHigh, Some(*bytes)),
        Action::BringBack => Deed::BringBack,
        Action::Reclaim => Deed::Reclaim,
        Action::AskToRelease | Action::AskToReleaseVram => {
            let memory = if *action == Action::AskToRelease { Memory::Ram } else { Memory::Vram };
            let next = || format!("add release_socket to [memory.services.\"{service}\"]");
            let socket = policy.release_socket.clone();
            Deed::AskToRelease(socket.ok_or_else(|| refused("has no release socket", next()))?, memory)
        }
        Action::Lift | Action::Advise => Deed::Nothing,
    }])
}

/// Does what was recommended, as [`plan`] shows it. All limits of one call are set, or none: give it what belongs together.
pub fn apply(
    recommendations: &[Recommendation],
    hands: &mut dyn Hands,
    config: &Config,
    measures: &mut Measures,
) -> Applied {
    let Plan { steps, refused } = plan(recommendations, config, measures.standing());
    let mut applied = Applied { could_not: refused, ..Applied::default() };
    if !applied.is_complete() {
        return applied;
    }
    let mut work = Work { hands, measures, changed: Vec::new() };
    for step in &steps {
        match work.step(step) {
            Ok(done) => applied.done.push(done),
            Err(error) => {
                applied.could_not.push(CouldNot {
                    what: step.to_string(),
                    reason: error.to_string(),
                    left: None,
                });
                work.undo(&mut applied);
                break;
            }
        }
    }
    applied
}

/// Takes back all that stands, the last first. What one unit refuses does not keep the others from it.
pub fn lift_all(hands: &mut dyn Hands, measures: &mut Measures) -> Applied {
    let mut applied = Applied::default();
    for measure in measures.standing().to_vec().into_iter().rev() {
        let recommendation = Recommendation {
            service: measure.unit.clone(),
            action: Action::Lift,
            bytes: 0,
            reason: "all measures are taken back".to_owned(),
        };
        let step = Step { recommendation, deed: Deed::Lift(measure.limit, measure.before) };
        let mut work = Work { hands: &mut *hands, measures: &mut *measures, changed: Vec::new() };
        match work.step(&step) {
            Ok(done) => applied.done.push(done),
            Err(error) => {
                let left = Some((measure.unit, measure.limit));
                applied.could_not.push(CouldNot { what: step.to_string(), reason: error.to_string(), left });
            }
        }
    }
    applied
}

/// One call of [`apply`].
struct Work<'a> {
    hands: &'a mut dyn Hands,
    measures: &'a mut Measures,
    /// What was changed, or may have been.
    changed: Vec<Changed>,
}

struct Changed {
    unit: String,
    limit: Limit,
    /// What was set before, in bytes.
    before: Option<u64>,
    /// What was noted of it before.
    noted: Option<Measure>,
    /// What was done, once it is.
    done: Option<Done>,
}

impl Work<'_> {
    fn step(&mut self, step: &Step) -> Result<Done> {
        let Recommendation { service: unit, bytes, reason, .. } = &step.recommendation;
        let moved = match &step.deed {
            Deed::Set(limit, to) => return self.set(step, *limit, *to),
            Deed::Lift(limit, to) => return self.lift(step, *limit, *to),
            Deed::Nothing => return Ok(done(step, (None, None), false, "")),
            Deed::BringBack => self.hands.bring_back(unit, *bytes)?,
            Deed::Reclaim => self.hands.reclaim(unit, *bytes)?,
            Deed::AskToRelease(socket, memory) => {
                match self.hands.ask_to_release(unit, socket, *memory, *bytes, reason) {
                    // Nobody is bound to answer: it counts as asked, and what else is to be done goes on.
                    Err(error @ Error::Refused { .. }) => {
                        return Ok(done(step, (None, None), false, &format!("it did not answer: {error}")));
                    }
                    // Not before and after: what it holds in all is not known.
                    Ok(moved) if *memory == Memory::Vram => {
                        let note = format!("it says that it released {} bytes", moved.bytes());
                        return Ok(done(step, (None, None), moved.bytes() > 0, &note));
                    }
                    answered => answered?,
                }
            }
        };
        let Moved { before_bytes, after_bytes } = moved;
        let note = if moved.bytes() == 0 { "nothing became less" } else { "" };
        Ok(done(step, (Some(before_bytes), Some(after_bytes)), moved.bytes() > 0, note))
    }

    fn set(&mut self, step: &Step, limit: Limit, to: Option<u64>) -> Result<Done> {
        let Recommendation { service: unit, reason, .. } = &step.recommendation;
        let before = self.hands.limit(unit, limit)?;
        if before == to {
            let (took_effect, note) = self.check(unit, limit, to)?;
            let note = if note.is_empty() { "it was so already" } else { &note };
            return Ok(done(step, (before, to), took_effect, note));
        }
        let noted = self.measures.find(unit, limit).cloned();
        self.changed.push(Changed { unit: unit.clone(), limit, before, noted, done: None });
        self.measures.note(unit, limit, (before, to), reason)?;
        self.hands.set_limit(unit, limit, to)?;
        let (took_effect, note) = self.check(unit, limit, to)?;
        Ok(self.noted_as_done(done(step, (before, to), took_effect, &note)))
    }

    fn lift(&mut self, step: &Step, limit: Limit, to: Option<u64>) -> Result<Done> {
        let unit = &step.recommendation.service;
        let Some(noted) = self.measures.find(unit, limit).cloned() else {
            return Ok(done(step, (None, None), false, "it did not stand any more"));
        };
        let gone = "the unit is gone, and its limit with it";
        let before = match self.hands.limit(unit, limit) {
            Err(Error::Gone { .. }) => return self.forget(step, &noted, None, gone),
            before => before?,
        };
        let ours = before == noted.now || before == to || noted.or.contains(&before);
        if !ours {
            let note = format!("somebody else has set {} since: it is left so", limit.line(before));
            return self.forget(step, &noted, before, &note);
        }
        let changed = Changed { unit: unit.clone(), limit, before, noted: Some(noted.clone()), done: None };
        self.changed.push(changed);
        let set = self.hands.set_limit(unit, limit, to).and_then(|_| self.check(unit, limit, to));
        let (took_effect, note) = match set {
            Err(Error::Gone { .. }) => {
                self.changed.pop();
                return self.forget(step, &noted, None, gone);
            }
            set => set?,
        };
        self.measures.forget(unit, limit)?;
        Ok(self.noted_as_done(done(step, (before, to), took_effect, &note)))
    }

    /// There is nothing to take back any more.
    fn forget(&mut self, step: &Step, noted: &Measure, now: Option<u64>, note: &str) -> Result<Done> {
        self.measures.forget(&noted.unit, noted.limit)?;
        Ok(done(step, (now, now), false, note))
    }

    fn noted_as_done(&mut self, done: Done) -> Done {
        if let Some(changed) = self.changed.last_mut() {
            changed.done = Some(done.clone());
        }
        done
    }

    /// Whether the kernel has it, with what is to be known if it has not quite.
    fn check(&mut self, unit: &str, limit: Limit, wanted: Option<u64>) -> Result<(bool, String)> {
        match self.hands.in_effect(unit, limit)? {
            InEffect::Now(bytes) if super::same(bytes, wanted) => Ok((true, String::new())),
            InEffect::Now(bytes) => Err(Error::refused(
                format!("{unit}: {}", limit.line(wanted)),
                format!("systemd took it, but the kernel has {} in {}", Amount(bytes), limit.file()),
                "see `journalctl -u init.scope`; another program may write to this cgroup",
            )),
            InEffect::WhenItStarts => {
                Ok((false, "it does not run: it counts from when it starts".to_owned()))
            }
            InEffect::Weakened { ancestor, bytes } => {
                let property = limit.property();
                let note = format!(
                    "{ancestor} grants only {bytes} bytes, and no more is in effect: set {property}= there too"
                );
                Ok((false, note))
            }
        }
    }

    /// Undoes what was changed, the last first.
    fn undo(&mut self, applied: &mut Applied) {
        while let Some(changed) = self.changed.pop() {
            let Changed { unit, limit, before, noted, done } = changed;
            if let Err(error) = self.take_back(&unit, limit, before, noted.clone()) {
                // If this cannot be written either, the line below is what is left to say.
                let _ = match self.measures.find(&unit, limit) {
                    None => self.measures.restore(&unit, limit, noted),
                    Some(_) => self.measures.doubt(&unit, limit, before),
                };
                applied.could_not.push(CouldNot {
                    what: format!("{unit}: taking it back to {}", limit.line(before)),
                    reason: format!(
                        "{error}; by hand: systemctl set-property --runtime {unit} {}",
                        limit.line(before)
                    ),
                    left: Some((unit, limit)),
                });
            } else if let Some(done) = done {
                applied.done.retain(|other| *other != done);
                applied.undone.push(done);
            }
        }
    }

    fn take_back(
        &mut self,
        unit: &str,
        limit: Limit,
        before: Option<u64>,
        noted: Option<Measure>,
    ) -> Result<()> {
        let set = self.hands.set_limit(unit, limit, before).map(drop);
        match (set, self.hands.limit(unit, limit)) {
            // With the unit its limits are gone.
            (_, Err(Error::Gone { .. })) => {}
            (Ok(()), Ok(_)) => drop(self.check(unit, limit, before)?),
            // It refuses to be set, but it is as it was: it never changed.
            (Err(_), Ok(now)) if now == before => {}
            (Err(error), _) | (_, Err(error)) => return Err(error),
        }
        self.measures.restore(unit, limit, noted)
    }
}

fn done(step: &Step, (before, after): (Option<u64>, Option<u64>), took_effect: bool, note: &str) -> Done {
    let (recommendation, what, note) = (step.recommendation.clone(), step.to_string(), note.to_owned());
    Done { recommendation, what, before, after, took_effect, note }
}

#[cfg(test)]
mod tests;
