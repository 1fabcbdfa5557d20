//! A kernel and the functions that it calls, laid out as one program.
//!
//! Functions that call themselves are refused, so that each has one place for its registers, its local memory and
//! where it returns to. Functions stand before those that call them: lanes run lowest position first, so that those
//! within a call catch up with those that wait behind it.

use std::collections::HashMap;

use super::code::{
    CARRY, Condition, FALSE, FIRST_PREDICATE, Instruction, Kernel, Operation, PredicateSlot, Slot,
};
use super::variables::{GAP, Variables};
use crate::error::{ParseError, Result};
use crate::instructions::Type;
use crate::parse::{Function, Module, Operand, RegisterId, SpaceOf, Special, Statement, Variable};

/// Shared memory that a block can have without asking for more.
const SHARED_BYTES: u64 = 48 * 1024;
/// Local memory that a thread can have.
const LOCAL_BYTES: u64 = 512 * 1024;
/// Calls within calls.
const DEEPEST: usize = 64;

/// Decodes the kernel of this index, which is an entry.
pub(super) fn decode(module: &Module, variables: &Variables, index: usize) -> Result<Kernel> {
    let by_name =
        module.functions.iter().enumerate().map(|(at, function)| (function.name.as_str(), at)).collect();
    let mut builder = Builder {
        module,
        variables,
        by_name,
        code: Vec::new(),
        names: HashMap::new(),
        registers: 0,
        predicates: FIRST_PREDICATE,
        constants: HashMap::new(),
        specials: HashMap::new(),
        shared: HashMap::new(),
        shared_ranges: Vec::new(),
        shared_bytes: 0,
        local_bytes: 0,
        frames: HashMap::new(),
    };
    let function = &module.functions[index];
    builder.function(index, &mut Vec::new(), function.line)?;
    let mut parameters = Vec::new();
    for (_, offset, bytes) in parameter_layout(function) {
        parameters.push((offset, bytes));
    }
    let mut names = vec![String::new(); builder.names.len()];
    for (name, at) in builder.names {
        names[at as usize] = name;
    }
    Ok(Kernel {
        name: function.name.clone(),
        start: builder.frames.get(&index).map_or(0, |frame| frame.start),
        code: builder.code,
        names,
        registers: builder.registers as usize,
        predicates: builder.predicates as usize,
        constants: builder.constants.into_iter().map(|(value, slot)| (slot, value)).collect(),
        specials: builder.specials.into_iter().map(|(special, slot)| (slot, special)).collect(),
        parameter_bytes: parameters.last().map_or(0, |(offset, bytes)| offset + bytes),
        parameters,
        shared: builder.shared_ranges,
        local_bytes: builder.local_bytes as usize,
        most_threads: function.most_threads,
    })
}

/// Name, offset and bytes of each parameter of a kernel.
fn parameter_layout(function: &Function) -> Vec<(&str, usize, usize)> {
    let mut at = 0;
    let mut layout = Vec::new();
    for parameter in &function.parameters {
        let start = u64::next_multiple_of(at, parameter.align);
        at = start + parameter.bytes;
        layout.push((parameter.name.as_str(), start as usize, parameter.bytes as usize));
    }
    layout
}

/// A kernel in the making.
pub(super) struct Builder<'m> {
    module: &'m Module,
    variables: &'m Variables,
    by_name: HashMap<&'m str, usize>,
    pub(super) code: Vec<Instruction>,
    names: HashMap<String, u32>,
    registers: Slot,
    predicates: PredicateSlot,
    constants: HashMap<u64, Slot>,
    specials: HashMap<Special, Slot>,
    /// Offset of each shared variable: of a function, or of the module (none).
    shared: HashMap<(Option<usize>, usize), u64>,
    shared_ranges: Vec<(usize, usize)>,
    shared_bytes: u64,
    local_bytes: u64,
    /// Functions that are laid out.
    frames: HashMap<usize, Frame<'m>>,
}

