//! A warp: 32 lanes that run the same instruction where they are at the same position.

use super::access::{bits_of, is_of};
use super::machine::{Machine, Mistake};
use super::{LANES, for_lanes, lanes_of};
use crate::decode::{CARRY, Instruction, Kernel, Operation, Slot};
use crate::fault::Fault;
use crate::instructions::{Comparison, Function};
use crate::parse::Special;

/// Instructions before another warp has its turn.
const TURN: u32 = 4096;

/// What a register holds that nobody wrote.
const UNWRITTEN: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// Whether a warp can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// All lanes that did not end wait at a barrier of the block.
    AtBarrier,
    Ended,
}

/// Where lanes go after an instruction.
enum Flow {
    Next,
    /// All go there.
    To(u32),
    /// Each has its own position now.
    Apart,
}

/// A warp of the block that runs.
pub(super) struct Warp {
    /// Within the block.
    pub(super) index: u32,
    pub(super) registers: Vec<[u64; LANES as usize]>,
    /// One bit for each lane.
    pub(super) predicates: Vec<u32>,
    /// Memory of each thread, one after another.
    pub(super) local: Vec<u8>,
    /// Next instruction of each lane.
    pub(super) position: [u32; LANES as usize],
    /// Lanes that exist: the last warp of a block may have fewer.
    pub(super) lanes: u32,
    /// Lanes that did not end.
    pub(super) live: u32,
    /// Lanes that wait for others.
    pub(super) waiting: u32,
    pub(super) state: State,
}

impl Warp {
    pub(super) fn new(kernel: &Kernel, index: u32, threads: u32) -> Self {
        let count = (threads - index * LANES).min(LANES);
        Self {
            index,
            registers: vec![[UNWRITTEN; LANES as usize]; kernel.registers],
            predicates: vec![0; kernel.predicates],
            local: vec![0xa5; kernel.local_bytes * LANES as usize],
            position: [0; LANES as usize],
            lanes: u32::MAX >> (LANES - count),
            live: 0,
            waiting: 0,
            state: State::Ended,
        }
    }

    /// Thread within the block.
    pub(super) fn thread(&self, lane: usize) -> u32 {
        self.index * LANES + lane as u32
    }

    /// As a block finds it that starts.
    pub(super) fn start(&mut self, machine: &Machine<'_>) {
        let (kernel, grid) = (machine.kernel, machine.grid);
        self.registers.fill([UNWRITTEN; LANES as usize]);
        self.predicates.fill(0);
        self.local.fill(0xa5);
        self.position = [kernel.start; LANES as usize];
        self.live = self.lanes;
        self.waiting = 0;
        self.state = State::Running;
        for &(slot, value) in &kernel.constants {
            self.registers[slot as usize] = [value; LANES as usize];
        }
        for &(slot, special) in &kernel.specials {
            for lane in 0..LANES {
                let value = match special {
                    Special::Thread => self.index * LANES + lane,
                    Special::Threads => grid.threads,
                    Special::Block => machine.block,
                    Special::Blocks => grid.blocks,
                    Special::Lane => lane,
                    Special::Warp => self.index,
                    Special::Warps => grid.threads.div_ceil(LANES),
                    Special::MaskBelow => (1 << lane) - 1,
                    Special::MaskUpTo => u32::MAX >> (31 - lane),
                    Special::MaskSame => 1 << lane,
                    Special::MaskFrom => u32::MAX << lane,
                    Special::MaskAbove => u32::MAX << lane & !(1 << lane),
                    Special::Zero => 0,
                    Special::One => 1,
                    Special::WarpSize => LANES,
                };
                self.registers[slot as usize][lane as usize] = u64::from(value);
            }
        }
    }

    /// Lanes at the lowest position, and the next position at which others are.
    fn choose(&self) -> Option<(u32, u32, u32)> {
        let (mut lowest, mut chosen, mut others) = (u32::MAX, 0, u32::MAX);
        for lane in lanes_of(self.live & !self.waiting) {
            let position = self.position[lane];
            if position < lowest {
                (others, lowest, chosen) = (lowest, position, 0);
            } else if position > lowest {
                others = others.min(position);
            }
            if position == lowest {
                chosen |= 1 << lane;
            }
        }
        (chosen != 0).then_some((lowest, chosen, others))
    }

    /// Runs until its turn is over or no lane can go on.
    pub(super) fn run(&mut self, machine: &mut Machine<'_>) -> Result<(), Fault> {
        let kernel = machine.kernel;
        let Some((mut position, mut lanes, mut others)) = self.choose() else { return self.stopped(machine) };
        for _ in 0..TURN {
            let instruction = &kernel.code[position as usize];
            let active = instruction.guard.map_or(lanes, |guard| lanes & self.holds(guard));
            if instruction.name.is_some() {
                if machine.instructions >= machine.limit {
                    let thread = self.thread(lanes.trailing_zeros() as usize);
                    return Err(machine.fault(position, thread, Mistake::TooManyInstructions));
                }
                machine.instructions += 1;
                machine.thread_instructions += u64::from(active.count_ones());
                machine.issued[position as usize] += 1;
            }
            let flow = if active == 0 {
                Flow::Next
            } else {
                self.execute(machine, instruction, position, lanes, active)?
            };
            match flow {
                Flow::Next => position += 1,
                Flow::To(to) => position = to,
                Flow::Apart => {
                    let Some(next) = self.choose() else { return self.stopped(machine) };
                    (position, lanes, others) = next;
                    continue;
                }
            }
            if position >= others {
                self.move_to(lanes, position);
                let Some(next) = self.choose() else { return self.stopped(machine) };
                (position, lanes, others) = next;
            }
        }
        self.move_to(lanes, position);
        Ok(())
    }

