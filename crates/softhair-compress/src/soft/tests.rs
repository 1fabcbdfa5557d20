use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;

/// The shapes that data takes.
#[derive(Clone, Copy, Debug)]
enum Field {
    Waves,
    Noise,
    Steps,
    Constant,
    Spikes,
    Tiny,
    Zeros,
}

const FIELDS: [Field; 7] =
    [Field::Waves, Field::Noise, Field::Steps, Field::Constant, Field::Spikes, Field::Tiny, Field::Zeros];

/// A small generator, so that a field is a function of its seed.
fn noise(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as f64 / f64::from(1_u32 << 31)
}

fn values(field: Field, n: usize, mut seed: u64) -> Vec<f64> {
    let pitch = noise(&mut seed) * 0.3;
    let value = |i: usize| match field {
        Field::Waves => (i as f64 * pitch).sin() + (i as f64 * pitch * 0.01).cos(),
        Field::Noise => noise(&mut seed) - 0.5,
        Field::Steps => (i / 37 % 5) as f64 * 0.5,
        Field::Constant => 12.75,
        Field::Spikes => {
            if noise(&mut seed) < 0.02 {
                1e20 * noise(&mut seed)
            } else {
                0.25
            }
        }
        Field::Tiny => noise(&mut seed) * 1e-42,
        Field::Zeros => 0.0,
    };
    (0..n).map(value).collect()
}

fn shapes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(0_usize..12, 0..6),
        prop::collection::vec(1_usize..40, 1..4),
        (1_usize..5000).prop_map(|n| vec![n]),
        (2_usize..9, 1_usize..200).prop_map(|(a, b)| vec![1, a, 1, b, 1]),
    ]
}

fn with_specials<T: Real>(plain: &[f64], specials: &[(usize, u64)]) -> Vec<T> {
    let mut values: Vec<T> = plain.iter().map(|&v| T::from_f64(v)).collect();
    if values.is_empty() {
        return values;
    }
    for &(place, kind) in specials {
        let place = place % values.len();
        values[place] = match kind {
            0 => T::from_f64(f64::NAN),
            1 => T::from_f64(f64::INFINITY),
            2 => T::from_f64(f64::NEG_INFINITY),
            3 => T::from_f64(-0.0),
            4 => T::from_bits(1),
            5 => T::from_f64(3e38),
            6 => T::from_bits(T::from_f64(f64::NAN).bits() | 0x1234),
            _ => T::from_bits(kind),
        };
    }
    values
}

/// Is `|a - b| <= bound` without any rounding?
fn within(a: f64, b: f64, bound: f64) -> bool {
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    let difference = large - small;
    // What the subtraction rounded away (Knuth's two-sum).
    let back = difference + small;
    let rest = (large - back) + ((back - difference) - small);
    match difference.total_cmp(&bound) {
        Ordering::Less => true,
        Ordering::Equal => rest <= 0.0,
        Ordering::Greater => false,
    }
}

/// Compresses, decompresses and checks the contract. Returns the payload.
fn check<T: Real>(values: &[T], dims: &[usize], max_abs: f64) -> Option<Vec<u8>> {
    let mut payload = vec![7];
    let Some(()) = encode(values, dims, max_abs, &mut payload) else {
        assert_eq!(payload, [7], "nothing may be written when nothing is promised");
        return None;
    };
    assert_eq!(payload.remove(0), 7);
    let mut found = vec![T::default(); values.len()];
    decode(&payload, dims, &mut found).unwrap();
    for (&value, &found) in values.iter().zip(&found) {
        let exact = value.bits() == found.bits();
        let negative_zero = value.bits() == T::from_f64(-0.0).bits();
        let near = value.is_finite() && within(value.to_f64(), found.to_f64(), max_abs) && !negative_zero;
        assert!(exact || near, "{value:?} came back as {found:?} at {max_abs}");
    }
    let mut again = Vec::new();
    encode(values, dims, max_abs, &mut again).unwrap();
    assert_eq!(payload, again, "the same input gives the same bytes");
    Some(payload)
}