/// What one function has, within a kernel.
pub(super) struct Frame<'m> {
    pub(super) function: &'m Function,
    index: usize,
    start: u32,
    /// Where each lane returns to; none for the kernel.
    pub(super) back: Option<Slot>,
    /// By number of the register.
    slots: Vec<Option<u32>>,
    types: &'m [Type],
    variables: &'m [Variable],
    /// Offset in local memory of each variable there.
    locals: Vec<Option<u64>>,
    /// Offset and bytes of what it takes and gives, in local memory.
    parameters: Vec<(&'m str, u64, u64)>,
    returns: Vec<(&'m str, u64, u64)>,
}

/// The bytes that an address can reach in parameter memory.
pub(super) enum ParameterPlace {
    /// Of the launch.
    Launch(usize),
    /// In local memory.
    Local(u64),
}

impl<'m> Builder<'m> {
    /// Lays out a function after those that it calls.
    fn function(&mut self, index: usize, callers: &mut Vec<usize>, line: u32) -> Result<()> {
        if self.frames.contains_key(&index) {
            return Ok(());
        }
        let module = self.module;
        let function = &module.functions[index];
        let error = |reason: String| Err(ParseError::new(line, reason));
        if callers.contains(&index) {
            return error(format!("{} calls itself, which is not supported", function.name));
        }
        if callers.len() == DEEPEST {
            return error(format!("more than {DEEPEST} calls within calls"));
        }
        let Some(body) = &function.body else {
            return error(format!("{} is not defined in this text", function.name));
        };
        callers.push(index);
        for statement in body.statements.iter().filter(|statement| is_call(statement)) {
            let callee = self.callee(statement)?;
            self.function(callee, callers, statement.line)?;
        }
        callers.pop();

        let mut frame = Frame {
            function,
            index,
            start: self.code.len() as u32,
            back: (!function.entry).then(|| self.new_slot()),
            slots: vec![None; body.registers.len()],
            types: &body.registers,
            variables: &body.variables,
            locals: Vec::new(),
            parameters: Vec::new(),
            returns: Vec::new(),
        };
        for variable in frame.variables {
            let local = matches!(variable.space, SpaceOf::Local | SpaceOf::Parameter);
            let place = match variable.bytes {
                Some(bytes) if local => Some(self.new_local(bytes, variable.align, function.line)?),
                _ => None,
            };
            frame.locals.push(place);
        }
        if !function.entry {
            for parameter in &function.parameters {
                let at = self.new_local(parameter.bytes, parameter.align, function.line)?;
                frame.parameters.push((&parameter.name, at, parameter.bytes));
            }
            for parameter in &function.returns {
                let at = self.new_local(parameter.bytes, parameter.align, function.line)?;
                frame.returns.push((&parameter.name, at, parameter.bytes));
            }
        }
        let mut positions = Vec::with_capacity(body.statements.len());
        for statement in &body.statements {
            positions.push(self.code.len() as u32);
            self.statement(&mut frame, statement)?;
        }
        // Branches hold the number of a statement so far.
        for instruction in &mut self.code[frame.start as usize..] {
            if let Operation::Branch { to } = &mut instruction.operation {
                *to = positions.get(*to as usize).copied().unwrap_or(u32::MAX);
            }
        }
        self.frames.insert(index, frame);
        Ok(())
    }

    /// The function that a call names.
    fn callee(&self, statement: &Statement) -> Result<usize> {
        let name = statement.operands.iter().find_map(|operand| match operand {
            Operand::Name(name) => Some(name),
            _ => None,
        });
        match name.map(|name| (name, self.by_name.get(name.as_str()))) {
            Some((_, Some(&index))) if !self.module.functions[index].entry => Ok(index),
            Some((name, _)) => Err(ParseError::new(statement.line, format!("there is no function {name}"))),
            None => {
                Err(ParseError::new(statement.line, "only calls of a function by its name are supported"))
            }
        }
    }

    /// Copies arguments in, calls, and copies what comes back.
    pub(super) fn call(
        &mut self,
        frame: &Frame<'m>,
        statement: &Statement,
        guard: Option<Condition>,
    ) -> Result<()> {
        let error = |reason: &str| ParseError::new(statement.line, reason);
        let (returns, arguments): (&[Operand], &[Operand]) = match statement.operands.as_slice() {
            [Operand::Name(_)] => (&[], &[]),
            [Operand::Name(_), Operand::List(arguments)] => (&[], arguments),
            [Operand::List(returns), Operand::Name(_)] => (returns, &[]),
            [Operand::List(returns), Operand::Name(_), Operand::List(arguments)] => (returns, arguments),
            _ => return Err(error("only calls of a function by its name are supported")),
        };
        let callee = self.callee(statement)?;
        let Some(target) = self.frames.get(&callee) else {
            return Err(error("the function is not laid out"));
        };
        let place = |operand: &Operand, formal: u64| match operand {
            Operand::Variable(at) if frame.variables[*at].bytes == Some(formal) => frame.locals[*at],
            _ => None,
        };
        if target.parameters.len() != arguments.len() || target.returns.len() != returns.len() {
            return Err(error("the call has another number of parameters than the function"));
        }
        let mut before = Vec::new();
        for (argument, &(_, to, bytes)) in arguments.iter().zip(&target.parameters) {
            let from =
                place(argument, bytes).ok_or_else(|| error("an argument does not fit its parameter"))?;
            before.push(Operation::CopyLocal { to: to as usize, from: from as usize, bytes: bytes as usize });
        }
        let mut after = Vec::new();
        for (result, &(_, from, bytes)) in returns.iter().zip(&target.returns) {
            let to = place(result, bytes).ok_or_else(|| error("a result does not fit where it goes"))?;
            after.push(Operation::CopyLocal { to: to as usize, from: from as usize, bytes: bytes as usize });
        }
        let (to, back) = (target.start, target.back.ok_or_else(|| error("a kernel cannot be called"))?);
        let name = self.name(&statement.name);
        let line = statement.line;
        let unnamed = |operation| Instruction { line, name: None, guard, operation };
        self.code.extend(before.into_iter().map(unnamed));
        self.code.push(Instruction {
            line,
            name: Some(name),
            guard,
            operation: Operation::Call { to, back },
        });
        self.code.extend(after.into_iter().map(unnamed));
        Ok(())
    }

    /// Number of the name of an instruction.
    pub(super) fn name(&mut self, name: &str) -> u32 {
        let next = self.names.len() as u32;
        *self.names.entry(name.into()).or_insert(next)
    }

    fn new_slot(&mut self) -> Slot {
        self.registers += 1;
        self.registers - 1
    }

    fn new_local(&mut self, bytes: u64, align: u64, line: u32) -> Result<u64> {
        let start = self.local_bytes.next_multiple_of(align);
        self.local_bytes = start + bytes;
        if self.local_bytes > LOCAL_BYTES {
            return Err(ParseError::new(line, format!("more than {LOCAL_BYTES} bytes of local memory")));
        }
        Ok(start)
    }

    pub(super) fn constant(&mut self, value: u64) -> Slot {
        if let Some(&slot) = self.constants.get(&value) {
            return slot;
        }
        let slot = self.new_slot();
        self.constants.insert(value, slot);
        slot
    }

    pub(super) fn special(&mut self, special: Special) -> Slot {
        if let Some(&slot) = self.specials.get(&special) {
            return slot;
        }
        let slot = self.new_slot();
        self.specials.insert(special, slot);
        slot
    }

    /// The register's type and its number in the warp: among registers, or among predicates.
    pub(super) fn register(&mut self, frame: &mut Frame<'m>, register: RegisterId) -> (Type, u32) {
        let of = frame.types[register];
        let slot = *frame.slots[register].get_or_insert_with(|| {
            let counter = if of == Type::Predicate { &mut self.predicates } else { &mut self.registers };
            *counter += 1;
            *counter - 1
        });
        (of, slot)
    }

    fn shared_offset(
        &mut self,
        function: Option<usize>,
        at: usize,
        variable: &Variable,
        line: u32,
    ) -> Result<u64> {
        if let Some(&offset) = self.shared.get(&(function, at)) {
            return Ok(offset);
        }
        let Some(bytes) = variable.bytes else {
            let reason =
                format!("{}: shared memory whose size the launch decides is not supported", variable.name);
            return Err(ParseError::new(line, reason));
        };
        self.shared_bytes = self.shared_bytes.next_multiple_of(variable.align) + bytes;
        if self.shared_bytes > SHARED_BYTES {
            return Err(ParseError::new(line, format!("more than {SHARED_BYTES} bytes of shared memory")));
        }
        let end = self.shared_ranges.last().map_or(0, |&(_, end)| end as u64 + GAP);
        let start = end.next_multiple_of(variable.align);
        self.shared_ranges.push((start as usize, (start + bytes) as usize));
        self.shared.insert((function, at), start);
        Ok(start)
    }

    /// Address of what a name or a variable stands for, within its own memory.
    pub(super) fn address_of(&mut self, frame: &Frame<'m>, operand: &Operand, line: u32) -> Result<u64> {
        match operand {
            Operand::Variable(at) => {
                let variable = &frame.variables[*at];
                match frame.locals[*at] {
                    Some(offset) => Ok(offset),
                    None => self.shared_offset(Some(frame.index), *at, variable, line),
                }
            }
            Operand::Name(name) => {
                if let Some(address) = self.variables.address(name) {
                    return Ok(address);
                }
                let module = self.module;
                let found = module.variables.iter().enumerate().find(|(_, variable)| variable.name == *name);
                match found {
                    Some((at, variable)) if variable.space == SpaceOf::Shared => {
                        self.shared_offset(None, at, variable, line)
                    }
                    _ => match Self::parameter(frame, operand, 0, 0) {
                        Some(ParameterPlace::Local(offset)) => Ok(offset),
                        _ => Err(ParseError::new(line, format!("{name} has no address that is supported"))),
                    },
                }
            }
            _ => Err(ParseError::new(line, "this is no name of memory")),
        }
    }

    /// Where `bytes` bytes from `offset` of a parameter lie; none where they are not all there.
    pub(super) fn parameter(
        frame: &Frame<'m>,
        operand: &Operand,
        offset: i64,
        bytes: u64,
    ) -> Option<ParameterPlace> {
        let offset = u64::try_from(offset).ok()?;
        let end = offset.checked_add(bytes)?;
        match operand {
            Operand::Variable(at) => {
                let variable = &frame.variables[*at];
                let fits = variable.space == SpaceOf::Parameter && end <= variable.bytes?;
                fits.then_some(ParameterPlace::Local(frame.locals[*at]? + offset))
            }
            Operand::Name(name) if frame.function.entry => parameter_layout(frame.function)
                .into_iter()
                .find(|(parameter, _, size)| parameter == name && end <= *size as u64)
                .map(|(_, start, _)| ParameterPlace::Launch(start + offset as usize)),
            Operand::Name(name) => frame
                .parameters
                .iter()
                .chain(&frame.returns)
                .find(|(parameter, _, size)| parameter == name && end <= *size)
                .map(|(_, start, _)| ParameterPlace::Local(start + offset)),
            _ => None,
        }
    }
}

pub(super) fn is_call(statement: &Statement) -> bool {
    matches!(statement.name.as_str(), "call" | "call.uni")
}

/// Conditions that are always the same.
pub(super) fn constantly(value: bool) -> Condition {
    Condition { predicate: FALSE, negated: value }
}

const _: () = assert!(FALSE < FIRST_PREDICATE && CARRY < FIRST_PREDICATE);
