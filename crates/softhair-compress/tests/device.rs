//! The kernels against the processor's code, byte for byte: their PTX runs in an emulator that also finds reads out of bounds, reads
//! of what nobody wrote, and races.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod emulated;

use std::io::Cursor;

use emulated::EmulatedCard;
use proptest::prelude::*;
use softhair_compress::{
    Codec, DType, Error, Family, Frame, Policy, TensorView,
    device::{DeviceCodec, runs_on_card},
};

/// Numbers that are as good as random, from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 32)
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, near enough.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// What a tensor is made of.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Normal,
    /// Some values are a hundred times as large.
    HeavyTailed,
    Uniform,
    /// Blocks of zeros, of -0, and of single values among zeros.
    Sparse,
    /// Magnitudes of each block differ by orders.
    Uneven,
    /// Infinities and not-a-numbers here and there.
    NotFinite,
    Subnormal,
}

fn value(kind: Kind, i: usize, random: &mut Random) -> f32 {
    let block = (i / 256) as u64;
    match kind {
        Kind::Normal => 0.02 * random.normal() as f32,
        Kind::HeavyTailed => {
            let scale = if random.next().is_multiple_of(97) { 100.0 } else { 1.0 };
            scale * random.normal() as f32
        }
        Kind::Uniform => random.uniform() as f32 - 0.5,
        Kind::Sparse => match block % 4 {
            0 if i % 256 == 17 => -3.5,
            0 | 1 => 0.0,
            2 => -0.0,
            _ => random.normal() as f32,
        },
        Kind::Uneven => random.normal() as f32 * 2f32.powi((block.wrapping_mul(37) % 40) as i32 - 20),
        Kind::NotFinite => match random.next() % 50_000 {
            0 => f32::INFINITY,
            1 => f32::NAN,
            _ => random.normal() as f32,
        },
        Kind::Subnormal => 1e-39 * random.normal() as f32,
    }
}

fn tensor(dtype: DType, kind: Kind, elements: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let values = (0..elements).map(|i| value(kind, i, &mut random));
    match dtype {
        DType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        DType::F16 => values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect(),
        _ => values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect(),
    }
}

/// Compresses and restores on the card and on the processor, and compares.
fn both_agree(card: EmulatedCard, dtype: DType, shape: &[usize], bytes: &[u8], policy: Policy) {
    let expected = Codec::new().compress(TensorView::new(dtype, shape, bytes).unwrap(), policy).unwrap();
    let mut codec = DeviceCodec::new(card).unwrap();
    let address = codec.card().holding(bytes);
    let mut frame = Cursor::new(Vec::new());
    let header = codec.compress_to(dtype, shape, address, policy, &mut frame).unwrap();
    let frame = frame.into_inner();
    assert_eq!(&header, expected.header());
    assert!(
        frame == expected.as_bytes(),
        "first difference at {:?}",
        difference(&frame, expected.as_bytes())
    );

    let restored = codec.card().room(bytes.len());
    codec.restore_from(frame.as_slice(), restored).unwrap();
    let (on_card, by_processor) =
        (codec.card().contents(restored, bytes.len()), expected.decompress().unwrap());
    assert!(on_card == by_processor, "first difference at {:?}", difference(&on_card, &by_processor));
}

fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b).or((a.len() != b.len()).then_some(a.len().min(b.len())))
}

const KINDS: [Kind; 7] = [
    Kind::Normal,
    Kind::HeavyTailed,
    Kind::Uniform,
    Kind::Sparse,
    Kind::Uneven,
    Kind::NotFinite,
    Kind::Subnormal,
];

#[test]
fn every_kind_of_tensor_and_every_type_gives_the_processor_s_frame() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (seed, kind) in (1..).zip(KINDS) {
            // One whole chunk, and one that ends in the middle of a group.
            let shape = [2, 34_000 + 777];
            let bytes = tensor(dtype, kind, shape[0] * shape[1], seed);
            both_agree(EmulatedCard::new(2), dtype, &shape, &bytes, Policy::Default);
        }
    }
}

