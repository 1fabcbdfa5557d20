//! Invariants of the grain coder, on any values: the reference keeps its promise, and faster kernels make the same bytes.

use proptest::prelude::*;

use super::{
    decode::{decode, decode_with},
    encode::{Step, encode, encode_with},
    kernel::{Kernel, Kernels},
};

/// Values of every kind: Gaussian-like, sparse, huge, tiny, and not finite.
fn values() -> impl Strategy<Value = Vec<f32>> {
    let ordinary = prop_oneof![
        20 => (-4.0f32..4.0).prop_map(|x| x * x * x * 0.01),
        2 => Just(0.0f32),
        1 => Just(-0.0f32),
        1 => -1e6f32..1e6,
        1 => any::<f32>().prop_map(|x| if x.is_finite() { x / 1e9 } else { x }),
    ];
    prop_oneof![
        8 => prop::collection::vec(ordinary, 0..9000),
        2 => prop::collection::vec(-1f32..1.0, 0..600),
        1 => prop::collection::vec(Just(0.0f32), 0..600),
        1 => prop::collection::vec(any::<f32>(), 0..600),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (-20.0..4.0f64).prop_map(|exponent| Step::OfBlockRms(exponent.exp2())),
        (-40.0..24.0f64).prop_map(|exponent| Step::Fixed(exponent.exp2())),
    ]
}

proptest! {
    #[test]
    fn what_is_restored_is_as_close_as_was_measured(values in values(), step in steps()) { // R15, R17
        let mut payload = Vec::new();
        let Some(errors) = encode(&values, step, &mut payload) else { return Ok(()) };
        let mut restored = vec![0f32; values.len()];
        decode(&payload, &mut restored).unwrap();
        let mut squared_error = 0.0;
        for (&value, &restored) in values.iter().zip(&restored) {
            if value.is_finite() {
                let error = (f64::from(value) - f64::from(restored)).abs();
                prop_assert!(error <= errors.max_abs, "{value} {restored} {errors:?}");
                squared_error += error * error;
                prop_assert!(value != 0.0 || value.to_bits() == restored.to_bits(), "zeros keep their sign");
            } else {
                prop_assert_eq!(value.to_bits(), restored.to_bits());
            }
        }
        prop_assert!(squared_error <= errors.squared_error * (1.0 + 1e-9), "{squared_error} {errors:?}");
        if let Step::Fixed(step) = step {
            let largest = values.iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
            prop_assert!(errors.max_abs <= step / 2.0 + f64::from(largest) * 2.5e-7, "{errors:?}");
        }
    }

    #[test]
    fn every_kernel_makes_the_same_bytes(values in values(), step in steps()) {
        let (mut reference, mut fast) = (Vec::new(), Vec::new());
        let expected = encode_with(&Kernel::<f32>::PORTABLE, &values, step, &mut reference);
        prop_assert_eq!(encode_with(&f32::fastest(), &values, step, &mut fast), expected);
        prop_assert_eq!(&fast, &reference);
        if expected.is_some() {
            let (mut slow, mut fast) = (vec![0f32; values.len()], vec![1f32; values.len()]);
            decode_with(&Kernel::<f32>::PORTABLE, &reference, &mut slow).unwrap();
            decode_with(&f32::fastest(), &reference, &mut fast).unwrap();
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            prop_assert_eq!(bits(slow), bits(fast));
        }
    }

    #[test]
    fn damaged_payloads_are_refused_or_decoded_alike_but_never_panic(
        values in values(), step in steps(), at: prop::sample::Index, flip in 1u8.., cut: bool,
    ) { // R18
        let mut payload = Vec::new();
        if encode(&values, step, &mut payload).is_none() { return Ok(()) }
        let at = at.index(payload.len());
        if cut { payload.truncate(at) } else { payload[at] ^= flip }
        let (mut slow, mut fast) = (vec![0f32; values.len()], vec![0f32; values.len()]);
        let reference = decode_with(&Kernel::<f32>::PORTABLE, &payload, &mut slow);
        prop_assert_eq!(decode::<f32>(&payload, &mut fast).is_ok(), reference.is_ok());
        prop_assert!(!cut || reference.is_err());
    }

    #[test]
    fn doubles_keep_bounds_that_floats_cannot(values in prop::collection::vec(-1e3f64..1e3, 1..2000), exponent in -32.0..0.0f64) {
        let bound = exponent.exp2();
        let mut payload = Vec::new();
        let Some(errors) = encode(&values, Step::Fixed(2.0 * bound), &mut payload) else { return Ok(()) };
        let mut restored = vec![0.0; values.len()];
        decode(&payload, &mut restored).unwrap();
        for (value, restored) in values.iter().zip(&restored) {
            let error = (value - restored).abs();
            prop_assert!(error <= errors.max_abs && error <= bound * (1.0 + 1e-6) + 1e-12);
        }
    }
}

/// Rounding to a uniform step leaves a Gaussian log2(rms / step) + 2.05 bits of entropy. The code adds less than a tenth
/// at the default bound; at very low rates it wastes the sign of zeros.
#[test]
fn a_gaussian_takes_little_more_than_its_entropy() {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let values: Vec<f32> = (0..1 << 16)
        .map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0)
        .map(|gaussian| gaussian as f32)
        .collect();
    for (fraction, allowed) in
        [(0.0202, 0.10), (0.014, 0.15), (0.1, 0.15), (0.001, 0.15), (0.5, 0.35), (1.0, 0.8)]
    {
        for step in [Step::OfBlockRms(fraction), Step::Fixed(fraction)] {
            let mut payload = Vec::new();
            encode(&values, step, &mut payload).unwrap();
            let bits = 8.0 * payload.len() as f64 / values.len() as f64;
            let entropy = 2.047 - fraction.log2();
            assert!(bits < entropy + allowed, "{step:?}: {bits:.3} bits, entropy {entropy:.3}");
        }
    }
}
