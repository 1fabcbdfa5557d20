//! Each instruction against what the reference says, in plain Rust.

#![allow(
    clippy::float_cmp,
    clippy::precedence,
    clippy::manual_checked_ops,
    clippy::many_single_char_names,
    reason = "the tests write formulas as the reference does, and compare bits"
)]

use proptest::prelude::*;

use super::{Convert, Function, Shuffle, Type, arithmetic, comparison, shuffle_source};

fn run(name: &str, operands: &[u64]) -> u64 {
    let parts: Vec<&str> = name.split('.').collect();
    let found = arithmetic(&parts).unwrap_or_else(|| panic!("{name} is unknown"));
    assert_eq!(found.operands.len(), operands.len(), "{name}");
    let bits = match (found.function, operands) {
        (Function::Unary(f), &[a]) => f(a),
        (Function::Convert(convert), &[a]) => Convert::apply(convert, a),
        (Function::Binary(f) | Function::Divide(f, _), &[a, b]) => f(a, b),
        (Function::Ternary(f), &[a, b, c]) => f(a, b, c),
        (Function::Quaternary(f), &[a, b, c, d]) => f(a, b, c, d),
        _ => panic!("{name} takes other operands"),
    };
    if found.result == Type::F32 { bits & 0xffff_ffff } else { found.result.extend(bits) }
}

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// Bits, where any "not a number" is the same.
fn same32(a: u64, b: f32) -> bool {
    f32_of(a).is_nan() && b.is_nan() || a == u64::from(b.to_bits())
}

fn same64(a: u64, b: f64) -> bool {
    f64::from_bits(a).is_nan() && b.is_nan() || a == b.to_bits()
}

