//! Integers of 16, 32 and 64 bits, and bits.

use super::{Arithmetic, Binary, Comparison, Function, Ternary, Type, Unary};

/// A type of integers.
trait Integer: Copy + Ord {
    const BITS: u32;
    const SIGNED: bool;
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
    fn wide(self) -> i128;
    fn wrapping_abs(self) -> Self;
    fn reversed(self) -> Self;
    fn ones(self) -> u32;
    fn zeros_above(self) -> u32;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn rem(self, other: Self) -> Self;
}

macro_rules! integer {
    ($type:ty, $unsigned:ty, $signed:literal, $abs:expr) => {
        #[allow(clippy::cast_lossless, reason = "one text for all widths")]
        impl Integer for $type {
            const BITS: u32 = <$type>::BITS;
            const SIGNED: bool = $signed;
            fn of(bits: u64) -> Self {
                bits as $type
            }
            fn bits(self) -> u64 {
                self as u64
            }
            fn wide(self) -> i128 {
                self as i128
            }
            fn wrapping_abs(self) -> Self {
                let abs: fn($type) -> $type = $abs;
                abs(self)
            }
            fn reversed(self) -> Self {
                self.reverse_bits()
            }
            fn ones(self) -> u32 {
                self.count_ones()
            }
            fn zeros_above(self) -> u32 {
                (self as $unsigned).leading_zeros()
            }
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn div(self, other: Self) -> Self {
                self.wrapping_div(other)
            }
            fn rem(self, other: Self) -> Self {
                self.wrapping_rem(other)
            }
        }
    };
}
integer!(u16, u16, false, |a| a);
integer!(u32, u32, false, |a| a);
integer!(u64, u64, false, |a| a);
integer!(i16, u16, true, i16::wrapping_abs);
integer!(i32, u32, true, i32::wrapping_abs);
integer!(i64, u64, true, i64::wrapping_abs);

fn add<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).add(T::of(b)).bits()
}

fn sub<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).sub(T::of(b)).bits()
}

fn mul_low<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).mul(T::of(b)).bits()
}

fn mul_high<T: Integer>(a: u64, b: u64) -> u64 {
    // The product of two u64 may pass what i128 holds; its high half does not change by wrapping.
    (T::of(a).wide().wrapping_mul(T::of(b).wide()) >> T::BITS) as u64
}

fn mul_wide<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).wide().wrapping_mul(T::of(b).wide()) as u64
}

fn mad_low<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    mul_low::<T>(a, b).wrapping_add(c)
}

fn mad_high<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    mul_high::<T>(a, b).wrapping_add(c)
}

fn mad_wide<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    mul_wide::<T>(a, b).wrapping_add(c)
}

/// Distance of `a` and `b`, added to `c`.
fn sad<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    ((T::of(a).wide() - T::of(b).wide()).unsigned_abs() as u64).wrapping_add(c)
}

fn div<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).div(T::of(b)).bits()
}

fn rem<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).rem(T::of(b)).bits()
}

fn min<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).min(T::of(b)).bits()
}

fn max<T: Integer>(a: u64, b: u64) -> u64 {
    T::of(a).max(T::of(b)).bits()
}

fn abs<T: Integer>(a: u64) -> u64 {
    T::of(a).wrapping_abs().bits()
}

fn add_saturated(a: u64, b: u64) -> u64 {
    (a as i32).saturating_add(b as i32) as u64
}

fn sub_saturated(a: u64, b: u64) -> u64 {
    (a as i32).saturating_sub(b as i32) as u64
}

fn popc<T: Integer>(a: u64) -> u64 {
    u64::from(T::of(a).ones())
}

fn clz<T: Integer>(a: u64) -> u64 {
    u64::from(T::of(a).zeros_above())
}

fn brev<T: Integer>(a: u64) -> u64 {
    T::of(a).reversed().bits()
}

/// Position of the highest bit that is not the sign's; all ones where there is none.
fn bfind<T: Integer>(a: u64) -> u64 {
    let value = T::of(a);
    let value = if T::SIGNED && value.wide() < 0 { T::of(!a) } else { value };
    u64::from((T::BITS - 1).wrapping_sub(value.zeros_above()))
}