    /// No lane can go on by itself.
    fn stopped(&mut self, machine: &Machine<'_>) -> Result<(), Fault> {
        if let Some(fault) = self.missing_lanes(machine) {
            return Err(fault);
        }
        self.state = if self.live == 0 { State::Ended } else { State::AtBarrier };
        Ok(())
    }

    fn move_to(&mut self, lanes: u32, position: u32) {
        for_lanes(lanes, |lane| self.position[lane] = position);
    }

    /// Lanes wait here until others let them go on.
    pub(super) fn wait(&mut self, position: u32, lanes: u32) {
        self.move_to(lanes, position);
        self.waiting |= lanes;
    }

    /// Runs an instruction for the lanes that are active, which are not none.
    fn execute(
        &mut self,
        machine: &mut Machine<'_>,
        instruction: &Instruction,
        position: u32,
        lanes: u32,
        active: u32,
    ) -> Result<Flow, Fault> {
        let here = (position, active);
        match &instruction.operation {
            Operation::Nothing => {}
            Operation::Arithmetic { function, to, from } => {
                self.arithmetic(machine, here, *function, *to, *from)?;
            }
            Operation::Compare { to: [p, q], function, from, join } => {
                let truth = self.compare(active, *function, *from);
                let with = join.map(|(join, condition)| (join, self.holds(condition)));
                let joined = |truth: u32| with.map_or(truth, |(join, with)| join.of(truth, with));
                if let Some(p) = p {
                    self.set_predicate(*p, active, joined(truth));
                }
                if let Some(q) = q {
                    self.set_predicate(*q, active, joined(!truth));
                }
            }
            Operation::CompareTo { to, function, from, join, bits } => {
                let truth = self.compare(active, *function, *from);
                let truth = join.map_or(truth, |(join, condition)| join.of(truth, self.holds(condition)));
                self.set_all(*to, active & truth, *bits);
                self.set_all(*to, active & !truth, 0);
            }
            Operation::Select { to, from, by } => {
                let held = self.holds(*by);
                let [a, b] = from.map(|slot| self.registers[slot as usize]);
                let to = &mut self.registers[*to as usize];
                for_lanes(active, |lane| to[lane] = if held >> lane & 1 == 1 { a[lane] } else { b[lane] });
            }
            Operation::JoinPredicates { to, join, from: [a, b] } => {
                let joined = join.of(self.holds(*a), self.holds(*b));
                self.set_predicate(*to, active, joined);
            }
            Operation::Carry { to, from, bits, subtract, takes, gives } => {
                let carried = if *takes { self.predicates[CARRY as usize] } else { 0 };
                let carry = self.add_with_carry(active, *to, *from, carried, (*bits, *subtract));
                if *gives {
                    self.set_predicate(CARRY, active, carry);
                }
            }
            Operation::Pack { to, parts, bits } => {
                let mut packed = [0; LANES as usize];
                for (at, part) in parts.iter().enumerate() {
                    let part = &self.registers[*part as usize];
                    let low = (1u64 << bits) - 1;
                    for_lanes(active, |lane| packed[lane] |= (part[lane] & low) << (at as u32 * bits));
                }
                let to = &mut self.registers[*to as usize];
                for_lanes(active, |lane| to[lane] = packed[lane]);
            }
            Operation::Unpack { parts, from, bits } => {
                let from = self.registers[*from as usize];
                for (at, part) in parts.iter().enumerate() {
                    if let Some(part) = part {
                        let part = &mut self.registers[*part as usize];
                        let low = (1u64 << bits) - 1;
                        for_lanes(active, |lane| part[lane] = from[lane] >> (at as u32 * bits) & low);
                    }
                }
            }
            Operation::LoadParameter { to, offset, bytes, signed } => {
                for (part, to) in to.iter().enumerate() {
                    let start = offset + part * bytes;
                    let value = bits_of(&machine.parameters[start..start + bytes], *signed);
                    if let Some(to) = to {
                        self.set_all(*to, active, value);
                    }
                }
            }
            Operation::Load { to, target, bytes, signed } => {
                self.load(machine, here, to, target, (*bytes, *signed))?;
            }
            Operation::Store { from, target, bytes } => self.store(machine, here, from, target, *bytes)?,
            Operation::Atomic { to, target, function, from, bytes } => {
                self.atomic(machine, here, (*to, *from), target, (*function, *bytes))?;
            }
            Operation::CopyLocal { to, from, bytes } => self.copy_local(active, *to, *from, *bytes),
            Operation::IsSpace { to, space, address } => {
                let addresses = self.registers[*address as usize];
                let held = (0..LANES).filter(|lane| is_of(*space, addresses[*lane as usize]));
                let held = held.fold(0, |mask, lane| mask | 1 << lane);
                self.set_predicate(*to, active, held);
            }
            Operation::ActiveMask { to } => self.set_all(*to, active, u64::from(active)),
            Operation::Trap => {
                let thread = self.thread(active.trailing_zeros() as usize);
                return Err(machine.fault(position, thread, Mistake::Trap));
            }
            flow => return self.flow(machine, flow, position, lanes, active),
        }
        Ok(Flow::Next)
    }

