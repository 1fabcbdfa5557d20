//! `cvt`: between all types, with rounding and saturation.

use super::{Arithmetic, Function, Type, half};

/// A conversion.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Convert {
    from: Type,
    to: Type,
    rounding: Rounding,
    saturate: bool,
}

/// How a fraction is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    /// Nothing to drop, or to the nearest number of the result's precision.
    None,
    Nearest,
    Zero,
    Down,
    Up,
}

pub(super) fn arithmetic(name: &[&str]) -> Option<Arithmetic> {
    let ["cvt", modifiers @ .., to, from] = name else { return None };
    let (to, from) = (Type::named(to)?, Type::named(from)?);
    let (modifiers, saturate) = match modifiers {
        [rest @ .., "sat"] => (rest, true),
        all => (all, false),
    };
    let integral = match modifiers {
        ["rni"] => Rounding::Nearest,
        ["rzi"] => Rounding::Zero,
        ["rmi"] => Rounding::Down,
        ["rpi"] => Rounding::Up,
        [] | ["rn"] => Rounding::None,
        _ => return None,
    };
    if to.is_bits() || from.is_bits() || to == Type::Predicate || from == Type::Predicate {
        return None;
    }
    let nearest = modifiers == ["rn"];
    let fits = match (from.is_float(), to.is_float()) {
        (false, false) => modifiers.is_empty(),
        (false, true) => nearest,
        (true, false) => integral != Rounding::None,
        (true, true) if from == to => !nearest,
        (true, true) => nearest == (from.bytes() > to.bytes()) && integral == Rounding::None,
    };
    let convert = Convert { from, to, rounding: integral, saturate };
    fits.then(|| Arithmetic { function: Function::Convert(convert), result: to, operands: vec![from] })
}

impl Convert {
    pub(crate) fn apply(self, bits: u64) -> u64 {
        match (self.from.is_float(), self.to.is_float()) {
            (false, false) if !self.saturate => self.to.extend(self.from.extend(bits)),
            (false, false) => {
                let value = self.from.extend(bits);
                self.clamp(if self.from.is_signed() { i128::from(value as i64) } else { i128::from(value) })
            }
            (false, true) => self.of_integer(self.from.extend(bits)),
            (true, false) => self.to_integer(float_value(self.from, bits)),
            (true, true) => {
                let value = self.round(float_value(self.from, bits));
                float_bits(self.to, if self.saturate { saturated(value) } else { value })
            }
        }
    }

    fn of_integer(self, extended: u64) -> u64 {
        let signed = self.from.is_signed();
        let limit = |value: f64| if self.saturate { saturated(value) } else { value };
        match self.to {
            Type::F32 if self.saturate => {
                float_bits(Type::F32, limit(if signed { extended as i64 as f64 } else { extended as f64 }))
            }
            // Straight to single precision: by way of double it would round twice.
            Type::F32 => u64::from(if signed { extended as i64 as f32 } else { extended as f32 }.to_bits()),
            to => float_bits(to, limit(if signed { extended as i64 as f64 } else { extended as f64 })),
        }
    }

    fn to_integer(self, value: f64) -> u64 {
        if value.is_nan() {
            let wide = self.from == Type::F64 || self.to.bytes() == 8;
            let highest_bit = 1u64 << (8 * self.to.bytes() - 1);
            return if wide { self.to.extend(highest_bit) } else { 0 };
        }
        // Out of range, the cast stops at the end of a range that holds every integer type.
        self.clamp(self.round(value) as i128)
    }

    fn clamp(self, value: i128) -> u64 {
        let bits = 8 * self.to.bytes() as u32;
        let (low, high) = if self.to.is_signed() {
            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
        } else {
            (0, (1i128 << bits) - 1)
        };
        value.clamp(low, high) as u64
    }

    fn round(self, value: f64) -> f64 {
        match self.rounding {
            Rounding::None => value,
            Rounding::Nearest => value.round_ties_even(),
            Rounding::Zero => value.trunc(),
            Rounding::Down => value.floor(),
            Rounding::Up => value.ceil(),
        }
    }
}

fn saturated(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

/// Exact.
fn float_value(from: Type, bits: u64) -> f64 {
    match from {
        Type::F16 => half::to_f64(bits as u16),
        Type::F32 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    }
}

/// Rounded to nearest.
fn float_bits(to: Type, value: f64) -> u64 {
    match to {
        Type::F16 => u64::from(half::from_f64(value)),
        Type::F32 => u64::from((value as f32).to_bits()),
        _ => value.to_bits(),
    }
}