/// How far to shift left so that the bit that [`bfind`] finds becomes the highest.
fn bfind_shift<T: Integer>(a: u64) -> u64 {
    match bfind::<T>(a) as u32 {
        u32::MAX => u64::from(u32::MAX),
        at => u64::from(T::BITS - 1 - at),
    }
}

/// `c` bits of `a` from position `b`; past the end zeros, or the sign.
fn bfe<T: Integer>(a: u64, b: u64, c: u64) -> u64 {
    let (at, length, last) = (b as u32 & 0xff, c as u32 & 0xff, T::BITS - 1);
    let value = T::of(a).wide();
    let sign = if !T::SIGNED || length == 0 { 0 } else { (value >> (at + length - 1).min(last)) & 1 };
    let field = if at > last { 0 } else { (value & ((1 << T::BITS) - 1)) >> at };
    let taken = length.min(T::BITS.saturating_sub(at));
    let below = (1i128 << taken) - 1;
    (field & below | if sign == 1 { !below } else { 0 }) as u64
}

/// `b` with `d` bits of `a` put in from position `c`.
fn bfi<T: Integer>(a: u64, b: u64, c: u64, d: u64) -> u64 {
    let (at, length) = (c as u32 & 0xff, d as u32 & 0xff);
    if at >= T::BITS {
        return b;
    }
    let field = ((1u128 << length.min(T::BITS - at)) - 1) << at;
    ((u128::from(b) & !field) | ((u128::from(a) << at) & field)) as u64
}

/// Shifts stop at the width: everything is shifted out.
fn shl<T: Integer>(a: u64, b: u64) -> u64 {
    let by = b as u32;
    if by >= T::BITS { 0 } else { a << by }
}

fn shr<T: Integer>(a: u64, b: u64) -> u64 {
    (T::of(a).wide() >> (b as u32).min(T::BITS)) as u64
}

fn and(a: u64, b: u64) -> u64 {
    a & b
}

fn or(a: u64, b: u64) -> u64 {
    a | b
}

fn xor(a: u64, b: u64) -> u64 {
    a ^ b
}

fn not(a: u64) -> u64 {
    !a
}

fn neg(a: u64) -> u64 {
    a.wrapping_neg()
}

fn is_zero<T: Integer>(a: u64) -> u64 {
    u64::from(T::of(a).wide() == 0)
}

/// `a` where `c` is not negative, else `b`.
fn select_by_sign(a: u64, b: u64, c: u64) -> u64 {
    if (c as i32).is_negative() { b } else { a }
}

fn select_by_float_sign(a: u64, b: u64, c: u64) -> u64 {
    if f32::from_bits(c as u32) >= 0.0 { a } else { b }
}

/// Bit by bit what the table `d` says for the bits of `a`, `b` and `c`.
fn lop3(a: u64, b: u64, c: u64, d: u64) -> u64 {
    (0..8).filter(|row| d >> row & 1 == 1).fold(0, |out, row| {
        let side = |word: u64, bit: u32| if row >> bit & 1 == 1 { word } else { !word };
        out | (side(a, 2) & side(b, 1) & side(c, 0))
    })
}

fn words(low: u64, high: u64) -> u64 {
    u64::from(low as u32) | high << 32
}

fn funnel_left_wrap(a: u64, b: u64, c: u64) -> u64 {
    words(a, b) << (c & 31) >> 32
}

fn funnel_left_clamp(a: u64, b: u64, c: u64) -> u64 {
    words(a, b) << u64::from(c as u32).min(32) >> 32
}

fn funnel_right_wrap(a: u64, b: u64, c: u64) -> u64 {
    words(a, b) >> (c & 31) & 0xffff_ffff
}

fn funnel_right_clamp(a: u64, b: u64, c: u64) -> u64 {
    words(a, b) >> u64::from(c as u32).min(32) & 0xffff_ffff
}

