//! Instructions at which lanes wait for each other: votes, shuffles, matches.
//!
//! Lanes that come are kept waiting there until all lanes that their mask names have come; then they act together.

use super::lanes_of;
use super::machine::{Machine, Mistake};
use super::warp::Warp;
use crate::decode::{Condition, Meeting, Operation, Question, Slot};
use crate::fault::Fault;
use crate::instructions::shuffle_source;

impl Warp {
    /// Lanes come to the meeting at this position.
    pub(super) fn meet(
        &mut self,
        machine: &Machine<'_>,
        position: u32,
        coming: u32,
        mask: Slot,
        meeting: &Meeting,
    ) -> Result<(), Fault> {
        self.wait(position, coming);
        let masks = self.registers[mask as usize];
        for lane in lanes_of(coming) {
            let named = masks[lane] as u32;
            if named >> lane & 1 == 0 {
                let mistake = Mistake::LanesMissing { mask: named, missing: 1 << lane };
                return Err(machine.fault(position, self.thread(lane), mistake));
            }
        }
        let mut here =
            lanes_of(self.waiting).filter(|&lane| self.position[lane] == position).fold(0, with_lane);
        while here != 0 {
            let first = here.trailing_zeros() as usize;
            let named = masks[first] as u32;
            let come = lanes_of(named & here).filter(|&lane| masks[lane] as u32 == named).fold(0, with_lane);
            here &= !(come | 1 << first);
            if come == named {
                self.act(machine, position, named, meeting)?;
                self.waiting &= !named;
                for lane in lanes_of(named) {
                    self.position[lane] = position + 1;
                }
            }
        }
        Ok(())
    }

    /// What the lanes do together.
    fn act(
        &mut self,
        machine: &Machine<'_>,
        position: u32,
        lanes: u32,
        meeting: &Meeting,
    ) -> Result<(), Fault> {
        match meeting {
            Meeting::Wait => {}
            Meeting::Ballot { to, of } => {
                let votes = u64::from(self.holds(*of) & lanes);
                self.set_all(*to, lanes, votes);
            }
            Meeting::Vote { to, of, question } => {
                let votes = self.holds(*of) & lanes;
                let outcome = match question {
                    Question::All => votes == lanes,
                    Question::Any => votes != 0,
                    Question::Uniform => votes == 0 || votes == lanes,
                };
                self.set_predicate(*to, lanes, if outcome { lanes } else { 0 });
            }
            Meeting::Shuffle { to, within, mode, value, b, c } => {
                let [values, b, c] = [*value, *b, *c].map(|slot| self.registers[slot as usize]);
                let mut inside = 0;
                for lane in lanes_of(lanes) {
                    let (from, is_within) =
                        shuffle_source(*mode, lane as u32, b[lane] as u32, c[lane] as u32);
                    if lanes >> from & 1 == 0 {
                        let mistake = Mistake::LanesMissing { mask: lanes, missing: 1 << from };
                        return Err(machine.fault(position, self.thread(lane), mistake));
                    }
                    self.registers[*to as usize][lane] = values[from as usize];
                    inside |= u32::from(is_within) << lane;
                }
                if let Some(within) = within {
                    self.set_predicate(*within, lanes, inside);
                }
            }
            Meeting::MatchAny { to, value, bytes } => {
                let values = self.values(*value, *bytes);
                for lane in lanes_of(lanes) {
                    let same =
                        lanes_of(lanes).filter(|&other| values[other] == values[lane]).fold(0, with_lane);
                    self.registers[*to as usize][lane] = u64::from(same);
                }
            }
            Meeting::MatchAll { to, same, value, bytes } => {
                let values = self.values(*value, *bytes);
                let all = lanes_of(lanes).all(|lane| values[lane] == values[lanes.trailing_zeros() as usize]);
                let outcome = if all { lanes } else { 0 };
                self.set_all(*to, lanes, u64::from(outcome));
                if let Some(same) = same {
                    self.set_predicate(*same, lanes, outcome);
                }
            }
        }
        Ok(())
    }

    /// Nobody can go on: the first lane that waits here for lanes that never come.
    pub(super) fn missing_lanes(&self, machine: &Machine<'_>) -> Option<Fault> {
        lanes_of(self.waiting).find_map(|lane| {
            let position = self.position[lane];
            let Operation::Meet { mask, .. } = machine.kernel.code[position as usize].operation else {
                return None;
            };
            let masks = &self.registers[mask as usize];
            let named = masks[lane] as u32;
            let come = lanes_of(self.waiting)
                .filter(|&other| self.position[other] == position && masks[other] as u32 == named)
                .fold(0, with_lane);
            let mistake = Mistake::LanesMissing { mask: named, missing: named & !come };
            Some(machine.fault(position, self.thread(lane), mistake))
        })
    }

    /// Lanes in which a condition holds, whether they take part or not.
    pub(super) fn holds(&self, condition: Condition) -> u32 {
        let held = self.predicates[condition.predicate as usize];
        if condition.negated { !held } else { held }
    }

    pub(super) fn set_predicate(&mut self, to: u32, lanes: u32, held: u32) {
        let predicate = &mut self.predicates[to as usize];
        *predicate = *predicate & !lanes | held & lanes;
    }

    pub(super) fn set_all(&mut self, to: Slot, lanes: u32, value: u64) {
        for lane in lanes_of(lanes) {
            self.registers[to as usize][lane] = value;
        }
    }

    fn values(&self, slot: Slot, bytes: usize) -> [u64; 32] {
        self.registers[slot as usize].map(|bits| if bytes == 4 { u64::from(bits as u32) } else { bits })
    }
}

fn with_lane(mask: u32, lane: usize) -> u32 {
    mask | 1 << lane
}
