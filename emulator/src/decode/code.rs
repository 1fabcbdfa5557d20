//! The compact form that runs: every operand is the number of a register of the warp.

use crate::instructions::{Comparison, Function, Shuffle, Ternary};

/// Number of a register of the warp. Constants and special registers are registers too, filled when the warp starts.
pub(crate) type Slot = u32;

/// Number of a predicate of the warp.
pub(crate) type PredicateSlot = u32;

/// A predicate that is always false.
pub(crate) const FALSE: PredicateSlot = 0;
/// The carry of `add.cc` and its like.
pub(crate) const CARRY: PredicateSlot = 1;
/// First predicate of the program's own.
pub(crate) const FIRST_PREDICATE: PredicateSlot = 2;

/// A predicate that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condition {
    pub(crate) predicate: PredicateSlot,
    pub(crate) negated: bool,
}

/// An instruction.
#[derive(Debug)]
pub(crate) struct Instruction {
    /// Line of the PTX.
    pub(crate) line: u32,
    /// Index of the name, or none for what a call adds.
    pub(crate) name: Option<u32>,
    pub(crate) guard: Option<Condition>,
    pub(crate) operation: Operation,
}

/// Memory that an access names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Generic,
    Global,
    Shared,
    Local,
    Constant,
}

/// Where an access goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) space: Named,
    pub(crate) base: Slot,
    pub(crate) offset: u64,
    /// The base has 32 bits.
    pub(crate) narrow: bool,
}

/// `and`, `or` and `xor` of predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    And,
    Or,
    Xor,
}

impl Join {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "and" => Self::And,
            "or" => Self::Or,
            "xor" => Self::Xor,
            _ => return None,
        })
    }

    pub(crate) fn of(self, a: u32, b: u32) -> u32 {
        match self {
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

/// What a vote asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question {
    All,
    Any,
    Uniform,
}

/// Where lanes wait for each other, and what they do then.
#[derive(Debug)]
pub(crate) enum Meeting {
    Wait,
    Ballot { to: Slot, of: Condition },
    Vote { to: PredicateSlot, of: Condition, question: Question },
    Shuffle { to: Slot, within: Option<PredicateSlot>, mode: Shuffle, value: Slot, b: Slot, c: Slot },
    MatchAny { to: Slot, value: Slot, bytes: usize },
    MatchAll { to: Slot, same: Option<PredicateSlot>, value: Slot, bytes: usize },
}

/// What a barrier gives back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reduction {
    None,
    Count { to: Slot, of: Condition },
    Join { to: PredicateSlot, of: Condition, join: Join },
}

/// What an instruction does.
#[derive(Debug)]
pub(crate) enum Operation {
    Nothing,
    Arithmetic {
        function: Function,
        to: Slot,
        from: [Slot; 4],
    },
    Compare {
        to: [Option<PredicateSlot>; 2],
        function: Comparison,
        from: [Slot; 2],
        join: Option<(Join, Condition)>,
    },
    /// `set`: bits where the comparison is true, else zero.
    CompareTo {
        to: Slot,
        function: Comparison,
        from: [Slot; 2],
        join: Option<(Join, Condition)>,
        bits: u64,
    },
    Select {
        to: Slot,
        from: [Slot; 2],
        by: Condition,
    },
    JoinPredicates {
        to: PredicateSlot,
        join: Join,
        from: [Condition; 2],
    },
    /// Addition or subtraction with the carry in, out, or both.
    Carry {
        to: Slot,
        from: [Slot; 2],
        bits: u32,
        subtract: bool,
        takes: bool,
        gives: bool,
    },
    Pack {
        to: Slot,
        parts: Box<[Slot]>,
        bits: u32,
    },
    Unpack {
        parts: Box<[Option<Slot>]>,
        from: Slot,
        bits: u32,
    },
    LoadParameter {
        to: Box<[Option<Slot>]>,
        offset: usize,
        bytes: usize,
        signed: bool,
    },
    Load {
        to: Box<[Option<Slot>]>,
        target: Target,
        bytes: usize,
        signed: bool,
    },
    Store {
        from: Box<[Slot]>,
        target: Target,
        bytes: usize,
    },
    Atomic {
        to: Option<Slot>,
        target: Target,
        function: Ternary,
        from: [Slot; 2],
        bytes: usize,
    },
    /// Within the memory of the thread, for parameters of calls.
    CopyLocal {
        to: usize,
        from: usize,
        bytes: usize,
    },
    /// The address is of this memory.
    IsSpace {
        to: PredicateSlot,
        space: Named,
        address: Slot,
    },
    Branch {
        to: u32,
    },
    Call {
        to: u32,
        back: Slot,
    },
    Return {
        back: Slot,
    },
    Exit,
    Trap,
    Barrier {
        id: u32,
        aligned: bool,
        reduction: Reduction,
    },
    /// All lanes that the mask names, together.
    Meet {
        mask: Slot,
        meeting: Meeting,
    },
    ActiveMask {
        to: Slot,
    },
}

/// A kernel with the functions that it calls.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) code: Vec<Instruction>,
    /// Where the kernel itself starts.
    pub(crate) start: u32,
    /// Names of instructions.
    pub(crate) names: Vec<String>,
    pub(crate) registers: usize,
    pub(crate) predicates: usize,
    pub(crate) constants: Vec<(Slot, u64)>,
    pub(crate) specials: Vec<(Slot, crate::parse::Special)>,
    /// Offset and bytes of each parameter.
    pub(crate) parameters: Vec<(usize, usize)>,
    pub(crate) parameter_bytes: usize,
    /// First byte and first byte after it, of each shared variable; with gaps, so that overruns are found.
    pub(crate) shared: Vec<(usize, usize)>,
    pub(crate) local_bytes: usize,
    pub(crate) most_threads: Option<u64>,
}