/// Four bytes of `b` and `a`, each by a digit of `digits`: 0 to 7 the byte, 8 more its sign over the whole byte.
fn bytes_by(a: u64, b: u64, digits: [u64; 4]) -> u64 {
    let all = words(a, b);
    digits.iter().enumerate().fold(0, |out, (at, digit)| {
        let byte = all >> (8 * (digit & 7)) & 0xff;
        let byte = if digit & 8 == 0 { byte } else { (byte >> 7) * 0xff };
        out | byte << (8 * at)
    })
}

fn prmt(a: u64, b: u64, c: u64) -> u64 {
    bytes_by(a, b, [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15])
}

fn prmt_forward(a: u64, b: u64, c: u64) -> u64 {
    let from = c & 3;
    bytes_by(a, b, [from, from + 1, from + 2, from + 3])
}

fn prmt_backward(a: u64, b: u64, c: u64) -> u64 {
    let from = c & 3;
    bytes_by(a, b, [from, (from + 7) & 7, (from + 6) & 7, (from + 5) & 7])
}

fn prmt_replicate(a: u64, b: u64, c: u64) -> u64 {
    bytes_by(a, b, [c & 3; 4])
}

fn prmt_clamp_left(a: u64, b: u64, c: u64) -> u64 {
    let from = c & 3;
    bytes_by(a, b, [from, from.max(1), from.max(2), 3])
}

fn prmt_clamp_right(a: u64, b: u64, c: u64) -> u64 {
    let from = c & 3;
    bytes_by(a, b, [0, from.min(1), from.min(2), from])
}

fn prmt_halves(a: u64, b: u64, c: u64) -> u64 {
    let low = (c & 1) * 2;
    bytes_by(a, b, [low, low + 1, low, low + 1])
}

macro_rules! of_type {
    ($type:expr, $kind:ty, $function:ident) => {
        match $type {
            Type::U16 => Some($function::<u16> as $kind),
            Type::U32 => Some($function::<u32> as $kind),
            Type::U64 => Some($function::<u64> as $kind),
            Type::S16 => Some($function::<i16> as $kind),
            Type::S32 => Some($function::<i32> as $kind),
            Type::S64 => Some($function::<i64> as $kind),
            _ => None,
        }
    };
}

macro_rules! of_bits {
    ($type:expr, $kind:ty, $function:ident) => {
        match $type {
            Type::B16 => Some($function::<u16> as $kind),
            Type::B32 => Some($function::<u32> as $kind),
            Type::B64 => Some($function::<u64> as $kind),
            _ => None,
        }
    };
}

/// Twice as wide, for 16 and 32 bits.
fn doubled(of: Type) -> Option<Type> {
    Some(match of {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return None,
    })
}

pub(super) fn arithmetic(name: &[&str]) -> Option<Arithmetic> {
    if let ["prmt", "b32", mode] = name {
        return Some(Arithmetic::ternary(permute(mode)?, Type::B32, [Type::B32; 3]));
    }
    let t = Type::named(name.last()?)?;
    if let ["slct", result, _] = name {
        return select_on_sign(result, t);
    }
    let head = &name[..name.len() - 1];
    if t.is_bits() { bits(head, t) } else { numbers(head, t) }
}