proptest! {
    // R15, R17
    #[test]
    fn every_element_is_within_the_bound_or_bit_exact(
        dims in shapes(),
        field in prop::sample::select(&FIELDS),
        seed: u64,
        exponent in -12_i32..4,
        specials in prop::collection::vec((any::<usize>(), prop_oneof![0_u64..7, any::<u64>()]), 0..20),
    ) {
        let plain = values(field, dims.iter().product(), seed);
        let max_abs = 10.0_f64.powi(exponent) * 1.37;
        check(&with_specials::<f32>(&plain, &specials), &dims, max_abs);
        check(&with_specials::<f64>(&plain, &specials), &dims, max_abs);
    }

    #[test]
    fn any_bits_and_any_bound_keep_the_contract(
        bits in prop::collection::vec(prop_oneof![any::<u64>(), any::<u32>().prop_map(u64::from)], 0..300),
        max_abs in any::<f64>(),
    ) {
        let dims = [bits.len()];
        let single: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b as u32)).collect();
        let double: Vec<f64> = bits.iter().map(|&b| f64::from_bits(b)).collect();
        check(&single, &dims, max_abs);
        check(&double, &dims, max_abs);
    }

    // R18
    #[test]
    fn a_damaged_payload_never_panics(
        dims in shapes(),
        field in prop::sample::select(&FIELDS),
        seed: u64,
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8),
        cut in any::<usize>(),
    ) {
        let plain = values(field, dims.iter().product(), seed);
        let single: Vec<f32> = plain.iter().map(|&v| v as f32).collect();
        let mut payload = Vec::new();
        if encode(&single, &dims, 1e-3, &mut payload).is_none() || payload.is_empty() {
            return Ok(());
        }
        for &(place, byte) in &changes {
            let place = place % payload.len();
            payload[place] = byte;
        }
        let mut out = vec![0.0_f32; single.len()];
        let _ = decode(&payload, &dims, &mut out);
        payload.truncate(cut % payload.len());
        let _ = decode(&payload, &dims, &mut out);
        let mut out = vec![0.0_f64; single.len()];
        let _ = decode(&payload, &dims, &mut out);
    }

    // R18
    #[test]
    fn random_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..400), dims in shapes()) {
        let n = dims.iter().product();
        let _ = decode(&payload, &dims, &mut vec![0.0_f32; n]);
        let _ = decode(&payload, &dims, &mut vec![0.0_f64; n]);
    }
}

fn plane(n: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (y, x) = ((i / n) as f32 / n as f32, (i % n) as f32 / n as f32);
        (12.0 * x).sin() * (7.0 * y).cos()
    };
    (0..n * n).map(value).collect()
}

// R16
#[test]
fn a_smooth_plane_takes_a_thirtieth() {
    let values = plane(128);
    let payload = check(&values, &[128, 128], 1e-3).unwrap();
    assert!(payload.len() * 30 < size_of_val(&values[..]), "{} bytes", payload.len());
}

#[test]
fn a_smooth_line_in_double_precision_can_be_kept_to_twelve_digits() {
    let values: Vec<f64> = (0..50_000).map(|i| (f64::from(i) * 1e-3).sin()).collect();
    let payload = check(&values, &[50_000], 1e-12).unwrap();
    assert!(payload.len() * 10 < size_of_val(&values[..]), "{} bytes", payload.len());
}

#[test]
fn a_constant_and_zeros_take_a_few_bytes() {
    for value in [0.0_f64, -3.5e7, 1e-310] {
        let payload = check(&vec![value; 10_000], &[100, 100], 1e-4).unwrap();
        assert!(payload.len() < 100, "{} bytes for {value}", payload.len());
    }
}

#[test]
fn a_mask_of_nan_or_of_negative_zeros_costs_little() {
    for hole in [f32::NAN, -0.0] {
        let mut values = plane(128);
        let plain = check(&values, &[128, 128], 1e-3).unwrap().len();
        for row in values.chunks_exact_mut(128).skip(30).take(60) {
            row[40..90].fill(hole);
        }
        let masked = check(&values, &[128, 128], 1e-3).unwrap().len();
        assert!(masked < plain + 3000, "{plain} bytes became {masked} for {hole}");
    }
}

#[test]
fn a_huge_spike_does_not_spoil_its_surroundings() {
    let mut values = plane(128);
    values[5000] = 1e37;
    let payload = check(&values, &[128, 128], 1e-3).unwrap();
    assert!(payload.len() * 10 < size_of_val(&values[..]), "{} bytes", payload.len());
}

#[test]
fn what_cannot_be_promised_is_refused_and_nothing_is_written() {
    let values = plane(64);
    for max_abs in [0.0, -1.0, f64::NAN, 1e-300] {
        assert!(check(&values, &[64, 64], max_abs).is_none(), "{max_abs}");
    }
    assert!(check(&values, &[64, 63], 1e-3).is_none());
}

#[test]
fn a_bound_wider_than_the_values_costs_next_to_nothing() {
    for max_abs in [2.0, 1e30, f64::MAX, f64::INFINITY] {
        assert!(check(&plane(64), &[64, 64], max_abs).unwrap().len() < 100);
    }
}

// R18
#[test]
fn a_payload_of_another_shape_is_refused() {
    let mut payload = Vec::new();
    encode(&plane(64), &[64, 64], 1e-3, &mut payload).unwrap();
    for dims in [&[64, 63][..], &[4096], &[32, 128]] {
        let mut out = vec![0.0_f32; dims.iter().product()];
        assert!(decode(&payload, dims, &mut out).is_err(), "{dims:?}");
    }
}
