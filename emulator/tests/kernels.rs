//! Kernels as NVRTC compiles them, against the same in plain Rust.
#![allow(
    clippy::float_cmp,
    clippy::precedence,
    clippy::many_single_char_names,
    reason = "results are compared to the bit, in short formulas"
)]

mod common;

use common::{ARITHMETIC, Card, HISTOGRAM, WARP, noise};

#[test]
fn a_program_lists_its_kernels() {
    let card = Card::new(WARP);
    let mut kernels: Vec<&str> = card.program.kernels().collect();
    kernels.sort_unstable();
    assert_eq!(kernels, ["block_prefix_sums", "butterflies", "compact", "half_warps"]);
}

#[test]
fn prefix_sums_of_each_block() {
    let mut card = Card::new(WARP);
    let numbers: Vec<u32> = noise(1000).iter().map(|n| n % 1000).collect();
    let (input, out, total) = (card.put(&numbers), card.room::<u32>(1000), card.put(&[0u32]));
    let launch = card.launch("block_prefix_sums", 4, 256, &[input, out, total, 1000]);
    let sums: Vec<u32> = numbers
        .chunks(256)
        .flat_map(|block| {
            block.iter().scan(0, |sum, n| {
                *sum += n;
                Some(*sum)
            })
        })
        .collect();
    assert_eq!(card.get::<u32>(out, 1000), sums);
    assert_eq!(card.get::<u32>(total, 1), [numbers.iter().sum::<u32>()]);

    assert_eq!(launch.global_bytes_read, 4 * 1000 + 4 * 4, "each number once, the total once a block");
    assert_eq!(launch.global_bytes_written, 4 * 1000 + 4 * 4);
    assert_eq!(launch.by_opcode["bar.sync"], 4 * 8);
    assert_eq!(launch.by_opcode.values().sum::<u64>(), launch.instructions);
    assert!(launch.thread_instructions > launch.instructions * 16);
}

#[test]
fn set_flags_are_compacted_within_each_warp() {
    let mut card = Card::new(WARP);
    let flags: Vec<u8> = noise(128).iter().map(|n| u8::from(n % 3 == 0)).collect();
    let (input, positions, counts) = (card.put(&flags), card.put(&[u32::MAX; 128]), card.room::<u32>(4));
    card.launch("compact", 2, 64, &[input, positions, counts]);
    let mut expected = vec![u32::MAX; 128];
    let mut expected_counts = [0u32; 4];
    for (at, _) in flags.iter().enumerate().filter(|(_, flag)| **flag != 0) {
        expected[at / 32 * 32 + expected_counts[at / 32] as usize] = at as u32;
        expected_counts[at / 32] += 1;
    }
    assert_eq!(card.get::<u32>(positions, 128), expected);
    assert_eq!(card.get::<u32>(counts, 4), expected_counts);
}

#[test]
fn shuffles_votes_and_matches() {
    let mut card = Card::new(WARP);
    let numbers: Vec<f32> = noise(64).iter().map(|n| (n % 20) as f32).collect();
    let (input, out, votes) = (card.put(&numbers), card.room::<f32>(64), card.room::<i32>(64));
    card.launch("butterflies", 2, 32, &[input, out, votes]);
    let (got, got_votes) = (card.get::<f32>(out, 64), card.get::<i32>(votes, 64));
    for (warp, numbers) in numbers.chunks(32).enumerate() {
        let most = numbers.iter().copied().fold(0.0, f32::max);
        let next = |lane: usize| if lane % 8 == 7 { numbers[lane] } else { numbers[lane + 1] };
        let any = (0..32).any(|lane| next(lane) > numbers[lane / 16 * 16]);
        for lane in 0..32 {
            let twins = numbers.iter().filter(|n| **n == numbers[lane]).count() as i32;
            assert_eq!(got[warp * 32 + lane], most);
            assert_eq!(got_votes[warp * 32 + lane], i32::from(any) | 2 | twins << 8, "lane {lane}");
        }
    }
}

#[test]
fn halves_of_a_warp_part_and_meet_again() {
    let mut card = Card::new(WARP);
    let out = card.room::<u32>(32);
    card.launch("half_warps", 1, 32, &[out]);
    let ballot = |lane: u32| if lane < 16 { 0xaaaa } else { 0xcccc_0000u32 };
    let expected: Vec<u32> =
        (0..32).map(|lane| ballot(lane).wrapping_add(ballot(31 - lane)).wrapping_add(1)).collect();
    assert_eq!(card.get::<u32>(out, 32), expected);
}