fn numbers(head: &[&str], t: Type) -> Option<Arithmetic> {
    let unary = |function: Option<Unary>, result: Type| Some(Arithmetic::unary(function?, result, t));
    let binary = |function: Option<Binary>| Some(Arithmetic::binary(function?, t, [t; 2]));
    let ternary = |function: Option<Ternary>| Some(Arithmetic::ternary(function?, t, [t; 3]));
    let divide = |function: Option<Binary>| {
        let function = Function::Divide(function?, t);
        Some(Arithmetic { function, result: t, operands: vec![t; 2] })
    };
    let at_least_32 = |found: Option<Arithmetic>| found.filter(|_| t.bytes() >= 4);
    let signed = |found: Option<Arithmetic>| found.filter(|_| t.is_signed());
    match head {
        ["add"] => binary(of_type!(t, Binary, add)),
        ["sub"] => binary(of_type!(t, Binary, sub)),
        ["add", "sat"] if t == Type::S32 => binary(Some(add_saturated)),
        ["sub", "sat"] if t == Type::S32 => binary(Some(sub_saturated)),
        ["mul", "lo"] => binary(of_type!(t, Binary, mul_low)),
        ["mul", "hi"] => binary(of_type!(t, Binary, mul_high)),
        ["mul", "wide"] => Some(Arithmetic::binary(of_type!(t, Binary, mul_wide)?, doubled(t)?, [t; 2])),
        ["mad", "lo"] => ternary(of_type!(t, Ternary, mad_low)),
        ["mad", "hi"] => ternary(of_type!(t, Ternary, mad_high)),
        ["mad", "wide"] => {
            let wide = doubled(t)?;
            Some(Arithmetic::ternary(of_type!(t, Ternary, mad_wide)?, wide, [t, t, wide]))
        }
        ["sad"] => ternary(of_type!(t, Ternary, sad)),
        ["div"] => divide(of_type!(t, Binary, div)),
        ["rem"] => divide(of_type!(t, Binary, rem)),
        ["min"] => binary(of_type!(t, Binary, min)),
        ["max"] => binary(of_type!(t, Binary, max)),
        ["abs"] => signed(unary(of_type!(t, Unary, abs), t)),
        ["neg"] if t.is_signed() => unary(Some(neg), t),
        ["bfind"] => at_least_32(unary(of_type!(t, Unary, bfind), Type::U32)),
        ["bfind", "shiftamt"] => at_least_32(unary(of_type!(t, Unary, bfind_shift), Type::U32)),
        ["bfe"] => {
            let function = of_type!(t, Ternary, bfe)?;
            at_least_32(Some(Arithmetic::ternary(function, t, [t, Type::U32, Type::U32])))
        }
        ["shr"] => Some(Arithmetic::binary(of_type!(t, Binary, shr)?, t, [t, Type::U32])),
        _ => None,
    }
}

fn select_on_sign(result: &str, by: Type) -> Option<Arithmetic> {
    let result = Type::named(result).filter(|result| result.bytes() >= 4)?;
    let function: Ternary = match by {
        Type::S32 => select_by_sign,
        Type::F32 => select_by_float_sign,
        _ => return None,
    };
    Some(Arithmetic::ternary(function, result, [result, result, by]))
}

fn bits(head: &[&str], t: Type) -> Option<Arithmetic> {
    let unary = |function: Option<Unary>, result: Type| Some(Arithmetic::unary(function?, result, t));
    let binary = |function: Binary| Some(Arithmetic::binary(function, t, [t; 2]));
    let of_words =
        |function: Ternary| (t == Type::B32).then(|| Arithmetic::ternary(function, t, [t, t, Type::U32]));
    let at_least_32 = |found: Option<Arithmetic>| found.filter(|_| t.bytes() >= 4);
    if t == Type::B8 {
        return None;
    }
    match head {
        ["and"] => binary(and),
        ["or"] => binary(or),
        ["xor"] => binary(xor),
        ["not"] => unary(Some(not), t),
        ["cnot"] => unary(of_bits!(t, Unary, is_zero), t),
        ["shl"] => Some(Arithmetic::binary(of_bits!(t, Binary, shl)?, t, [t, Type::U32])),
        ["shr"] => Some(Arithmetic::binary(of_bits!(t, Binary, shr)?, t, [t, Type::U32])),
        ["popc"] => at_least_32(unary(of_bits!(t, Unary, popc), Type::U32)),
        ["clz"] => at_least_32(unary(of_bits!(t, Unary, clz), Type::U32)),
        ["brev"] => at_least_32(unary(of_bits!(t, Unary, brev), t)),
        ["bfi"] => at_least_32(Some(Arithmetic {
            function: Function::Quaternary(match t {
                Type::B64 => bfi::<u64>,
                _ => bfi::<u32>,
            }),
            result: t,
            operands: vec![t, t, Type::U32, Type::U32],
        })),
        ["lop3"] if t == Type::B32 => {
            Some(Arithmetic { function: Function::Quaternary(lop3), result: t, operands: vec![t; 4] })
        }
        ["shf", "l", "wrap"] => of_words(funnel_left_wrap),
        ["shf", "l", "clamp"] => of_words(funnel_left_clamp),
        ["shf", "r", "wrap"] => of_words(funnel_right_wrap),
        ["shf", "r", "clamp"] => of_words(funnel_right_clamp),
        ["prmt"] => of_words(prmt),
        _ => None,
    }
}

