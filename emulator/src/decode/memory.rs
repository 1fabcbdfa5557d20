//! Loads, stores and atomics.

use super::code::{Named, Operation, Target};
use super::kernel::{Builder, ParameterPlace};
use super::statement::{Decoder, Found};
use crate::error::Result;
use crate::instructions::{self, Type};
use crate::parse::{Address, Operand};

/// What the name of an access says.
struct Access {
    space: Space,
    lanes: usize,
    of: Type,
}

/// Memory as the name says it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Of(Named),
    Parameter,
}

fn space(word: &str) -> Option<Space> {
    Some(match word {
        "global" => Space::Of(Named::Global),
        "shared" => Space::Of(Named::Shared),
        "local" => Space::Of(Named::Local),
        "const" => Space::Of(Named::Constant),
        "param" => Space::Parameter,
        _ => return None,
    })
}

/// Order and caching, which change nothing where all runs on one thread and no cache is between.
fn is_order_or_cache(word: &str) -> bool {
    let known = ["weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "cta", "gpu", "sys"];
    let caches = ["ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc"];
    let hints = ["L1::", "L2::"];
    known.contains(&word) || caches.contains(&word) || hints.iter().any(|hint| word.starts_with(hint))
}

/// What the name says after `ld` or `st`.
fn access(words: &[&str]) -> Option<Access> {
    let (of, words) = words.split_last()?;
    let mut access = Access { space: Space::Of(Named::Generic), lanes: 1, of: Type::named(of)? };
    for word in words {
        match (*word, space(word)) {
            (_, Some(space)) if access.space == Space::Of(Named::Generic) => access.space = space,
            ("v2", _) if access.lanes == 1 => access.lanes = 2,
            ("v4", _) if access.lanes == 1 => access.lanes = 4,
            (word, None) if is_order_or_cache(word) => {}
            _ => return None,
        }
    }
    let usable =
        access.of != Type::Predicate && access.of != Type::F16 && access.lanes * access.of.bytes() <= 16;
    usable.then_some(access)
}

impl Decoder<'_, '_, '_> {
    pub(super) fn memory(&mut self, name: &[&str]) -> Found {
        match name {
            ["ld", words @ ..] => match access(words) {
                Some(access) => self.load(&access).map(Some),
                None => Ok(None),
            },
            ["st", words @ ..] => match access(words) {
                Some(access) => self.store(&access).map(Some),
                None => Ok(None),
            },
            [atom @ ("atom" | "red"), words @ ..] => self.atomic(words, *atom == "atom"),
            ["isspacep", word] => {
                let Some(Space::Of(space)) = space(word) else { return Ok(None) };
                let statement = self.statement;
                let [to, address] = statement.operands.as_slice() else {
                    return self.error("has two operands");
                };
                let address = self.source(address, Type::U64)?;
                Ok(Some(Operation::IsSpace { to: self.predicate(to)?, space, address }))
            }
            _ => Ok(None),
        }
    }

    fn load(&mut self, access: &Access) -> Result<Operation> {
        let statement = self.statement;
        let [to, Operand::Address(address)] = statement.operands.as_slice() else {
            return self.error("has a register and an address");
        };
        let to = match to {
            Operand::Vector(parts) if parts.len() == access.lanes && access.lanes > 1 => parts.as_slice(),
            one if access.lanes == 1 => std::slice::from_ref(one),
            _ => return self.error("has another number of registers than its name says"),
        };
        let to: Result<Box<[_]>> = to.iter().map(|to| self.target_or_nothing(to, access.of)).collect();
        let (to, bytes, signed) = (to?, access.of.bytes(), access.of.is_signed());
        match access.space {
            Space::Of(space) => {
                Ok(Operation::Load { to, target: self.address(address, space)?, bytes, signed })
            }
            Space::Parameter => match self.parameter_at(address, access)? {
                ParameterPlace::Launch(offset) => Ok(Operation::LoadParameter { to, offset, bytes, signed }),
                ParameterPlace::Local(offset) => {
                    Ok(Operation::Load { to, target: self.local(offset), bytes, signed })
                }
            },
        }
    }

    fn store(&mut self, access: &Access) -> Result<Operation> {
        let statement = self.statement;
        let [Operand::Address(address), from] = statement.operands.as_slice() else {
            return self.error("has an address and a register");
        };
        let from = match from {
            Operand::Vector(parts) if parts.len() == access.lanes && access.lanes > 1 => parts.as_slice(),
            one if access.lanes == 1 => std::slice::from_ref(one),
            _ => return self.error("has another number of registers than its name says"),
        };
        let from: Result<Box<[_]>> = from.iter().map(|from| self.source(from, access.of)).collect();
        let (from, bytes) = (from?, access.of.bytes());
        let target = match access.space {
            Space::Of(Named::Constant) => return self.error("constants cannot be written"),
            Space::Of(space) => self.address(address, space)?,
            Space::Parameter => match self.parameter_at(address, access)? {
                ParameterPlace::Launch(_) => return self.error("parameters of a kernel cannot be written"),
                ParameterPlace::Local(offset) => self.local(offset),
            },
        };
        Ok(Operation::Store { from, target, bytes })
    }

    fn atomic(&mut self, words: &[&str], gives: bool) -> Found {
        let [words @ .., action, of] = words else { return Ok(None) };
        let mut named = Named::Generic;
        for word in words {
            match space(word) {
                Some(Space::Of(space @ (Named::Global | Named::Shared))) if named == Named::Generic => {
                    named = space;
                }
                None if is_order_or_cache(word) => {}
                _ => return Ok(None),
            }
        }
        let Some(of) = Type::named(of) else { return Ok(None) };
        let Some(function) = instructions::atomic(action, of) else { return Ok(None) };
        let statement = self.statement;
        let (to, operands) = match (statement.operands.as_slice(), gives) {
            ([to, operands @ ..], true) => (self.target_or_nothing(to, of)?, operands),
            (operands, _) => (None, operands),
        };
        let swaps = *action == "cas";
        let (address, b, c) = match operands {
            [Operand::Address(address), b] if !swaps => (address, b, b),
            [Operand::Address(address), b, c] if swaps => (address, b, c),
            _ => return self.error("has other operands than it should"),
        };
        let from = [self.source(b, of)?, self.source(c, of)?];
        let target = self.address(address, named)?;
        Ok(Some(Operation::Atomic { to, target, function, from, bytes: of.bytes() }))
    }

    fn address(&mut self, address: &Address, space: Named) -> Result<Target> {
        let narrow = match &*address.base {
            Operand::Register(register) => {
                let (of, _) = self.builder.register(self.frame, *register);
                of.bytes() == 4
            }
            _ => false,
        };
        if narrow && matches!(space, Named::Generic | Named::Global | Named::Constant) {
            return self.error("an address of 32 bits, where 64 are needed");
        }
        let of = if narrow { Type::U32 } else { Type::U64 };
        let base = self.source(&address.base, of)?;
        Ok(Target { space, base, offset: address.offset as u64, narrow })
    }

    fn local(&mut self, offset: u64) -> Target {
        Target { space: Named::Local, base: self.builder.constant(offset), offset: 0, narrow: false }
    }

    fn parameter_at(&mut self, address: &Address, access: &Access) -> Result<ParameterPlace> {
        let bytes = (access.lanes * access.of.bytes()) as u64;
        match Builder::parameter(self.frame, &address.base, address.offset, bytes) {
            Some(place) => Ok(place),
            None => self.error("this is no parameter, or not within one"),
        }
    }
}