#[test]
fn shared_atomics_count_bytes() {
    let mut card = Card::new(HISTOGRAM);
    let bytes: Vec<u8> = noise(5000).iter().map(|n| (n % 256) as u8).collect();
    let (input, bins, sum) = (card.put(&bytes), card.put(&[0u32; 256]), card.put(&[0u64]));
    card.launch("histogram", 3, 128, &[input, 5000, bins, sum]);
    let mut expected = vec![0u32; 256];
    for byte in &bytes {
        expected[usize::from(*byte)] += 1;
    }
    assert_eq!(card.get::<u32>(bins, 256), expected);
    let weights = [1u64, 10, 100, 1000];
    let total: u64 =
        bytes.iter().enumerate().map(|(i, byte)| u64::from(*byte) * weights[i & 3] + [7, 9][i & 1]).sum();
    assert_eq!(card.get::<u64>(sum, 1), [total]);
}

#[test]
fn global_atomics_of_every_kind() {
    let mut card = Card::new(HISTOGRAM);
    let words = card.put(&[0u32, u32::MAX, 40, 5, 0, (-100i32) as u32, 100, 1, 5]);
    let longs = card.put(&[0u64; 5]);
    let olds = card.room::<i32>(32);
    card.launch("atomics", 1, 32, &[words, longs, olds]);
    let expected = [u32::MAX, 0, 0, 31, 0, 0, (-31i32) as u32, 77, 6];
    assert_eq!(card.get::<u32>(words, 9), expected);
    assert_eq!(card.get::<u64>(longs, 5), [496 << 33, 0xffff_ffff, 31 << 40, 1 << 50, 42]);
    let old = card.get::<i32>(olds, 32);
    assert_eq!((old[0], old[1], old[31]), (5, 6, 6));
}

#[test]
fn local_arrays_narrow_parameters_and_calls() {
    let mut card = Card::new(HISTOGRAM);
    let numbers = noise(16);
    let (input, out) = (card.put(&numbers), card.room::<u32>(64));
    card.launch("local_arrays", 1, 64, &[input, out, 3, (-5i64) as u64]);
    let expected: Vec<u32> = (0..64u32)
        .map(|i| {
            let mut table: Vec<u32> = numbers.iter().map(|n| n >> 3).collect();
            let (mut x, mut steps, mut longest) = (i + 1, 0, 0);
            while x != 1 {
                x = if x & 1 == 1 { 3 * x + 1 } else { x / 2 };
                steps += 1;
                longest = longest.max(x);
            }
            for k in 0..i & 7 {
                let at = ((k * 5 + i) & 15) as usize;
                table[at] = table[at].wrapping_add(longest);
            }
            table[(i & 15) as usize].wrapping_add(steps).wrapping_add_signed(-5).wrapping_add(4)
        })
        .collect();
    assert_eq!(card.get::<u32>(out, 64), expected);
}

#[test]
fn structures_in_shared_memory() {
    let mut card = Card::new(HISTOGRAM);
    let out = card.put(&[0u8; 16 * 32]);
    card.launch("structs", 1, 32, &[65530, 9, 1 << 60, out]);
    let bytes = card.get::<u8>(out, 16 * 32);
    for (at, pair) in bytes.chunks(16).enumerate() {
        assert_eq!(u16::from_le_bytes([pair[0], pair[1]]), 65530u16.wrapping_add(31 - at as u16));
        assert_eq!(pair[2], 9);
        assert_eq!(u64::from_le_bytes(pair[8..].try_into().unwrap()), 1 << 60);
    }
}

#[test]
fn lanes_take_every_case_of_a_switch() {
    let mut card = Card::new(HISTOGRAM);
    let numbers = noise(64);
    let (input, out) = (card.put(&numbers), card.put(&[0u32; 128]));
    card.launch("switches", 1, 64, &[input, out]);
    let expected: Vec<u32> = numbers
        .iter()
        .map(|&n| match n % 9 {
            0 => n.count_ones(),
            1 => n.leading_zeros(),
            2 => n.wrapping_mul(numbers[0]),
            3 => (n / 3).wrapping_add(numbers[1]),
            4 => n ^ numbers[2],
            5 => n.reverse_bits(),
            6 => n.wrapping_sub(numbers[3]),
            7 => n,
            _ => !n,
        })
        .collect();
    assert_eq!(card.get::<u32>(out, 64), expected);
}

/// Bits, where any "not a number" is the same.
fn bits32(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|n| if n.is_nan() { f32::NAN.to_bits() } else { n.to_bits() }).collect()
}

fn bits64(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|n| if n.is_nan() { f64::NAN.to_bits() } else { n.to_bits() }).collect()
}

const ODD: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    f32::NAN,
    f32::INFINITY,
    -f32::INFINITY,
    f32::MIN_POSITIVE / 8.0,
    3e38,
    -2_147_483_648.0,
    0.1,
];