/// `prmt` has its mode after the type.
fn permute(mode: &str) -> Option<Ternary> {
    Some(match mode {
        "f4e" => prmt_forward,
        "b4e" => prmt_backward,
        "rc8" => prmt_replicate,
        "ecl" => prmt_clamp_left,
        "ecr" => prmt_clamp_right,
        "rc16" => prmt_halves,
        _ => return None,
    })
}

pub(super) fn comparison(name: &str, of: Type) -> Option<Comparison> {
    // Bits compare as unsigned numbers, and only for equality.
    macro_rules! compare {
        ($test:expr) => {{
            macro_rules! typed {
                ($type:ty) => {{
                    let function: Comparison = |a, b| {
                        let test: fn($type, $type) -> bool = $test;
                        test(a as $type, b as $type)
                    };
                    function
                }};
            }
            match of {
                Type::U16 | Type::B16 => typed!(u16),
                Type::U32 | Type::B32 => typed!(u32),
                Type::U64 | Type::B64 => typed!(u64),
                Type::S16 => typed!(i16),
                Type::S32 => typed!(i32),
                Type::S64 => typed!(i64),
                _ => return None,
            }
        }};
    }
    let ordered = matches!(name, "lt" | "le" | "gt" | "ge" | "lo" | "ls" | "hi" | "hs");
    if ordered && of.is_bits() || matches!(name, "lo" | "ls" | "hi" | "hs") && of.is_signed() {
        return None;
    }
    Some(match name {
        "eq" => compare!(|a, b| a == b),
        "ne" => compare!(|a, b| a != b),
        "lt" | "lo" => compare!(|a, b| a < b),
        "le" | "ls" => compare!(|a, b| a <= b),
        "gt" | "hi" => compare!(|a, b| a > b),
        "ge" | "hs" => compare!(|a, b| a >= b),
        _ => return None,
    })
}

fn swap<T: Integer>(old: u64, compare: u64, new: u64) -> u64 {
    if T::of(old) == T::of(compare) { new } else { old }
}

fn increment(old: u64, limit: u64, _: u64) -> u64 {
    if old as u32 >= limit as u32 { 0 } else { u64::from(old as u32) + 1 }
}

fn decrement(old: u64, limit: u64, _: u64) -> u64 {
    let (old, limit) = (old as u32, limit as u32);
    u64::from(if old == 0 || old > limit { limit } else { old - 1 })
}

pub(super) fn atomic(name: &str, of: Type) -> Option<Ternary> {
    let bits = matches!(of, Type::B32 | Type::B64);
    let unsigned = matches!(of, Type::U32 | Type::U64);
    let function: Ternary = match name {
        "add" if unsigned || of == Type::S32 => |old, b, _| old.wrapping_add(b),
        "and" if bits => |old, b, _| old & b,
        "or" if bits => |old, b, _| old | b,
        "xor" if bits => |old, b, _| old ^ b,
        "exch" if bits => |_, b, _| b,
        "cas" if of == Type::B32 => swap::<u32>,
        "cas" if of == Type::B64 => swap::<u64>,
        "inc" if of == Type::U32 => increment,
        "dec" if of == Type::U32 => decrement,
        // A function pointer captures nothing; so each is spelled out.
        "min" => match of {
            Type::U32 => |old, b, _| min::<u32>(old, b),
            Type::U64 => |old, b, _| min::<u64>(old, b),
            Type::S32 => |old, b, _| min::<i32>(old, b),
            Type::S64 => |old, b, _| min::<i64>(old, b),
            _ => return None,
        },
        "max" => match of {
            Type::U32 => |old, b, _| max::<u32>(old, b),
            Type::U64 => |old, b, _| max::<u64>(old, b),
            Type::S32 => |old, b, _| max::<i32>(old, b),
            Type::S64 => |old, b, _| max::<i64>(old, b),
            _ => return None,
        },
        _ => return None,
    };
    Some(function)
}
