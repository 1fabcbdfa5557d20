//! One statement to one instruction: arithmetic, comparisons, predicates and control.

use super::code::{Condition, Instruction, Join, Operation, PredicateSlot, Slot};
use super::kernel::{Builder, Frame, constantly, is_call};
use super::variables::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::error::{ParseError, Result};
use crate::instructions::{self, Arithmetic, Function, Type};
use crate::parse::{Operand, Statement};

/// Whether a statement gave an operation, or its name is none that was looked for.
pub(super) type Found = Result<Option<Operation>>;

/// A statement, and what is needed to find its operands.
pub(super) struct Decoder<'b, 'm, 's> {
    pub(super) builder: &'b mut Builder<'m>,
    pub(super) frame: &'b mut Frame<'m>,
    pub(super) statement: &'s Statement,
}

impl<'m> Builder<'m> {
    pub(super) fn statement(&mut self, frame: &mut Frame<'m>, statement: &Statement) -> Result<()> {
        let guard = statement.guard.map(|guard| Condition {
            predicate: self.register(frame, guard.register).1,
            negated: guard.negated,
        });
        if is_call(statement) {
            return self.call(frame, statement, guard);
        }
        let operation = Decoder { builder: self, frame, statement }.operation()?;
        let name = Some(self.name(&statement.name));
        self.code.push(Instruction { line: statement.line, name, guard, operation });
        Ok(())
    }
}