#[test]
fn single_precision_to_the_bit() {
    let mut card = Card::new(ARITHMETIC);
    let mut x: Vec<f32> = noise(188).into_iter().map(f32::from_bits).collect();
    let mut y: Vec<f32> = noise(400)[200..388].iter().copied().map(f32::from_bits).collect();
    x.extend(ODD);
    y.extend(ODD.iter().rev());
    let (a, b, out) = (card.put(&x), card.put(&y), card.room::<f32>(16 * 200));
    card.launch("floats", 2, 128, &[a, b, out, 200]);
    let got = card.get::<f32>(out, 16 * 200);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(16)) {
        let last = if x < y && x != 0.0 || y.is_nan() { 1.0 } else { 2f32.copysign(x) };
        let expected = [
            x + y,
            x - y,
            x * y,
            x / y,
            x.abs().sqrt(),
            -x,
            x.min(y),
            x.max(y),
            x.round_ties_even(),
            x.floor(),
            x.ceil(),
            x.trunc(),
            x * y + 1.0,
            x.mul_add(y, 1.0),
            got[14],
            last,
        ];
        // Rust leaves open which zero is the smaller.
        let known = |at: usize| !(x == y && (at == 6 || at == 7));
        for at in (0..16).filter(|&at| known(at)) {
            assert_eq!(bits32(&got[at..=at]), bits32(&expected[at..=at]), "{x} {y}: {at}");
        }
        if x.abs() < 60000.0 && x.abs() > 1e-4 {
            assert!((got[14] - x).abs() <= x.abs() / 2048.0, "{x} as a half is {}", got[14]);
        }
    }
}

#[test]
fn double_precision_to_the_bit() {
    let mut card = Card::new(ARITHMETIC);
    let words = noise(400);
    let both: Vec<f64> =
        words.chunks(2).map(|w| f64::from_bits(u64::from(w[0]) << 32 | u64::from(w[1]))).collect();
    let (mut x, mut y) = (both[..100].to_vec(), both[100..].to_vec());
    x.extend(ODD.map(f64::from));
    y.extend(ODD.iter().rev().map(|n| f64::from(*n)));
    let (a, b, out) = (card.put(&x), card.put(&y), card.room::<f64>(12 * 112));
    card.launch("doubles", 1, 128, &[a, b, out, 112]);
    let got = card.get::<f64>(out, 12 * 112);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(12)) {
        let least = if x.is_nan() || x == y { got[5] } else { x.min(y) };
        let most = if x.is_nan() || x == y { got[6] } else { x.max(y) };
        let long = if x.is_nan() { i64::MIN } else { x as i64 };
        let int = if y.is_nan() { i32::MIN } else { y.round_ties_even() as i32 };
        let expected = [
            x + y,
            x - y,
            x * y,
            x / y,
            x.abs().sqrt(),
            least,
            most,
            f64::from(x as f32),
            x.round_ties_even(),
            long as f64,
            x.mul_add(y, 1.0),
            f64::from(int),
        ];
        assert_eq!(bits64(got), bits64(&expected), "{x} {y}");
    }
}

#[test]
fn conversions_round_and_clamp() {
    let mut card = Card::new(ARITHMETIC);
    let mut x: Vec<f32> = noise(200).iter().map(|n| (*n as i32) as f32 / 3e5).collect();
    x.extend(ODD);
    x.extend([65535.5, 65536.0, 4e9, 5e9, -0.5, 0.5, 1.5, 9e18, 1e19]);
    let count = x.len();
    let (a, out) = (card.put(&x), card.room::<i32>(12 * count));
    card.launch("conversions", 2, 128, &[a, out, count as u64]);
    let got = card.get::<i32>(out, 12 * count);
    for (at, (&x, got)) in x.iter().zip(got.chunks(12)).enumerate() {
        let even = x.round_ties_even();
        let long = if x.is_nan() { i64::MIN } else { even as i64 };
        assert_eq!(
            got[..5],
            [even as i32, x as i32, even as u32 as i32, x as u32 as i32, i32::from(x as u32 as u16)],
            "{x}"
        );
        assert_eq!(got[6], (even as i32 as f32).to_bits() as i32);
        assert_eq!(got[7], (x as u32 as f32).to_bits() as i32);
        assert_eq!(got[8], (long >> 16) as i32, "{x}");
        assert_eq!(got[9], (at as f32).to_bits() as i32);
        assert_eq!(got[10], i32::from(at as i8));
        assert_eq!(got[11], x.floor() as i32 ^ x.ceil() as i32);
    }
}

