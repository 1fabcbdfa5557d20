//! What each arithmetic instruction computes, for one lane, from the bits of its operands.
//!
//! A register is 64 bits. An instruction looks at the low bits that its type has and may leave anything above what its
//! result has; conversions and loads extend, so that a wider register holds what PTX says.

mod convert;
mod float;
mod half;
mod integer;
mod types;

pub(crate) use convert::Convert;
pub(crate) use types::Type;

/// One operand to a result.
pub(crate) type Unary = fn(u64) -> u64;
/// Two operands to a result.
pub(crate) type Binary = fn(u64, u64) -> u64;
/// Three operands to a result.
pub(crate) type Ternary = fn(u64, u64, u64) -> u64;
/// Four operands to a result.
pub(crate) type Quaternary = fn(u64, u64, u64, u64) -> u64;
/// Two operands to a truth value.
pub(crate) type Comparison = fn(u64, u64) -> bool;

/// How a result comes from operands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Function {
    Unary(Unary),
    Binary(Binary),
    /// The second operand must not be zero.
    Divide(Binary, Type),
    Ternary(Ternary),
    Quaternary(Quaternary),
    Convert(Convert),
}

/// An arithmetic instruction.
#[derive(Debug, Clone)]
pub(crate) struct Arithmetic {
    pub(crate) function: Function,
    /// Type of the result.
    pub(crate) result: Type,
    /// Types of the operands.
    pub(crate) operands: Vec<Type>,
}

impl Arithmetic {
    fn unary(function: Unary, result: Type, operand: Type) -> Self {
        Self { function: Function::Unary(function), result, operands: vec![operand] }
    }

    fn binary(function: Binary, result: Type, operands: [Type; 2]) -> Self {
        Self { function: Function::Binary(function), result, operands: operands.to_vec() }
    }

    fn ternary(function: Ternary, result: Type, operands: [Type; 3]) -> Self {
        Self { function: Function::Ternary(function), result, operands: operands.to_vec() }
    }
}

/// The instruction of this name, split at its dots; none where it is unknown.
pub(crate) fn arithmetic(name: &[&str]) -> Option<Arithmetic> {
    integer::arithmetic(name).or_else(|| float::arithmetic(name)).or_else(|| convert::arithmetic(name))
}

/// The comparison of this name for operands of this type, as in `setp`.
pub(crate) fn comparison(name: &str, of: Type) -> Option<Comparison> {
    if of.is_float() { float::comparison(name, of) } else { integer::comparison(name, of) }
}

/// What an atomic leaves in memory, from what was there and its operands.
pub(crate) fn atomic(name: &str, of: Type) -> Option<Ternary> {
    integer::atomic(name, of)
}

/// Lane that a shuffle reads, and whether it lies within the segment.
pub(crate) fn shuffle_source(mode: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, (c >> 8) & 31);
    let last = (lane & segment) | (clamp & !segment);
    let (from, within) = match mode {
        // `last` is the first lane here.
        Shuffle::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= last as i32),
        Shuffle::Down => (lane + b, lane + b <= last),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= last),
        Shuffle::Index => {
            let from = (lane & segment) | (b & !segment);
            (from, from <= last)
        }
    };
    (if within { from & 31 } else { lane }, within)
}

/// Which lane a shuffle reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[cfg(test)]
mod tests;