#[test]
fn steps_change_at_the_same_mean_square() {
    // Where the eighth of an octave of a block's root mean square goes up, and a few units in the last place around it: among zeros,
    // one value near 16 roots, and one whose square is a few units.
    let thresholds = [0x000b_95c2u32, 0x0025_fed7, 0x0045_672a, 0x006a_c0c7];
    let blocks = thresholds.iter().flat_map(|&mantissa| {
        let root = f64::from(f32::from_bits(0x3f80_0000 + mantissa)).sqrt() as f32;
        (0..48u32).flat_map(move |i| {
            let near = 16.0 * f32::from_bits(root.to_bits() - 4 + i / 8);
            let few = 16.0 * (f64::from(i % 8) * 2f64.powi(-23)).sqrt() as f32;
            [near, few].into_iter().chain(std::iter::repeat_n(0.0, 254))
        })
    });
    let bytes: Vec<u8> = blocks.flat_map(f32::to_le_bytes).collect();
    both_agree(EmulatedCard::new(1), DType::F32, &[192, 256], &bytes, Policy::Default);
}

#[test]
fn values_beyond_the_last_class_are_left_to_the_processor() {
    // One value alone in its block is 16 root mean squares; at this bound classes end just there.
    let blocks = (0..256).flat_map(|i| {
        let alone = 1.0 + i as f32 / 256.0;
        std::iter::once(alone).chain(std::iter::repeat_n(0.0, 255))
    });
    let bytes: Vec<u8> = blocks.flat_map(f32::to_le_bytes).collect();
    both_agree(EmulatedCard::new(1), DType::F32, &[256, 256], &bytes, Policy::RelL2(0.004_52));
}

