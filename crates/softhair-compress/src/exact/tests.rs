//! Round trips, hostile payloads, and equality of the portable and the vector form.

use super::huffman::{Code, MAX_BITS};
use super::lanes::{BLOCK, pack, unpack};
use super::reader::{Reader, write_length};
use super::simd::Level;
use super::{decode, decode_at, encode, encode_at};
use crate::DType;
use proptest::prelude::*;

/// Kinds of content that the ways of coding were made for, and some that none was.
const KINDS: u8 = 12;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// The bits of `value` as an element of this type.
fn element_of(dtype: DType, value: f64) -> u64 {
    match dtype {
        DType::F64 => value.to_bits(),
        DType::F32 => u64::from((value as f32).to_bits()),
        DType::F16 => u64::from(half::f16::from_f64(value).to_bits()),
        DType::BF16 => u64::from(half::bf16::from_f64(value).to_bits()),
        _ => (value * 40.0) as i64 as u64,
    }
}

fn element(dtype: DType, kind: u8, index: u64, random: &mut Random) -> u64 {
    let nan = match dtype {
        DType::F64 => 0x7FF0_0000_0000_0000,
        DType::F32 => 0x7F80_0000,
        DType::F16 => 0x7C00,
        DType::BF16 => 0x7F80,
        _ => 0,
    };
    match kind {
        0 => random.next(),
        1 => element_of(dtype, random.normal() * 0.05),
        2 => 0x0123_4567_89AB_CDEF,
        3 => index,
        4 => u64::MAX - index * 3,
        5 => random.next() & 1,
        // Infinities and NaNs with every payload and sign.
        6 => nan | (random.next() & 0x8000_8000_8000_8007),
        // Mostly zeros.
        7 => element_of(dtype, if random.next().is_multiple_of(16) { random.normal() } else { 0.0 }),
        8 => element_of(dtype, (index as f64 * 0.001).sin()),
        // Halves widened: blocks share zero bits.
        9 => element_of(dtype, f64::from(half::f16::from_f64(random.normal()))),
        10 => element_of(dtype, random.normal().abs()),
        _ => [0, 1, 1 << 63, 0x8000_0000, 0x8000, 7][(random.next() % 6) as usize],
    }
}

fn chunk(dtype: DType, kind: u8, count: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..count as u64)
        .flat_map(|index| {
            element(dtype, kind, index, &mut random).to_le_bytes()[..dtype.size_bytes()].to_vec()
        })
        .collect()
}

fn payload(dtype: DType, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(dtype, bytes, &mut out);
    out
}

fn assert_comes_back(dtype: DType, bytes: &[u8]) {
    let mut coded = vec![0xAA; 3];
    encode(dtype, bytes, &mut coded);
    assert_eq!(coded[..3], [0xAA; 3], "what was in the buffer stays");
    let coded = &coded[3..];
    assert!(coded.len() <= bytes.len() + 1, "{dtype}: {} bytes became {}", bytes.len(), coded.len());
    let mut back = vec![0x55; bytes.len()];
    decode(dtype, coded, &mut back).unwrap();
    assert!(back == bytes, "{dtype}: bytes differ");
}

fn any_dtype() -> impl Strategy<Value = DType> {
    (0..DType::ALL.len()).prop_map(|index| DType::ALL[index])
}

// R17
#[test]
fn every_length_up_to_seventy_elements_comes_back_in_every_type() {
    for dtype in DType::ALL {
        for kind in 0..KINDS {
            for count in 0..70 {
                assert_comes_back(dtype, &chunk(dtype, kind, count, count as u64));
            }
        }
    }
}

// R17
#[test]
fn chunks_around_block_and_group_boundaries_come_back() {
    for dtype in DType::ALL {
        for kind in 0..KINDS {
            for count in [127, 128, 129, 255, 1023, 1024, 1025, 1152, 2049, 5000, 20_001] {
                assert_comes_back(dtype, &chunk(dtype, kind, count, 7));
            }
        }
    }
}

#[test]
fn the_two_forms_write_the_same_bytes_and_read_each_other() {
    for dtype in DType::ALL {
        for kind in 0..KINDS {
            let bytes = chunk(dtype, kind, 3333, 11);
            let (mut fast, mut portable) = (Vec::new(), Vec::new());
            encode_at(Level::detect(), dtype, &bytes, &mut fast);
            encode_at(Level::PORTABLE, dtype, &bytes, &mut portable);
            assert!(fast == portable, "{dtype}, kind {kind}");
            for level in [Level::detect(), Level::PORTABLE] {
                let mut back = vec![0; bytes.len()];
                decode_at(level, dtype, &fast, &mut back).unwrap();
                assert!(back == bytes, "{dtype}, kind {kind}, {level:?}");
            }
        }
    }
}

#[test]
fn alignment_of_the_data_does_not_matter() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::I64] {
        let bytes = chunk(dtype, 1, 1500, 3);
        let expected = payload(dtype, &bytes);
        for offset in 1..8 {
            let mut shifted = vec![0; offset];
            shifted.extend_from_slice(&bytes);
            assert_eq!(payload(dtype, &shifted[offset..]), expected);
            let mut back = vec![0; offset + bytes.len()];
            decode(dtype, &expected, &mut back[offset..]).unwrap();
            assert_eq!(back[offset..], bytes);
        }
    }
}