/// Bits `at..at + length` of a value, counted one by one.
fn bit_field(value: u64, at: u64, length: u64, width: u64, signed: bool) -> u64 {
    let sign = if signed && length > 0 { value >> (at + length - 1).min(width - 1) & 1 } else { 0 };
    (0..width).fold(0, |out, bit| {
        let inside = bit < length && at + bit < width;
        out | (if inside { value >> (at + bit) & 1 } else { sign }) << bit
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers_of_32_bits_are_as_in_rust(a: u64, b: u64, c: u64) {
        let (x, y, z) = (a as u32, b as u32, c as u32);
        let (i, j) = (a as i32, b as i32);
        let u = u64::from;
        let s = |value: i32| i64::from(value) as u64;
        prop_assert_eq!(run("add.u32", &[a, b]), u(x.wrapping_add(y)));
        prop_assert_eq!(run("sub.s32", &[a, b]), s(i.wrapping_sub(j)));
        prop_assert_eq!(run("add.sat.s32", &[a, b]), s(i.saturating_add(j)));
        prop_assert_eq!(run("mul.lo.s32", &[a, b]), s(i.wrapping_mul(j)));
        prop_assert_eq!(run("mul.hi.u32", &[a, b]), (u(x) * u(y)) >> 32);
        prop_assert_eq!(run("mul.hi.s32", &[a, b]), s((i64::from(i) * i64::from(j) >> 32) as i32));
        prop_assert_eq!(run("mul.wide.u32", &[a, b]), u(x) * u(y));
        prop_assert_eq!(run("mul.wide.s32", &[a, b]), (i64::from(i) * i64::from(j)) as u64);
        prop_assert_eq!(run("mul.wide.s16", &[a, b]), s(i32::from(a as i16) * i32::from(b as i16)));
        prop_assert_eq!(run("mad.lo.u32", &[a, b, c]), u(x.wrapping_mul(y).wrapping_add(z)));
        prop_assert_eq!(run("mad.wide.u32", &[a, b, c]), (u(x) * u(y)).wrapping_add(c));
        prop_assert_eq!(run("sad.s32", &[a, b, c]) as u32, i.abs_diff(j).wrapping_add(z));
        prop_assert_eq!(run("min.s32", &[a, b]), s(i.min(j)));
        prop_assert_eq!(run("max.u32", &[a, b]), u(x.max(y)));
        prop_assert_eq!(run("abs.s32", &[a]), s(i.wrapping_abs()));
        prop_assert_eq!(run("neg.s32", &[a]), s(i.wrapping_neg()));
        prop_assert_eq!(run("popc.b32", &[a]), u(x.count_ones()));
        prop_assert_eq!(run("clz.b32", &[a]), u(x.leading_zeros()));
        prop_assert_eq!(run("brev.b32", &[a]), u(x.reverse_bits()));
        prop_assert_eq!(run("cnot.b32", &[a]), u64::from(x == 0));
        if y != 0 {
            prop_assert_eq!(run("div.u32", &[a, b]), u(x / y));
            prop_assert_eq!(run("rem.s32", &[a, b]), s(i.wrapping_rem(j)));
            prop_assert_eq!(run("div.s32", &[a, b]), s(i.wrapping_div(j)));
        }
    }

    #[test]
    fn integers_of_64_bits_are_as_in_rust(a: u64, b: u64) {
        let (i, j) = (a as i64, b as i64);
        prop_assert_eq!(run("mul.lo.u64", &[a, b]), a.wrapping_mul(b));
        prop_assert_eq!(run("mul.hi.u64", &[a, b]), (u128::from(a) * u128::from(b) >> 64) as u64);
        prop_assert_eq!(run("mul.hi.s64", &[a, b]), (i128::from(i) * i128::from(j) >> 64) as u64);
        prop_assert_eq!(run("popc.b64", &[a]), u64::from(a.count_ones()));
        prop_assert_eq!(run("clz.b64", &[a]), u64::from(a.leading_zeros()));
        prop_assert_eq!(run("max.s64", &[a, b]), i.max(j) as u64);
        if b != 0 {
            prop_assert_eq!(run("div.u64", &[a, b]), a / b);
            prop_assert_eq!(run("rem.s64", &[a, b]), i.wrapping_rem(j) as u64);
        }
    }

    #[test]
    fn shifts_stop_at_the_width(a: u64, by in 0u64..80) {
        prop_assert_eq!(run("shl.b64", &[a, by]), a.checked_shl(by as u32).unwrap_or(0));
        prop_assert_eq!(run("shl.b32", &[a, by]) as u32, (a as u32).checked_shl(by as u32).unwrap_or(0));
        prop_assert_eq!(run("shr.u32", &[a, by]) as u32, (a as u32).checked_shr(by as u32).unwrap_or(0));
        prop_assert_eq!(run("shr.s32", &[a, by]) as i32, a as i32 >> by.min(31));
        prop_assert_eq!(run("shr.s64", &[a, by]) as i64, a as i64 >> by.min(63));
        prop_assert_eq!(run("shr.b16", &[a, by]) as u16, (a as u16).checked_shr(by as u32).unwrap_or(0));
    }

    #[test]
    fn funnels_shift_two_words(a: u32, b: u32, c in 0u32..70) {
        let operands = [u64::from(a), u64::from(b), u64::from(c)];
        let both = u64::from(b) << 32 | u64::from(a);
        let left = |by: u32| ((u128::from(both) << by) >> 32) as u32;
        let right = |by: u32| (both >> by) as u32;
        prop_assert_eq!(run("shf.l.wrap.b32", &operands) as u32, left(c & 31));
        prop_assert_eq!(run("shf.l.clamp.b32", &operands) as u32, left(c.min(32)));
        prop_assert_eq!(run("shf.r.wrap.b32", &operands) as u32, right(c & 31));
        prop_assert_eq!(run("shf.r.clamp.b32", &operands) as u32, right(c.min(32)));
    }

    #[test]
    fn bit_fields_are_taken_and_put_bit_by_bit(a: u64, b: u64, at in 0u64..90, length in 0u64..90) {
        for (name, width, signed) in
            [("bfe.u32", 32, false), ("bfe.s32", 32, true), ("bfe.u64", 64, false), ("bfe.s64", 64, true)]
        {
            let value = if width == 32 { u64::from(a as u32) } else { a };
            let expected = bit_field(value, at, length, width, signed);
            let got = run(name, &[a, at, length]);
            let got = if width == 32 { u64::from(got as u32) } else { got };
            prop_assert_eq!(got, expected, "{}", name);
        }
        for (name, width) in [("bfi.b32", 32u64), ("bfi.b64", 64)] {
            let expected = (0..width).fold(0u64, |out, bit| {
                let inside = bit >= at && bit < at + length;
                out | (if inside { a >> (bit - at) & 1 } else { b >> bit & 1 }) << bit
            });
            prop_assert_eq!(run(name, &[a, b, at, length]), expected, "{}", name);
        }
    }

    #[test]
    fn the_highest_bit_is_found(a: u64, by in 0u32..64) {
        let a = a >> by;
        let position = |bits: u64| if bits == 0 { u64::from(u32::MAX) } else { 63 - u64::from(bits.leading_zeros()) };
        prop_assert_eq!(run("bfind.u32", &[a]), position(u64::from(a as u32)));
        prop_assert_eq!(run("bfind.u64", &[a]), position(a));
        let magnitude = if (a as i32).is_negative() { !(a as u32) } else { a as u32 };
        prop_assert_eq!(run("bfind.s32", &[a]), position(u64::from(magnitude)));
        let amount = if a as u32 == 0 { u64::from(u32::MAX) } else { 31 - position(u64::from(a as u32)) };
        prop_assert_eq!(run("bfind.shiftamt.u32", &[a]), amount);
    }

    #[test]
    fn tables_of_three_bits_are_looked_up(a: u32, b: u32, c: u32, table: u8) {
        let operands = [u64::from(a), u64::from(b), u64::from(c), u64::from(table)];
        let expected = (0..32).fold(0u32, |out, bit| {
            let row = (a >> bit & 1) << 2 | (b >> bit & 1) << 1 | c >> bit & 1;
            out | (u32::from(table) >> row & 1) << bit
        });
        prop_assert_eq!(run("lop3.b32", &operands) as u32, expected);
    }

    #[test]
    fn bytes_are_permuted(a: u32, b: u32, c: u32) {
        let bytes: Vec<u8> = a.to_le_bytes().into_iter().chain(b.to_le_bytes()).collect();
        let operands = [u64::from(a), u64::from(b), u64::from(c)];
        let expected: Vec<u8> = (0..4)
            .map(|at| {
                let digit = c >> (4 * at) & 15;
                let byte = bytes[(digit & 7) as usize];
                if digit & 8 == 0 { byte } else if byte & 0x80 == 0 { 0 } else { 0xff }
            })
            .collect();
        prop_assert_eq!((run("prmt.b32", &operands) as u32).to_le_bytes().to_vec(), expected);
        // Tables of the reference: bytes 3, 2, 1, 0 of the result, for each mode and selector.
        let tables: [(&str, [[usize; 4]; 4]); 6] = [
            ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
            ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
            ("rc8", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
            ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
            ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
            ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
        ];
        for (mode, rows) in tables {
            let expected: Vec<u8> = rows[(c & 3) as usize].iter().rev().map(|&at| bytes[at]).collect();
            let got = run(&format!("prmt.b32.{mode}"), &operands) as u32;
            prop_assert_eq!(got.to_le_bytes().to_vec(), expected, "{}", mode);
        }
    }

    #[test]
    fn single_precision_is_as_in_rust(a: u32, b: u32, c: u32) {
        let (x, y, z) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
        let (a, b, c) = (u64::from(a), u64::from(b), u64::from(c));
        prop_assert!(same32(run("add.rn.f32", &[a, b]), x + y));
        prop_assert!(same32(run("sub.f32", &[a, b]), x - y));
        prop_assert!(same32(run("mul.rn.f32", &[a, b]), x * y));
        prop_assert!(same32(run("div.rn.f32", &[a, b]), x / y));
        prop_assert!(same32(run("sqrt.rn.f32", &[a]), x.sqrt()));
        prop_assert!(same32(run("rcp.rn.f32", &[a]), 1.0 / x));
        prop_assert!(same32(run("fma.rn.f32", &[a, b, c]), x.mul_add(y, z)));
        prop_assert!(same32(run("neg.f32", &[a]), -x));
        prop_assert!(same32(run("abs.f32", &[a]), x.abs()));
        prop_assert!(same32(run("copysign.f32", &[a, b]), y.copysign(x)));
        if x != y {
            prop_assert!(same32(run("min.f32", &[a, b]), x.min(y)));
            prop_assert!(same32(run("max.f32", &[a, b]), x.max(y)));
        }
    }

    #[test]
    fn double_precision_is_as_in_rust(a: u64, b: u64, c: u64) {
        let (x, y, z) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
        prop_assert!(same64(run("add.f64", &[a, b]), x + y));
        prop_assert!(same64(run("sub.rn.f64", &[a, b]), x - y));
        prop_assert!(same64(run("mul.f64", &[a, b]), x * y));
        prop_assert!(same64(run("div.rn.f64", &[a, b]), x / y));
        prop_assert!(same64(run("sqrt.rn.f64", &[a]), x.sqrt()));
        prop_assert!(same64(run("fma.rn.f64", &[a, b, c]), x.mul_add(y, z)));
        if x != y {
            prop_assert!(same64(run("min.f64", &[a, b]), x.min(y)));
        }
    }

    #[test]
    fn numbers_become_integers_by_rounding_and_clamping(bits: u32, scaled in -1e10f32..1e10, small in -300f32..300.0) {
        for value in [f32::from_bits(bits), scaled, small] {
            let a = u64::from(value.to_bits());
            prop_assert_eq!(run("cvt.rni.s32.f32", &[a]) as i32, value.round_ties_even() as i32);
            prop_assert_eq!(run("cvt.rzi.s32.f32", &[a]) as i32, value as i32);
            prop_assert_eq!(run("cvt.rmi.s32.f32", &[a]) as i32, value.floor() as i32);
            prop_assert_eq!(run("cvt.rpi.s32.f32", &[a]) as i32, value.ceil() as i32);
            prop_assert_eq!(run("cvt.rzi.u32.f32", &[a]) as u32, value as u32);
            prop_assert_eq!(run("cvt.rni.u16.f32", &[a]) as u16, value.round_ties_even() as u16);
            prop_assert_eq!(run("cvt.rzi.s8.f32", &[a]) as i8, value as i8);
            if !value.is_nan() {
                prop_assert_eq!(run("cvt.rni.s64.f32", &[a]) as i64, value.round_ties_even() as i64);
                let wide = f64::from(value).to_bits();
                prop_assert_eq!(run("cvt.rzi.u64.f64", &[wide]), value as u64);
                prop_assert_eq!(run("cvt.rni.s32.f64", &[wide]) as i32, value.round_ties_even() as i32);
            }
            prop_assert!(same32(run("cvt.rni.f32.f32", &[a]), value.round_ties_even()));
            prop_assert!(same32(run("cvt.rmi.f32.f32", &[a]), value.floor()));
            prop_assert!(same64(run("cvt.f64.f32", &[a]), f64::from(value)));
        }
    }

    #[test]
    fn integers_become_numbers_with_one_rounding(a: u64) {
        prop_assert!(same32(run("cvt.rn.f32.u64", &[a]), a as f32));
        prop_assert!(same32(run("cvt.rn.f32.s64", &[a]), a as i64 as f32));
        prop_assert!(same32(run("cvt.rn.f32.s32", &[a]), a as i32 as f32));
        prop_assert!(same32(run("cvt.rn.f32.u16", &[a]), f32::from(a as u16)));
        prop_assert!(same64(run("cvt.rn.f64.s64", &[a]), a as i64 as f64));
        prop_assert!(same32(run("cvt.rn.f32.f64", &[a]), f64::from_bits(a) as f32));
    }

    #[test]
    fn integers_extend_truncate_and_saturate(a: u64) {
        prop_assert_eq!(run("cvt.s32.s8", &[a]) as i32, i32::from(a as i8));
        prop_assert_eq!(run("cvt.u64.u32", &[a]), u64::from(a as u32));
        prop_assert_eq!(run("cvt.s64.s32", &[a]) as i64, i64::from(a as i32));
        prop_assert_eq!(run("cvt.u16.u64", &[a]), u64::from(a as u16));
        prop_assert_eq!(run("cvt.s64.u16", &[a]), u64::from(a as u16));
        prop_assert_eq!(run("cvt.sat.u8.s32", &[a]) as i32, (a as i32).clamp(0, 255));
        prop_assert_eq!(run("cvt.sat.s8.s64", &[a]) as i64, (a as i64).clamp(-128, 127));
        prop_assert_eq!(run("cvt.sat.u32.u64", &[a]), a.min(u64::from(u32::MAX)));
    }

    #[test]
    fn halves_are_the_nearest(bits: u32, near in 0f32..70000.0) {
        for value in [f32::from_bits(bits), near, near * 1e-9] {
            let half = run("cvt.rn.f16.f32", &[u64::from(value.to_bits())]);
            let back = f32_of(run("cvt.f32.f16", &[half]));
            if value.is_nan() {
                prop_assert!(back.is_nan());
                continue;
            }
            // No neighbour is nearer; at equal distance the half is even.
            let distance = |half: u64| {
                let infinite = half & 0x7fff == 0x7c00;
                let of = f64::from(f32_of(run("cvt.f32.f16", &[half])));
                (if infinite { 65536f64.copysign(of) } else { of } - f64::from(value)).abs()
            };
            for neighbour in [half + 1, half.wrapping_sub(1) & 0xffff] {
                if neighbour & 0x7fff <= 0x7c00 && neighbour >> 15 == half >> 15 {
                    let (own, other) = (distance(half), distance(neighbour));
                    prop_assert!(own < other || own == other && half & 1 == 0 || value.is_infinite(), "{value} {half:x}");
                }
            }
        }
    }

    #[test]
    fn comparisons_know_what_is_not_a_number(a: u32, b: u32) {
        for (x, y) in [(a, b), (a, a), (a, f32::NAN.to_bits())] {
            let of = |name| comparison(name, Type::F32).unwrap()(u64::from(x), u64::from(y));
            let (x, y) = (f32::from_bits(x), f32::from_bits(y));
            let unordered = x.is_nan() || y.is_nan();
            for (ordered, either, truth) in [
                ("eq", "equ", x == y), ("lt", "ltu", x < y), ("le", "leu", x <= y), ("gt", "gtu", x > y),
                ("ge", "geu", x >= y), ("ne", "neu", !unordered && x != y),
            ] {
                prop_assert_eq!(of(ordered), truth, "{}", ordered);
                prop_assert_eq!(of(either), truth || unordered, "{}", either);
            }
            prop_assert_eq!(of("nan"), unordered);
            prop_assert_eq!(of("num"), !unordered);
        }
    }

    #[test]
    fn integers_compare_by_their_type(a: u64, b: u64) {
        let of = |name, kind| comparison(name, kind).unwrap()(a, b);
        prop_assert_eq!(of("lt", Type::S32), (a as i32) < b as i32);
        prop_assert_eq!(of("lo", Type::U32), (a as u32) < b as u32);
        prop_assert_eq!(of("ge", Type::U16), a as u16 >= b as u16);
        prop_assert_eq!(of("gt", Type::S64), a as i64 > b as i64);
        prop_assert_eq!(of("eq", Type::B32), a as u32 == b as u32);
    }

    #[test]
    fn segments_bound_shuffles(lane in 0u32..32, by in 0u32..32, width in 0u32..6) {
        // As the intrinsics of CUDA make `c` for a power of two.
        let width = 1 << width;
        let segment = (32 - width) << 8;
        let first = lane / width * width;
        let (from, within) = shuffle_source(Shuffle::Up, lane, by, segment);
        prop_assert_eq!((from, within), if by <= lane - first { (lane - by, true) } else { (lane, false) });
        let (from, within) = shuffle_source(Shuffle::Down, lane, by, segment | 31);
        prop_assert_eq!((from, within), if lane + by < first + width { (lane + by, true) } else { (lane, false) });
        let (from, _) = shuffle_source(Shuffle::Index, lane, by, segment | 31);
        prop_assert_eq!(from, first + by % width);
        let (from, within) = shuffle_source(Shuffle::Butterfly, lane, by, segment | 31);
        prop_assert_eq!((from, within), if lane ^ by < first + width { (lane ^ by, true) } else { (lane, false) });
    }
}

#[test]
fn zeros_have_an_order_and_what_is_no_number_loses() {
    let (plus, minus, nan) = (0u64, 1u64 << 31, u64::from(f32::NAN.to_bits()));
    let one = u64::from(1f32.to_bits());
    for (a, b) in [(plus, minus), (minus, plus)] {
        assert_eq!(run("min.f32", &[a, b]), minus);
        assert_eq!(run("max.f32", &[a, b]), plus);
    }
    assert_eq!(run("min.f32", &[nan, one]), one);
    assert_eq!(run("max.f32", &[one, nan]), one);
}

#[test]
fn what_is_no_number_becomes_zero_or_the_highest_bit() {
    let (single, double) = (u64::from(f32::NAN.to_bits()), f64::NAN.to_bits());
    assert_eq!(run("cvt.rni.s32.f32", &[single]), 0);
    assert_eq!(run("cvt.rni.s64.f32", &[single]), 1 << 63);
    assert_eq!(run("cvt.rzi.u64.f64", &[double]), 1 << 63);
    assert_eq!(run("cvt.rzi.u32.f64", &[double]), 1 << 31);
    assert_eq!(run("cvt.sat.f32.f32", &[single]), 0);
}

#[test]
fn known_halves() {
    for (value, half) in [
        (0f32, 0u64),
        (-0.0, 0x8000),
        (1.0, 0x3c00),
        (-2.0, 0xc000),
        (65504.0, 0x7bff),
        (65519.996, 0x7bff),
        (65520.0, 0x7c00),
        (5.960_464_5e-8, 1),
        (2.980_232_2e-8, 0),
        (2.980_232_6e-8, 1),
        (6.103_515_6e-5, 0x400),
        (6.1e-5, 0x3ff),
        (f32::INFINITY, 0x7c00),
    ] {
        assert_eq!(run("cvt.rn.f16.f32", &[u64::from(value.to_bits())]) & 0xffff, half, "{value}");
    }
}

#[test]
fn what_a_card_only_approximates_is_unknown() {
    for name in [
        "add.ftz.f32",
        "div.approx.f32",
        "div.full.f32",
        "sqrt.approx.f32",
        "ex2.approx.f32",
        "add.rz.f32",
        "add.f16",
        "min.NaN.f32",
        "cvt.rz.f32.f64",
        "cvt.f32.f64",
        "cvt.s32.f32",
        "cvt.rn.f64.f32",
        "add.b32",
        "and.u32",
        "mul.f16",
        "popc.b16",
        "shl.u32",
        "mul.s32",
        "sqrt.f32",
        "mad.lo.f32",
        "neg.u32",
        "prmt.b32.xyz",
        "cvt.rni.s32.b32",
        "",
        "cvt",
    ] {
        let parts: Vec<&str> = name.split('.').collect();
        assert!(arithmetic(&parts).is_none(), "{name}");
    }
}