impl Decoder<'_, '_, '_> {
    pub(super) fn error<T>(&self, reason: impl std::fmt::Display) -> Result<T> {
        Err(ParseError::new(self.statement.line, format!("`{}`: {reason}", self.statement.name)))
    }

    fn operation(&mut self) -> Result<Operation> {
        let statement = self.statement;
        let name: Vec<&str> = statement.name.split('.').collect();
        if let Some(arithmetic) = instructions::arithmetic(&name) {
            return self.arithmetic(&arithmetic);
        }
        for look in [Self::control, Self::moves, Self::comparisons, Self::predicates, Self::carries] {
            if let Some(operation) = look(self, &name)? {
                return Ok(operation);
            }
        }
        if let Some(operation) = self.memory(&name)? {
            return Ok(operation);
        }
        if let Some(operation) = self.together(&name)? {
            return Ok(operation);
        }
        self.error("this instruction is not supported")
    }

    /// All operands, when they are as many as the instruction has.
    pub(super) fn operands<const N: usize>(&self) -> Result<&'_ [Operand; N]> {
        match self.statement.operands.as_slice().try_into() {
            Ok(operands) => Ok(operands),
            Err(_) => self.error(format!("has {} operands, not {N}", self.statement.operands.len())),
        }
    }

    fn arithmetic(&mut self, arithmetic: &Arithmetic) -> Result<Operation> {
        let statement = self.statement;
        let [to, from @ ..] = statement.operands.as_slice() else { return self.error("has no operands") };
        if from.len() != arithmetic.operands.len() {
            return self.error(format!("has {} sources, not {}", from.len(), arithmetic.operands.len()));
        }
        let mut slots = [0; 4];
        for ((slot, operand), &of) in slots.iter_mut().zip(from).zip(&arithmetic.operands) {
            *slot = self.source(operand, of)?;
        }
        let to = self.target(to, arithmetic.result)?;
        Ok(Operation::Arithmetic { function: arithmetic.function, to, from: slots })
    }

    /// The register that holds the operand.
    pub(super) fn source(&mut self, operand: &Operand, of: Type) -> Result<Slot> {
        match operand {
            Operand::Register(register) => {
                let (has, slot) = self.builder.register(self.frame, *register);
                if has == Type::Predicate || has.bytes() < of.bytes() {
                    return self.error(format!("a register of type {has:?} is read as {of:?}"));
                }
                Ok(slot)
            }
            Operand::Special(special) if !of.is_float() => Ok(self.builder.special(*special)),
            Operand::Integer(value) if !of.is_float() => Ok(self.builder.constant(*value)),
            Operand::Float32(bits) if of.bytes() == 4 => Ok(self.builder.constant(u64::from(*bits))),
            Operand::Float64(bits) if of.bytes() == 8 => Ok(self.builder.constant(*bits)),
            // The text writes numbers of single precision in either way.
            Operand::Float32(bits) if of == Type::F64 => {
                Ok(self.builder.constant(f64::from(f32::from_bits(*bits)).to_bits()))
            }
            Operand::Variable(_) | Operand::Name(_) if of.bytes() >= 4 && !of.is_float() => {
                let address = self.builder.address_of(self.frame, operand, self.statement.line)?;
                Ok(self.builder.constant(address))
            }
            other => self.error(format!("{other:?} cannot be read as {of:?}")),
        }
    }

    /// The register that is written.
    pub(super) fn target(&mut self, operand: &Operand, of: Type) -> Result<Slot> {
        let Operand::Register(register) = operand else {
            return self.error(format!("{operand:?} is not a register to write"));
        };
        let (has, slot) = self.builder.register(self.frame, *register);
        if has == Type::Predicate || has.bytes() < of.bytes() {
            return self.error(format!("a result of type {of:?} is written to a register of type {has:?}"));
        }
        Ok(slot)
    }

    /// As [`target`](Self::target), none for `_`.
    pub(super) fn target_or_nothing(&mut self, operand: &Operand, of: Type) -> Result<Option<Slot>> {
        if matches!(operand, Operand::Nothing) { Ok(None) } else { self.target(operand, of).map(Some) }
    }

    pub(super) fn condition(&mut self, operand: &Operand) -> Result<Condition> {
        match operand {
            Operand::Register(register) => {
                let (of, predicate) = self.builder.register(self.frame, *register);
                if of != Type::Predicate {
                    return self.error(format!("a register of type {of:?} is read as a predicate"));
                }
                Ok(Condition { predicate, negated: false })
            }
            Operand::Not(inner) if matches!(**inner, Operand::Register(_)) => {
                let condition = self.condition(inner)?;
                Ok(Condition { negated: !condition.negated, ..condition })
            }
            Operand::Integer(value) => Ok(constantly(*value != 0)),
            other => self.error(format!("{other:?} cannot be read as a predicate")),
        }
    }

    pub(super) fn predicate(&mut self, operand: &Operand) -> Result<PredicateSlot> {
        match operand {
            Operand::Register(_) => Ok(self.condition(operand)?.predicate),
            other => self.error(format!("{other:?} is not a predicate to write")),
        }
    }

    fn control(&mut self, name: &[&str]) -> Found {
        let operation = match name {
            ["bra"] | ["bra", "uni"] => match self.operands()? {
                [Operand::Label(to)] => Operation::Branch { to: *to as u32 },
                _ => return self.error("branches to no label"),
            },
            ["ret"] | ["ret", "uni"] => match self.frame.back {
                Some(back) => Operation::Return { back },
                None => Operation::Exit,
            },
            ["exit"] => Operation::Exit,
            ["trap"] => Operation::Trap,
            // Blocks see each other's writes in order in any case: all run on one thread.
            ["membar", "cta" | "gl" | "sys"]
            | ["fence", "cta" | "gpu" | "sys"]
            | ["fence", "sc" | "acq_rel", "cta" | "gpu" | "sys"] => Operation::Nothing,
            ["nanosleep", "u32"] => {
                let [time] = self.operands()?;
                let time = time.clone();
                self.source(&time, Type::U32)?;
                return Ok(Some(Operation::Nothing));
            }
            _ => return Ok(None),
        };
        if !matches!(operation, Operation::Branch { .. }) && !self.statement.operands.is_empty() {
            return self.error("has no operands");
        }
        Ok(Some(operation))
    }

    fn moves(&mut self, name: &[&str]) -> Found {
        let statement = self.statement;
        match name {
            ["mov", of] => {
                let [to, from] = statement.operands.as_slice() else { return self.error("has two operands") };
                match (Type::named(of), to, from) {
                    (Some(Type::Predicate), ..) => {
                        let from = self.condition(from)?;
                        let to = self.predicate(to)?;
                        let from = [from, constantly(false)];
                        Ok(Some(Operation::JoinPredicates { to, join: Join::Or, from }))
                    }
                    (Some(of), Operand::Vector(parts), from) => {
                        let part = self.part(of, parts.len())?;
                        let from = self.source(from, of)?;
                        let parts: Result<_> =
                            parts.iter().map(|to| self.target_or_nothing(to, part)).collect();
                        Ok(Some(Operation::Unpack { parts: parts?, from, bits: 8 * part.bytes() as u32 }))
                    }
                    (Some(of), to, Operand::Vector(parts)) => {
                        let part = self.part(of, parts.len())?;
                        let parts: Result<_> = parts.iter().map(|from| self.source(from, part)).collect();
                        let to = self.target(to, of)?;
                        Ok(Some(Operation::Pack { to, parts: parts?, bits: 8 * part.bytes() as u32 }))
                    }
                    (Some(of), to, from) if of.bytes() > 1 => {
                        let from = [self.source(from, of)?, 0, 0, 0];
                        let to = self.target(to, of)?;
                        Ok(Some(Operation::Arithmetic { function: Function::Unary(|a| a), to, from }))
                    }
                    _ => self.error("this type is not supported"),
                }
            }
            ["selp", of] => {
                let [to, a, b, by] = statement.operands.as_slice() else {
                    return self.error("has four operands");
                };
                let Some(of) = Type::named(of).filter(|of| of.bytes() > 1) else { return Ok(None) };
                let from = [self.source(a, of)?, self.source(b, of)?];
                let by = self.condition(by)?;
                Ok(Some(Operation::Select { to: self.target(to, of)?, from, by }))
            }
            ["cvta", rest @ ..] => {
                let (to_space, space) = match rest {
                    ["to", space, "u64"] => (true, *space),
                    [space, "u64"] => (false, *space),
                    _ => return Ok(None),
                };
                let window = match space {
                    "global" | "const" => 0,
                    "shared" => SHARED_WINDOW,
                    "local" => LOCAL_WINDOW,
                    _ => return Ok(None),
                };
                let [to, from] = statement.operands.as_slice() else { return self.error("has two operands") };
                let from = self.source(from, Type::U64)?;
                let window = self.builder.constant(if to_space { window.wrapping_neg() } else { window });
                let function = Function::Binary(u64::wrapping_add);
                let to = self.target(to, Type::U64)?;
                Ok(Some(Operation::Arithmetic { function, to, from: [from, window, 0, 0] }))
            }
            _ => Ok(None),
        }
    }

    /// Type of each of `count` parts of a register.
    fn part(&self, of: Type, count: usize) -> Result<Type> {
        match (of.bytes(), count) {
            (8, 2) => Ok(Type::B32),
            (8, 4) | (4, 2) => Ok(Type::B16),
            _ => self.error(format!("{of:?} has no {count} parts")),
        }
    }

    fn comparisons(&mut self, name: &[&str]) -> Found {
        let statement = self.statement;
        let (test, join, result, of) = match name {
            ["setp", test, of] => (test, None, None, of),
            ["setp", test, join, of] => (test, Some(*join), None, of),
            ["set", test, result, of] => (test, None, Some(*result), of),
            ["set", test, join, result, of] => (test, Some(*join), Some(*result), of),
            _ => return Ok(None),
        };
        let Some(of) = Type::named(of) else { return Ok(None) };
        let Some(function) = instructions::comparison(test, of) else { return Ok(None) };
        let (to, a, b, join) = match (statement.operands.as_slice(), join) {
            ([to, a, b], None) => (to, a, b, None),
            ([to, a, b, with], Some(join)) => {
                let Some(join) = Join::named(join) else { return Ok(None) };
                (to, a, b, Some((join, self.condition(with)?)))
            }
            _ => return self.error("has another number of operands"),
        };
        let from = [self.source(a, of)?, self.source(b, of)?];
        if let Some(result) = result {
            let (of, bits) = match result {
                "u32" | "s32" => (Type::U32, u64::from(u32::MAX)),
                "f32" => (Type::F32, u64::from(1f32.to_bits())),
                _ => return Ok(None),
            };
            return Ok(Some(Operation::CompareTo { to: self.target(to, of)?, function, from, join, bits }));
        }
        let to = match to {
            Operand::Pair(p, q) => [self.predicate_or_nothing(p)?, self.predicate_or_nothing(q)?],
            p => [Some(self.predicate(p)?), None],
        };
        Ok(Some(Operation::Compare { to, function, from, join }))
    }

    pub(super) fn predicate_or_nothing(&mut self, operand: &Operand) -> Result<Option<PredicateSlot>> {
        if matches!(operand, Operand::Nothing) { Ok(None) } else { self.predicate(operand).map(Some) }
    }

    fn predicates(&mut self, name: &[&str]) -> Found {
        let [join, "pred"] = name else { return Ok(None) };
        let statement = self.statement;
        let (to, join, from) = match (*join, statement.operands.as_slice()) {
            ("not", [to, a]) => {
                let a = self.condition(a)?;
                (to, Join::Or, [Condition { negated: !a.negated, ..a }, constantly(false)])
            }
            (join, [to, a, b]) => {
                let Some(join) = Join::named(join) else { return Ok(None) };
                (to, join, [self.condition(a)?, self.condition(b)?])
            }
            _ => return Ok(None),
        };
        Ok(Some(Operation::JoinPredicates { to: self.predicate(to)?, join, from }))
    }

    /// `add.cc`, `addc`, and the same of `sub`.
    fn carries(&mut self, name: &[&str]) -> Found {
        let (subtract, takes, gives, of) = match name {
            ["add", "cc", of] => (false, false, true, of),
            ["addc", of] => (false, true, false, of),
            ["addc", "cc", of] => (false, true, true, of),
            ["sub", "cc", of] => (true, false, true, of),
            ["subc", of] => (true, true, false, of),
            ["subc", "cc", of] => (true, true, true, of),
            _ => return Ok(None),
        };
        let statement = self.statement;
        let [to, a, b] = statement.operands.as_slice() else { return self.error("has three operands") };
        let Some(of @ (Type::U32 | Type::S32 | Type::U64 | Type::S64)) = Type::named(of) else {
            return Ok(None);
        };
        let from = [self.source(a, of)?, self.source(b, of)?];
        let to = self.target(to, of)?;
        Ok(Some(Operation::Carry { to, from, bits: 8 * of.bytes() as u32, subtract, takes, gives }))
    }
}
