//! Single and double precision, rounded to nearest, ties to even. What a card only approximates is not here.

use std::cmp::Ordering::{Equal, Greater, Less};

use super::{Arithmetic, Binary, Comparison, Ternary, Type, Unary};

/// A type of floating-point numbers.
trait Float: Copy + PartialOrd {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
    fn sqrt(self) -> Self;
    fn recip(self) -> Self;
    fn abs(self) -> Self;
    fn neg(self) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn fma(self, by: Self, plus: Self) -> Self;
    fn is_nan(self) -> bool;
    fn is_negative(self) -> bool;
    fn copysign(self, sign: Self) -> Self;
}

macro_rules! float {
    ($type:ty, $bits:ty) => {
        impl Float for $type {
            fn of(bits: u64) -> Self {
                Self::from_bits(bits as $bits)
            }
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
            fn recip(self) -> Self {
                1.0 / self
            }
            fn abs(self) -> Self {
                <$type>::abs(self)
            }
            fn neg(self) -> Self {
                -self
            }
            fn add(self, other: Self) -> Self {
                self + other
            }
            fn sub(self, other: Self) -> Self {
                self - other
            }
            fn mul(self, other: Self) -> Self {
                self * other
            }
            fn div(self, other: Self) -> Self {
                self / other
            }
            fn fma(self, by: Self, plus: Self) -> Self {
                self.mul_add(by, plus)
            }
            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }
            fn is_negative(self) -> bool {
                self.is_sign_negative()
            }
            fn copysign(self, sign: Self) -> Self {
                <$type>::copysign(self, sign)
            }
        }
    };
}
float!(f32, u32);
float!(f64, u64);

fn add<T: Float>(a: u64, b: u64) -> u64 {
    T::of(a).add(T::of(b)).bits()
}

fn sub<T: Float>(a: u64, b: u64) -> u64 {
    T::of(a).sub(T::of(b)).bits()
}

fn mul<T: Float>(a: u64, b: u64) -> u64 {
    T::of(a).mul(T::of(b)).bits()
}

fn div<T: Float>(a: u64, b: u64) -> u64 {
    T::of(a).div(T::of(b)).bits()
}

fn fma<T: Float>(a: u64, b: u64, c: u64) -> u64 {
    T::of(a).fma(T::of(b), T::of(c)).bits()
}

fn sqrt<T: Float>(a: u64) -> u64 {
    T::of(a).sqrt().bits()
}

fn recip<T: Float>(a: u64) -> u64 {
    T::of(a).recip().bits()
}

fn abs<T: Float>(a: u64) -> u64 {
    T::of(a).abs().bits()
}

fn neg<T: Float>(a: u64) -> u64 {
    T::of(a).neg().bits()
}

/// The sign of `a`, the rest of `b`.
fn copysign<T: Float>(a: u64, b: u64) -> u64 {
    T::of(b).copysign(T::of(a)).bits()
}

/// The other one where one is not a number; -0 is below +0.
fn min<T: Float>(a: u64, b: u64) -> u64 {
    let (x, y) = (T::of(a), T::of(b));
    let first = y.is_nan() || x < y || (x == y && x.is_negative());
    if first { x.bits() } else { y.bits() }
}

fn max<T: Float>(a: u64, b: u64) -> u64 {
    let (x, y) = (T::of(a), T::of(b));
    let first = y.is_nan() || x > y || (x == y && y.is_negative());
    if first { x.bits() } else { y.bits() }
}

macro_rules! of_type {
    ($type:expr, $kind:ty, $function:ident) => {
        match $type {
            Type::F32 => Some($function::<f32> as $kind),
            Type::F64 => Some($function::<f64> as $kind),
            _ => None,
        }
    };
}

pub(super) fn arithmetic(name: &[&str]) -> Option<Arithmetic> {
    let t = Type::named(name.last()?)?;
    let unary = |function: Option<Unary>| Some(Arithmetic::unary(function?, t, t));
    let binary = |function: Option<Binary>| Some(Arithmetic::binary(function?, t, [t; 2]));
    match name[..name.len() - 1] {
        ["add"] | ["add", "rn"] => binary(of_type!(t, Binary, add)),
        ["sub"] | ["sub", "rn"] => binary(of_type!(t, Binary, sub)),
        ["mul"] | ["mul", "rn"] => binary(of_type!(t, Binary, mul)),
        ["div", "rn"] => binary(of_type!(t, Binary, div)),
        ["min"] => binary(of_type!(t, Binary, min)),
        ["max"] => binary(of_type!(t, Binary, max)),
        ["copysign"] => binary(of_type!(t, Binary, copysign)),
        ["sqrt", "rn"] => unary(of_type!(t, Unary, sqrt)),
        ["rcp", "rn"] => unary(of_type!(t, Unary, recip)),
        ["abs"] => unary(of_type!(t, Unary, abs)),
        ["neg"] => unary(of_type!(t, Unary, neg)),
        ["fma", "rn"] => Some(Arithmetic::ternary(of_type!(t, Ternary, fma)?, t, [t; 3])),
        _ => None,
    }
}

/// Ordered comparisons are false where one side is not a number, the others (`u`) true.
#[allow(clippy::redundant_pattern_matching, reason = "one macro for every set of orders")]
pub(super) fn comparison(name: &str, of: Type) -> Option<Comparison> {
    macro_rules! compare {
        ($order:pat) => {
            match of {
                Type::F32 => |a, b| matches!(f32::of(a).partial_cmp(&f32::of(b)), $order),
                Type::F64 => |a, b| matches!(f64::of(a).partial_cmp(&f64::of(b)), $order),
                _ => return None,
            }
        };
    }
    Some(match name {
        "eq" => compare!(Some(Equal)),
        "ne" => compare!(Some(Less | Greater)),
        "lt" => compare!(Some(Less)),
        "le" => compare!(Some(Less | Equal)),
        "gt" => compare!(Some(Greater)),
        "ge" => compare!(Some(Greater | Equal)),
        "equ" => compare!(Some(Equal) | None),
        "neu" => compare!(Some(Less | Greater) | None),
        "ltu" => compare!(Some(Less) | None),
        "leu" => compare!(Some(Less | Equal) | None),
        "gtu" => compare!(Some(Greater) | None),
        "geu" => compare!(Some(Greater | Equal) | None),
        "num" => compare!(Some(_)),
        "nan" => compare!(None),
        _ => return None,
    })
}