#[test]
fn windows_go_through_any_number_of_lanes() {
    let shape = [5, 65_536 + 300];
    let bytes = tensor(DType::F32, Kind::Normal, shape[0] * shape[1], 5);
    for lanes in 1..=3 {
        // So little that a window has only a few chunks.
        both_agree(
            EmulatedCard::with_lane_bytes(lanes, 2 << 20),
            DType::F32,
            &shape,
            &bytes,
            Policy::Default,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_size_and_any_bound_gives_the_processor_s_frame(
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        kind in prop::sample::select(KINDS.to_vec()),
        elements in 1usize..20_000,
        log_bound in -4.2f64..-0.05,
        seed: u64,
    ) {
        let bytes = tensor(dtype, kind, elements, seed);
        both_agree(EmulatedCard::new(1), dtype, &[1, elements], &bytes, Policy::RelL2(10f64.powf(log_bound)));
    }

    #[test]
    fn other_types_and_bounds_are_the_processor_s_and_give_its_frame(
        elements in 1usize..3_000,
        policy in prop::sample::select(vec![Policy::Exact, Policy::MaxAbs(1e-3), Policy::Ratio(0.5)]),
        seed: u64,
    ) {
        prop_assert!(!runs_on_card(DType::F32, &[1, elements], policy));
        let bytes = tensor(DType::F32, Kind::Normal, elements, seed);
        both_agree(EmulatedCard::new(1), DType::F32, &[1, elements], &bytes, policy);
    }

    #[test]
    fn a_damaged_frame_is_refused_on_the_card_as_by_the_processor(
        at in any::<prop::sample::Index>(), flip in 1u8.., seed: u64,
    ) {
        let shape = [3, 2_000];
        let bytes = tensor(DType::F32, Kind::Normal, 6_000, seed);
        let view = TensorView::new(DType::F32, &shape, &bytes).unwrap();
        let mut frame = Codec::new().compress(view, Policy::Default).unwrap().into_bytes();
        let at = at.index(frame.len());
        frame[at] ^= flip;
        let mut codec = DeviceCodec::new(EmulatedCard::new(1)).unwrap();
        // The header may claim another shape; there is room for what it claims, up to a limit.
        let claimed = Frame::parse(frame.clone()).map_or(0, |frame| frame.header().original_bytes());
        prop_assume!(claimed <= 1 << 20);
        let room = codec.card().room(1 << 20);
        let refused = codec.restore_from(frame.as_slice(), room);
        prop_assert!(refused.is_err(), "byte {at} was changed and nobody noticed");
        prop_assert!(!matches!(refused, Err(Error::Device { .. })), "{refused:?}");
    }
}

/// Puts the right checksum over a frame that was changed.
fn seal(frame: &mut [u8]) {
    let header_bytes = 96 + 8 * usize::from(frame[13]);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&frame[header_bytes..]).update(&frame[..64]).update(&frame[96..header_bytes]);
    frame[64..96].copy_from_slice(hasher.finalize().as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_frame_made_to_deceive_is_restored_or_refused_as_by_the_processor(
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        kind in prop::sample::select(vec![Kind::Normal, Kind::Sparse, Kind::Uneven]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        near_the_front: bool,
        seed: u64,
    ) {
        let bytes = tensor(dtype, kind, 6_000, seed);
        let view = TensorView::new(dtype, &[3, 2_000], &bytes).unwrap();
        let frame = Codec::new().compress(view, Policy::Default).unwrap();
        let header_bytes = frame.header().header_bytes();
        let mut frame = frame.into_bytes();
        for (at, flip) in changes {
            // Headers, codes and lengths are the first 60 bytes.
            let end = if near_the_front { frame.len().min(header_bytes + 60) } else { frame.len() };
            frame[header_bytes + at.index(end - header_bytes)] ^= flip;
        }
        seal(&mut frame);
        let by_processor = Frame::parse(frame.clone()).and_then(|frame| frame.decompress());
        let mut codec = DeviceCodec::new(EmulatedCard::new(1)).unwrap();
        let room = codec.card().room(bytes.len());
        match (codec.restore_from(frame.as_slice(), room), by_processor) {
            (Ok(_), Ok(expected)) => prop_assert!(codec.card().contents(room, bytes.len()) == expected),
            (Err(on_card), Err(_)) => prop_assert!(!matches!(on_card, Error::Device { .. }), "{on_card:?}"),
            (on_card, by_processor) => prop_assert!(false, "{on_card:?}, but {:?}", by_processor.map(|_| ())),
        }
    }
}

#[test]
fn a_part_that_lies_about_its_length_is_found_by_the_kernels() {
    let bytes = tensor(DType::F32, Kind::Normal, 6_000, 3);
    let view = TensorView::new(DType::F32, &[2, 3_000], &bytes).unwrap();
    let frame = Codec::new().compress(view, Policy::Default).unwrap();
    let mut damaged = frame.as_bytes().to_vec();
    // The first threshold of the first group: other counts follow it than are there.
    let fixed = frame.header().header_bytes() + 8 + 16 + 24 + 4;
    damaged[fixed + 40..fixed + 48].fill(0xff);
    let mut codec = DeviceCodec::new(EmulatedCard::new(1)).unwrap();
    let room = codec.card().room(bytes.len());
    let refused = codec.restore_from(damaged.as_slice(), room).unwrap_err();
    assert!(refused.to_string().contains("a segment does not end where it should"), "{refused}");
}

#[test]
fn smooth_tensors_stay_with_the_processor() {
    let bytes: Vec<u8> = (0..64 * 1024).flat_map(|i| (i as f32 / 5000.0).sin().to_le_bytes()).collect();
    let view = TensorView::new(DType::F32, &[64, 1024], &bytes).unwrap();
    assert_eq!(Codec::new().compress(view, Policy::Default).unwrap().header().family, Family::Soft);
    both_agree(EmulatedCard::new(1), DType::F32, &[64, 1024], &bytes, Policy::Default);
}

#[test]
fn empty_tensors_scalars_and_tensors_that_begin_anywhere_work() {
    both_agree(EmulatedCard::new(1), DType::F32, &[3, 0], &[], Policy::Default);
    both_agree(EmulatedCard::new(1), DType::F16, &[], &[1, 2], Policy::Default);
    // A view into a larger tensor is only aligned to its element.
    let bytes = tensor(DType::F16, Kind::Normal, 5_000, 9);
    let view = TensorView::new(DType::F16, &[1, 4_999], &bytes[2..]).unwrap();
    let expected = Codec::new().compress(view, Policy::Default).unwrap();
    let mut codec = DeviceCodec::new(EmulatedCard::new(1)).unwrap();
    let address = codec.card().holding(&bytes) + 2;
    let mut frame = Cursor::new(Vec::new());
    codec.compress_to(DType::F16, &[1, 4_999], address, Policy::Default, &mut frame).unwrap();
    assert!(frame.into_inner() == expected.as_bytes());
}

#[test]
fn hashes_are_blake3_at_every_length_around_a_boundary() {
    let mut random = Random(7);
    let bytes: Vec<u8> = (0..(3 << 20) + 5).map(|_| random.next() as u8).collect();
    let mut codec = DeviceCodec::new(EmulatedCard::new(2)).unwrap();
    let address = codec.card().holding(&bytes);
    let (mib, kib) = (1 << 20, 1 << 10);
    let lengths =
        [0, 1, kib, mib, mib + 1, mib + kib + 1, mib + 3 * kib, mib + 6 * kib + 7, 2 * mib - 3, 2 * mib];
    for length in lengths.into_iter().chain([bytes.len()]) {
        let hash = codec.digest(address, length as u64).unwrap();
        assert_eq!(hash, blake3::hash(&bytes[..length]), "{length} bytes");
    }
    let odd = codec.digest(address + 1, 2 << 20).unwrap();
    assert_eq!(odd, blake3::hash(&bytes[1..=2 << 20]));
}

#[test]
fn a_card_with_too_little_is_refused() {
    let refused = DeviceCodec::new(EmulatedCard::with_lane_bytes(1, 1 << 20)).unwrap_err();
    assert!(matches!(refused, Error::Lanes { lanes: 1, bytes: 1_048_576, .. }), "{refused}");
}

#[test]
fn a_card_that_fails_in_the_middle_says_so() {
    let bytes = tensor(DType::F32, Kind::Normal, 70_000, 11);
    for after in [0, 1, 3, 5, 6] {
        let mut card = EmulatedCard::new(1);
        card.fail_after(after);
        let mut codec = DeviceCodec::new(card).unwrap();
        let address = codec.card().holding(&bytes);
        let mut out = Cursor::new(Vec::new());
        let failed =
            codec.compress_to(DType::F32, &[7, 10_000], address, Policy::Default, &mut out).unwrap_err();
        assert!(failed.to_string().contains("card") || matches!(failed, Error::Io { .. }), "{failed}");
        assert!(format!("{failed:?}").contains("made to fail"), "{failed:?}");
    }
}

#[test]
fn single_large_values_cross_every_width_of_high_parts() {
    // One value in each block grows from 12 to 40 times 16 steps, through all sizes at which kernels take another way.
    let mut random = Random(11);
    let weights: Vec<f32> = (0..256 * 256)
        .map(|i| {
            let ordinary = random.normal() as f32;
            if i % 256 == 77 { 4.0 + 9.0 * (i / 256) as f32 / 256.0 } else { ordinary.clamp(-3.0, 3.0) }
        })
        .collect();
    for dtype in [DType::F32, DType::F16] {
        let bytes: Vec<u8> = match dtype {
            DType::F32 => weights.iter().flat_map(|value| value.to_le_bytes()).collect(),
            _ => weights.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect(),
        };
        both_agree(EmulatedCard::new(1), dtype, &[256, 256], &bytes, Policy::Default);
    }
}

#[test]
fn whole_chunks_that_begin_anywhere_give_the_processor_s_frame() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let size = dtype.size_bytes();
        let bytes = tensor(dtype, Kind::Normal, 65_537, 12);
        let view = TensorView::new(dtype, &[1, 65_536], &bytes[size..]).unwrap();
        let expected = Codec::new().compress(view, Policy::Default).unwrap();
        let mut codec = DeviceCodec::new(EmulatedCard::new(1)).unwrap();
        let address = codec.card().holding(&bytes) + size as u64;
        let mut frame = Cursor::new(Vec::new());
        codec.compress_to(dtype, &[1, 65_536], address, Policy::Default, &mut frame).unwrap();
        assert!(frame.into_inner() == expected.as_bytes());
        // And back to where it came from.
        codec.restore_from(expected.as_bytes(), address).unwrap();
        assert!(codec.card().contents(address, 65_536 * size) == expected.decompress().unwrap());
    }
}