fn ratio(dtype: DType, kind: u8, count: usize) -> f64 {
    let bytes = chunk(dtype, kind, count, 5);
    payload(dtype, &bytes).len() as f64 / bytes.len() as f64
}

// R9
#[test]
fn what_is_regular_becomes_small() {
    let count = 1 << 16;
    for dtype in DType::ALL {
        assert!(ratio(dtype, 2, count) < 0.001, "{dtype}: constant");
    }
    for dtype in [DType::I16, DType::I32, DType::I64, DType::U16, DType::U32, DType::U64] {
        assert!(ratio(dtype, 3, count) < 0.002, "{dtype}: ramp");
        assert!(ratio(dtype, 4, count) < 0.002, "{dtype}: ramp downwards");
    }
    assert!(ratio(DType::Bool, 5, count) < 0.127, "random mask: one bit each");
    assert!(ratio(DType::I64, 5, count) < 0.02, "random 0 and 1 in 64 bits");
    assert!(ratio(DType::F32, 7, count) < 0.095, "one weight in sixteen");
}

// R15
#[test]
fn gaussian_weights_take_less_than_exponent_and_mantissa_apart() {
    let count = 1 << 16;
    // Entropy of exponent and two mantissa bits of a Gaussian is 4.53 bits.
    assert!(ratio(DType::F32, 1, count) < (4.58 + 22.0) / 32.0);
    assert!(ratio(DType::BF16, 1, count) < (4.60 + 6.0) / 16.0);
    assert!(ratio(DType::F16, 1, count) < (5.60 + 8.0) / 16.0);
    assert!(ratio(DType::F64, 1, count) < (3.60 + 52.0) / 64.0);
    // Halves in single precision cost what halves cost, and a width per block.
    assert!(ratio(DType::F32, 9, count) < (4.58 + 9.0 + 0.1) / 32.0);
    assert!(
        ratio(DType::F32, 10, count) < (4.58 + 21.0 + 0.1) / 32.0,
        "the sign bit of positive values is free"
    );
}

// R18
#[test]
fn every_cut_and_every_flipped_byte_of_a_payload_is_survived() {
    for (dtype, kind) in [
        (DType::F32, 1),
        (DType::F32, 9),
        (DType::F64, 1),
        (DType::F16, 1),
        (DType::BF16, 10),
        (DType::F32, 7),
        (DType::I32, 1),
        (DType::I64, 3),
        (DType::Bool, 5),
        (DType::U16, 0),
    ] {
        let bytes = chunk(dtype, kind, 700, 9);
        let coded = payload(dtype, &bytes);
        let mut back = vec![0; bytes.len()];
        for length in 0..coded.len() {
            assert!(
                decode(dtype, &coded[..length], &mut back).is_err(),
                "{dtype}, kind {kind}, cut at {length}"
            );
        }
        let mut longer = coded.clone();
        longer.push(0);
        assert!(decode(dtype, &longer, &mut back).is_err(), "{dtype}, kind {kind}: a byte too many");
        for at in 0..coded.len() {
            let mut broken = coded.clone();
            for flip in [1, 0x80, 0xFF] {
                broken[at] = coded[at] ^ flip;
                let _ = decode(dtype, &broken, &mut back);
            }
        }
    }
}

// R18
#[test]
fn code_tables_that_are_over_or_under_subscribed_are_refused() {
    // First symbol 0, last symbol 2, lengths as nibbles.
    let table = |nibbles: [u8; 2]| {
        let bytes = [0, 0, 2, 0, nibbles[0], nibbles[1]];
        Code::read(&mut Reader::new(&bytes), 256)
    };
    assert!(table([0x21, 0x02]).is_ok(), "1, 2, 2 is complete");
    assert!(table([0x11, 0x02]).is_err(), "1, 1, 2 is over-subscribed");
    assert!(table([0x22, 0x02]).is_err(), "2, 2, 2 is under-subscribed");
    assert!(table([0x21, 0x12]).is_err(), "padding is not zero");
    assert!(table([0x21, 0x00]).is_err(), "the last symbol does not occur");
    assert!(table([0xF1, 0x02]).is_err(), "15 means nothing");
    assert!(table([0xD1, 0x05]).is_err(), "a run beyond the last symbol");
    assert!(Code::read(&mut Reader::new(&[9, 0, 8, 0]), 256).is_err(), "first after last");
    assert!(Code::read(&mut Reader::new(&[0, 0, 0, 1, 0, 0]), 256).is_err(), "outside the alphabet");
}