    /// Instructions after which lanes are elsewhere.
    fn flow(
        &mut self,
        machine: &Machine<'_>,
        operation: &Operation,
        position: u32,
        lanes: u32,
        active: u32,
    ) -> Result<Flow, Fault> {
        if let Operation::Call { back, .. } = operation {
            self.set_all(*back, active, u64::from(position) + 1);
        }
        if let (Operation::Branch { to } | Operation::Call { to, .. }, true) = (operation, active == lanes) {
            return Ok(Flow::To(*to));
        }
        self.move_to(lanes & !active, position + 1);
        match operation {
            Operation::Branch { to } | Operation::Call { to, .. } => self.move_to(active, *to),
            Operation::Return { back } => {
                let back = &self.registers[*back as usize];
                for lane in lanes_of(active) {
                    self.position[lane] = back[lane] as u32;
                }
            }
            Operation::Barrier { .. } => self.wait(position, active),
            Operation::Meet { mask, meeting } => self.meet(machine, position, active, *mask, meeting)?,
            _ => self.live &= !active,
        }
        Ok(Flow::Apart)
    }

    /// Gives the carry of each lane.
    fn add_with_carry(
        &mut self,
        active: u32,
        to: Slot,
        from: [Slot; 2],
        carried: u32,
        (bits, subtract): (u32, bool),
    ) -> u32 {
        let [a, b] = from.map(|slot| self.registers[slot as usize]);
        let to = &mut self.registers[to as usize];
        let mut carry = 0;
        for_lanes(active, |lane| {
            let (sum, over) = with_carry(a[lane], b[lane], carried >> lane & 1, bits, subtract);
            to[lane] = sum;
            carry |= u32::from(over) << lane;
        });
        carry
    }

    fn compare(&self, active: u32, function: Comparison, [a, b]: [Slot; 2]) -> u32 {
        let (a, b) = (&self.registers[a as usize], &self.registers[b as usize]);
        let mut truth = 0;
        for_lanes(active, |lane| truth |= u32::from(function(a[lane], b[lane])) << lane);
        truth
    }

    fn arithmetic(
        &mut self,
        machine: &Machine<'_>,
        (position, active): (u32, u32),
        function: Function,
        to: Slot,
        from: [Slot; 4],
    ) -> Result<(), Fault> {
        let read = |slot: Slot| self.registers[slot as usize];
        let a = read(from[0]);
        match function {
            Function::Unary(function) => {
                let to = &mut self.registers[to as usize];
                for_lanes(active, |lane| to[lane] = function(a[lane]));
            }
            Function::Convert(convert) => {
                let to = &mut self.registers[to as usize];
                for_lanes(active, |lane| to[lane] = convert.apply(a[lane]));
            }
            Function::Binary(function) => {
                let b = read(from[1]);
                let to = &mut self.registers[to as usize];
                for_lanes(active, |lane| to[lane] = function(a[lane], b[lane]));
            }
            Function::Divide(function, of) => {
                let b = read(from[1]);
                if let Some(lane) = lanes_of(active).find(|&lane| of.extend(b[lane]) == 0) {
                    return Err(machine.fault(position, self.thread(lane), Mistake::DivisionByZero));
                }
                let to = &mut self.registers[to as usize];
                for_lanes(active, |lane| to[lane] = function(a[lane], b[lane]));
            }
            Function::Ternary(function) => {
                let (b, c) = (read(from[1]), read(from[2]));
                let to = &mut self.registers[to as usize];
                for_lanes(active, |lane| to[lane] = function(a[lane], b[lane], c[lane]));
            }
            Function::Quaternary(function) => {
                let (b, c, d) = (read(from[1]), read(from[2]), read(from[3]));
                let to = &mut self.registers[to as usize];
                for_lanes(active, |lane| to[lane] = function(a[lane], b[lane], c[lane], d[lane]));
            }
        }
        Ok(())
    }
}

/// Sum or difference with what is carried or borrowed, and whether it carries or borrows on.
fn with_carry(a: u64, b: u64, carried: u32, bits: u32, subtract: bool) -> (u64, bool) {
    let low = |value: u64| if bits == 32 { i128::from(value as u32) } else { i128::from(value) };
    let (a, b, carried) = (low(a), low(b), i128::from(carried));
    let exact = if subtract { a - b - carried } else { a + b + carried };
    (exact as u64, exact < 0 || exact >> bits != 0)
}
