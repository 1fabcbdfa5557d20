//! Instructions in which several lanes, warps or threads take part.

use super::code::{Join, Meeting, Operation, Question, Reduction};
use super::statement::{Decoder, Found};
use crate::error::Result;
use crate::instructions::{Shuffle, Type};
use crate::parse::Operand;

/// Barriers that a block has.
const BARRIERS: u64 = 16;

impl Decoder<'_, '_, '_> {
    pub(super) fn together(&mut self, name: &[&str]) -> Found {
        match name {
            ["bar", "warp", "sync"] => {
                let statement = self.statement;
                let [mask] = statement.operands.as_slice() else { return self.error("has one operand") };
                Ok(Some(Operation::Meet { mask: self.source(mask, Type::B32)?, meeting: Meeting::Wait }))
            }
            ["bar", rest @ ..] | ["barrier", rest @ .., "aligned"] => self.barrier(rest, true),
            ["barrier", rest @ ..] => {
                let aligned = rest.contains(&"aligned");
                let rest: Vec<&str> = rest.iter().copied().filter(|word| *word != "aligned").collect();
                self.barrier(&rest, aligned)
            }
            ["vote", "sync", question, of] => self.vote(question, of),
            ["shfl", "sync", mode, "b32"] => self.shuffle(mode),
            ["match", question, "sync", of] => self.matches(question, of),
            ["activemask", "b32"] => {
                let statement = self.statement;
                let [to] = statement.operands.as_slice() else { return self.error("has one operand") };
                Ok(Some(Operation::ActiveMask { to: self.target(to, Type::B32)? }))
            }
            _ => Ok(None),
        }
    }

    fn barrier(&mut self, words: &[&str], aligned: bool) -> Found {
        let statement = self.statement;
        let (id, reduction) = match (words, statement.operands.as_slice()) {
            (["sync"], [id]) => (id, Reduction::None),
            (["red", "popc", "u32"], [to, id, of]) => {
                (id, Reduction::Count { to: self.target(to, Type::U32)?, of: self.condition(of)? })
            }
            (["red", join @ ("and" | "or"), "pred"], [to, id, of]) => {
                let join = if *join == "and" { Join::And } else { Join::Or };
                (id, Reduction::Join { to: self.predicate(to)?, of: self.condition(of)?, join })
            }
            (["sync"] | ["red", ..], _) => {
                return self.error("barriers for a part of the block are not supported");
            }
            _ => return Ok(None),
        };
        let Operand::Integer(id @ 0..BARRIERS) = id else {
            return self.error("the barrier is not a number below 16");
        };
        Ok(Some(Operation::Barrier { id: *id as u32, aligned, reduction }))
    }

    fn vote(&mut self, question: &str, of: &str) -> Found {
        let statement = self.statement;
        let [to, asked, mask] = statement.operands.as_slice() else {
            return self.error("has three operands");
        };
        let of_lane = self.condition(asked)?;
        let meeting = match (question, of) {
            ("ballot", "b32") => Meeting::Ballot { to: self.target(to, Type::B32)?, of: of_lane },
            ("all" | "any" | "uni", "pred") => {
                let question = match question {
                    "all" => Question::All,
                    "any" => Question::Any,
                    _ => Question::Uniform,
                };
                Meeting::Vote { to: self.predicate(to)?, of: of_lane, question }
            }
            _ => return Ok(None),
        };
        Ok(Some(Operation::Meet { mask: self.source(mask, Type::B32)?, meeting }))
    }

    fn shuffle(&mut self, mode: &str) -> Found {
        let mode = match mode {
            "up" => Shuffle::Up,
            "down" => Shuffle::Down,
            "bfly" => Shuffle::Butterfly,
            "idx" => Shuffle::Index,
            _ => return Ok(None),
        };
        let statement = self.statement;
        let [to, value, b, c, mask] = statement.operands.as_slice() else {
            return self.error("has five operands");
        };
        let (to, within) = self.with_predicate(to)?;
        let meeting = Meeting::Shuffle {
            to,
            within,
            mode,
            value: self.source(value, Type::B32)?,
            b: self.source(b, Type::B32)?,
            c: self.source(c, Type::B32)?,
        };
        Ok(Some(Operation::Meet { mask: self.source(mask, Type::B32)?, meeting }))
    }

    /// `d` or `d|p`.
    fn with_predicate(&mut self, operand: &Operand) -> Result<(u32, Option<u32>)> {
        match operand {
            Operand::Pair(to, predicate) => {
                Ok((self.target(to, Type::B32)?, self.predicate_or_nothing(predicate)?))
            }
            to => Ok((self.target(to, Type::B32)?, None)),
        }
    }

    fn matches(&mut self, question: &str, of: &str) -> Found {
        let statement = self.statement;
        let [to, value, mask] = statement.operands.as_slice() else {
            return self.error("has three operands");
        };
        let Some(of @ (Type::B32 | Type::B64)) = Type::named(of) else { return Ok(None) };
        let (value, bytes) = (self.source(value, of)?, of.bytes());
        let meeting = match question {
            "any" => Meeting::MatchAny { to: self.target(to, Type::B32)?, value, bytes },
            "all" => {
                let (to, same) = self.with_predicate(to)?;
                Meeting::MatchAll { to, same, value, bytes }
            }
            _ => return Ok(None),
        };
        Ok(Some(Operation::Meet { mask: self.source(mask, Type::B32)?, meeting }))
    }
}