#[test]
fn codes_stay_within_their_longest_length_for_the_steepest_counts() {
    let mut counts = vec![0u32; 1024];
    let (mut one, mut two) = (1u32, 1u32);
    for count in counts.iter_mut().take(40) {
        *count = one;
        (one, two) = (two, one.saturating_add(two));
    }
    for slot in &mut counts[100..900] {
        *slot = 1;
    }
    let Some(Code::Lengths(lengths)) = Code::from_counts(&counts) else { panic!("there are many symbols") };
    assert!(lengths.iter().all(|length| u32::from(*length) <= MAX_BITS));
    assert!(lengths.iter().zip(&counts).all(|(length, count)| (*length > 0) == (*count > 0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    // R17
    #[test]
    fn arbitrary_bytes_come_back(dtype in any_dtype(), bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let whole = bytes.len() / dtype.size_bytes() * dtype.size_bytes();
        assert_comes_back(dtype, &bytes[..whole]);
    }

    // R17
    #[test]
    fn mixtures_of_contents_come_back(
        dtype in any_dtype(),
        parts in proptest::collection::vec((0..KINDS, 0..900usize, any::<u64>()), 1..5),
    ) {
        let bytes: Vec<u8> =
            parts.into_iter().flat_map(|(kind, count, seed)| chunk(dtype, kind, count, seed)).collect();
        assert_comes_back(dtype, &bytes);
        let (mut fast, mut portable) = (Vec::new(), Vec::new());
        encode_at(Level::detect(), dtype, &bytes, &mut fast);
        encode_at(Level::PORTABLE, dtype, &bytes, &mut portable);
        prop_assert!(fast == portable);
    }

    // R18
    #[test]
    fn mutated_payloads_never_panic_and_both_forms_agree(
        dtype in any_dtype(),
        kind in 0..KINDS,
        count in 1..1500usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        near_the_start in any::<bool>(),
        wrong_by in -2..3isize,
    ) {
        let bytes = chunk(dtype, kind, count, 1);
        let mut coded = payload(dtype, &bytes);
        let reach = if near_the_start { coded.len().min(80) } else { coded.len() };
        for (at, value) in edits {
            coded[at.index(reach)] = value;
        }
        let length = count.saturating_add_signed(wrong_by) * dtype.size_bytes();
        let (mut fast, mut portable) = (vec![0; length], vec![0; length]);
        let answers = (
            decode_at(Level::detect(), dtype, &coded, &mut fast).is_ok(),
            decode_at(Level::PORTABLE, dtype, &coded, &mut portable).is_ok(),
        );
        prop_assert_eq!(answers.0, answers.1);
        prop_assert!(!answers.0 || fast == portable);
    }

    // R18
    #[test]
    fn random_payloads_never_panic(
        dtype in any_dtype(),
        mode in 0..8u8,
        mut noise in proptest::collection::vec(any::<u8>(), 0..600),
        count in 0..600usize,
    ) {
        noise.insert(0, mode);
        let mut out = vec![0; count * dtype.size_bytes()];
        let _ = decode(dtype, &noise, &mut out);
    }

    #[test]
    fn codes_are_complete_and_come_back(counts in proptest::collection::vec(prop_oneof![3 => Just(0u32), 1 => 1..9u32, 1 => any::<u32>()], 1..700)) {
        let Some(code) = Code::from_counts(&counts) else { return Ok(()) };
        let mut bytes = Vec::new();
        code.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(Code::read(&mut reader, counts.len()).unwrap(), code);
        prop_assert!(reader.finish().is_ok());
    }

    #[test]
    fn packed_lanes_come_back(
        seed in any::<u64>(),
        (width, shift) in (0..=16u32).prop_flat_map(|width| (Just(width), 0..=16 - width)),
    ) {
        let mut random = Random(seed);
        let mask = ((1u32 << width) - 1) << shift;
        let values: [u16; BLOCK] = std::array::from_fn(|_| random.next() as u16 & mask as u16);
        let mut bytes = Vec::new();
        pack(&values, shift, width, &mut bytes);
        prop_assert_eq!(bytes.len(), 16 * width as usize);
        let mut back = [0xFFFF; BLOCK];
        unpack(&mut Reader::new(&bytes), shift, width, &mut back).unwrap();
        prop_assert_eq!(back, values);
    }

    #[test]
    fn lengths_come_back(length in prop_oneof![0..300usize, 0..u32::MAX as usize]) {
        let mut bytes = Vec::new();
        write_length(length, &mut bytes);
        prop_assert_eq!(Reader::new(&bytes).length().unwrap(), length);
    }
}

/// The two pieces that stand for the chunk say that differences are best; in the rest, differences are noise and the values
/// themselves are not.
#[test]
fn a_sample_that_misleads_costs_its_way_and_not_the_next_best() {
    let len = 1 << 20;
    let mut random = Random(3);
    let mut bytes: Vec<u8> = (0..len).map(|_| (random.unit() * random.unit() * 256.0) as u8).collect();
    for part in [2, 5] {
        for (i, byte) in bytes[len / 8 * part..][..1 << 14].iter_mut().enumerate() {
            *byte = (i * i / 300) as u8;
        }
    }
    let mut out = Vec::new();
    encode(DType::U8, &bytes, &mut out);
    assert!(out.len() < len * 97 / 100, "{} of {len}", out.len());
    let mut back = vec![0; len];
    decode(DType::U8, &out, &mut back).unwrap();
    assert_eq!(back, bytes);
}