#[test]
fn integers_of_every_kind() {
    let mut card = Card::new(ARITHMETIC);
    let mut x = noise(64);
    let mut y: Vec<u32> = noise(128)[64..].iter().enumerate().map(|(i, n)| (n >> (i % 32)).max(1)).collect();
    (x[0], x[1], y[1], x[2], y[2]) = (0, 1 << 31, u32::MAX, u32::MAX, u32::MAX);
    let (a, b, out) = (card.put(&x), card.put(&y), card.room::<u32>(24 * 64));
    card.launch("integers", 1, 64, &[a, b, out]);
    let got = card.get::<u32>(out, 24 * 64);
    for (i, got) in got.chunks(24).enumerate() {
        let (x, y) = (x[i], y[i]);
        let (s, t, n) = (x as i32, y as i32, i as u32);
        let both = u64::from(y) << 32 | u64::from(x);
        let permute = |by: u32| {
            u32::from_le_bytes([0, 4, 8, 12].map(|at| {
                let digit = by >> at & 15;
                let byte = both.to_le_bytes()[(digit & 7) as usize];
                if digit & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
            }))
        };
        let wide = u64::from(x).wrapping_mul(u64::from(y)).wrapping_add(u64::from(x));
        let high = |a: i64, b: i64| (i128::from(a) * i128::from(b) >> 64) as u32;
        let low_bit = |value: u64| if value == 0 { 0 } else { value.trailing_zeros() + 1 };
        let expected = [
            x / y,
            x % y,
            s.wrapping_div(t | 1) as u32,
            s.wrapping_rem(t | 1) as u32,
            (u64::from(x) * u64::from(y) >> 32) as u32,
            (i64::from(s) * i64::from(t) >> 32) as u32,
            permute(0x2537),
            // The intrinsic looks at three bits of each digit only.
            permute(x & 0x7777),
            ((both << (n & 31)) >> 32) as u32,
            (both >> (n & 31)) as u32,
            ((u128::from(both) << n.min(32)) >> 32) as u32,
            (both >> n.min(32)) as u32,
            x.reverse_bits(),
            x.leading_zeros(),
            x.count_ones(),
            low_bit(u64::from(x)),
            x.checked_shr(y & 63).unwrap_or(0) | (s >> 7) as u32,
            x << (y & 31),
            x & y ^ (!x | y),
            ((wide >> 32) as u32)
                .wrapping_add((wide / u64::from(y | 1)) as u32)
                .wrapping_add((wide % 1_000_003) as u32),
            wide.leading_zeros() + 100 * wide.count_ones() + 10000 * low_bit(wide),
            high(wide as i64, (wide as i64).wrapping_neg())
                .wrapping_add((u128::from(wide) * u128::from(wide) >> 64) as u32),
            (x as i16 as u32)
                .wrapping_mul(y & 0xffff)
                .wrapping_add(s.max(t) as u32)
                .wrapping_add(x.min(y))
                .wrapping_add(s.wrapping_abs() as u32),
            ((x / 7) * 3).wrapping_add((t / 10) as u32).wrapping_add(y % 13),
        ];
        for at in 0..24 {
            assert_eq!(got[at], expected[at], "{at}: {x:#x} {y:#x}");
        }
    }
}

#[test]
fn bit_fields_are_read_across_words() {
    let mut card = Card::new(ARITHMETIC);
    let words: Vec<u64> = noise(40).chunks(2).map(|w| u64::from(w[0]) << 32 | u64::from(w[1])).collect();
    let offsets: Vec<u32> = noise(64).iter().map(|n| n % (18 * 64)).collect();
    let widths: Vec<u8> = (0..64).map(|i| i + 1).collect();
    let (a, b, c, out) = (card.put(&words), card.put(&offsets), card.put(&widths), card.room::<u64>(64));
    card.launch("bit_fields", 2, 32, &[a, b, c, out]);
    let bit = |at: u32| words[(at / 64) as usize] >> (at % 64) & 1;
    let expected: Vec<u64> = offsets
        .iter()
        .zip(&widths)
        .map(|(&at, &width)| (0..u32::from(width)).fold(0, |out, i| out | bit(at + i) << i))
        .collect();
    assert_eq!(card.get::<u64>(out, 64), expected);
}

#[test]
fn vectors_are_read_and_written_whole() {
    let mut card = Card::new(ARITHMETIC);
    let numbers: Vec<f32> = (0..128).map(|i| i as f32 * 1.5).collect();
    let (input, out, shorts) = (card.put(&numbers), card.room::<f32>(64), card.room::<u16>(128));
    card.launch("vectors", 1, 32, &[input, out, shorts]);
    let sums: Vec<f32> = numbers.chunks(2).map(|pair| pair[0] + pair[1]).collect();
    assert_eq!(card.get::<f32>(out, 64), sums);
    let expected: Vec<u16> =
        numbers.chunks(4).zip(0..).flat_map(|(v, i)| [v[0] as u16, v[1] as u16, v[2] as u16, i]).collect();
    assert_eq!(card.get::<u16>(shorts, 128), expected);
}
