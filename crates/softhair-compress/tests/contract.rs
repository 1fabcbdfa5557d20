//! The promises of the crate, on any tensor: bounds hold, bits survive, damage is found.

use std::io::Cursor;

use proptest::prelude::*;
use softhair_compress::{Codec, DType, Error, Family, Frame, FrameReader, Policy, TensorView};

/// A tensor of any type and up to three dimensions, with bytes of several kinds.
#[derive(Debug, Clone)]
struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, &self.shape, &self.bytes)
            .expect("the strategy makes as many bytes as the shape asks for")
    }

    fn numbers(&self, bytes: &[u8]) -> Vec<f64> {
        match self.dtype {
            DType::F32 => bytes.as_chunks().0.iter().map(|&raw| f64::from(f32::from_le_bytes(raw))).collect(),
            DType::F64 => bytes.as_chunks().0.iter().map(|&raw| f64::from_le_bytes(raw)).collect(),
            DType::F16 => {
                bytes.as_chunks().0.iter().map(|&raw| half::f16::from_le_bytes(raw).to_f64()).collect()
            }
            DType::BF16 => {
                bytes.as_chunks().0.iter().map(|&raw| half::bf16::from_le_bytes(raw).to_f64()).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn encode_floats(dtype: DType, values: &[f64]) -> Vec<u8> {
    let one = |&value: &f64| -> Vec<u8> {
        match dtype {
            DType::F64 => value.to_le_bytes().to_vec(),
            DType::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
            DType::BF16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
            _ => (value as f32).to_le_bytes().to_vec(),
        }
    };
    values.iter().flat_map(one).collect()
}

fn tensors() -> impl Strategy<Value = Tensor> {
    let shape = prop_oneof![
        Just(vec![]),
        prop::collection::vec(0usize..40, 1..=3),
        (1usize..30, 1usize..300).prop_map(|(rows, columns)| vec![rows, columns]),
        Just(vec![70_000]),
    ];
    (shape, 0..DType::ALL.len(), 0..4u8, any::<u64>(), -60i32..60).prop_map(
        |(shape, dtype, kind, seed, exponent)| {
            let dtype = DType::ALL[dtype];
            let count: usize = shape.iter().product();
            let mut state = seed | 1;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 11
            };
            let scale = if dtype == DType::F16 { 1.0 } else { f64::from(exponent).exp2() };
            let bytes = if dtype.is_float() && kind < 3 {
                let values: Vec<f64> = (0..count)
                    .map(|i| match (kind, random() % 97) {
                        (1, 0) => f64::NAN,
                        (1, 1) => f64::NEG_INFINITY,
                        (1, 2) => -0.0,
                        (1, 3) => 1e-310,
                        (2, _) => (i as f64 / 17.0).sin() * scale,
                        (_, noise) => {
                            (random() as f64 / (1u64 << 53) as f64 - 0.5) * scale * (1.0 + noise as f64)
                        }
                    })
                    .collect();
                encode_floats(dtype, &values)
            } else {
                (0..count * dtype.size_bytes()).map(|_| random() as u8).collect()
            };
            Tensor { dtype, shape, bytes }
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        (-20.0..0.0f64).prop_map(|exponent| Policy::RelL2(exponent.exp2())),
        (-30.0..10.0f64).prop_map(|exponent| Policy::MaxAbs(exponent.exp2())),
        (0.05..1.0f64).prop_map(Policy::Ratio),
        Just(Policy::Exact),
        Just(Policy::Default),
    ]
}

fn families() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::new()),
        Just(Codec::new().with_family(Family::Grain)),
        Just(Codec::new().with_family(Family::Soft)),
    ]
}

/// Compares a restored tensor with the original, number by number.
fn check_bound(tensor: &Tensor, frame: &Frame, restored: &[u8], policy: Policy) -> Result<(), TestCaseError> {
    let (dtype, header) = (tensor.dtype, frame.header());
    let exact = !dtype.is_float()
        || policy == Policy::Exact
        || (policy == Policy::Default && tensor.shape.len() < 2)
        || header.max_abs_error == 0.0;
    if exact {
        prop_assert_eq!(restored, &tensor.bytes);
        return Ok(());
    }
    let (mut largest, mut squared_error, mut squared_norm) = (0.0f64, 0.0, 0.0);
    let width = dtype.size_bytes();
    for (i, (x, y)) in tensor.numbers(&tensor.bytes).into_iter().zip(tensor.numbers(restored)).enumerate() {
        if !x.is_finite() {
            let at = i * width..(i + 1) * width;
            prop_assert_eq!(&restored[at.clone()], &tensor.bytes[at], "element {}", i);
            continue;
        }
        largest = largest.max((x - y).abs());
        squared_error += (x - y) * (x - y);
        squared_norm += x * x;
    }
    prop_assert!(largest <= header.max_abs_error, "{largest:e} measured {:e}", header.max_abs_error);
    let relative = (squared_error / squared_norm).sqrt();
    prop_assert!(
        relative <= header.rel_l2_error * (1.0 + 1e-9),
        "{relative} measured {}",
        header.rel_l2_error
    );
    match policy {
        Policy::MaxAbs(bound) => prop_assert!(header.max_abs_error <= bound),
        Policy::RelL2(bound) => prop_assert!(header.rel_l2_error <= bound),
        Policy::Default => prop_assert!(header.rel_l2_error <= softhair_compress::DEFAULT_REL_L2),
        Policy::Ratio(ratio) => {
            prop_assert!(header.payload_bytes as f64 <= ratio * tensor.bytes.len() as f64);
        }
        _ => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_bound_holds_and_the_header_says_by_how_much(tensor in tensors(), policy in policies(), codec in families()) { // R15, R17
        let frame = match codec.compress(tensor.view(), policy) {
            Ok(frame) => frame,
            Err(Error::RatioOutOfReach { reached, .. }) => {
                prop_assert!(matches!(policy, Policy::Ratio(asked) if reached > asked));
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let frame = Frame::parse(frame.into_bytes()).unwrap();
        let restored = frame.decompress().unwrap();
        prop_assert_eq!(&frame.header().shape, &tensor.shape);
        prop_assert_eq!(frame.header().policy, policy);
        check_bound(&tensor, &frame, &restored, policy)?;
        // Noise may not shrink, but it must not grow beyond the headers.
        let chunks = tensor.bytes.len() / (1 << 16) + 1;
        prop_assert!(frame.as_bytes().len() <= tensor.bytes.len() + 160 + 64 * chunks, "{}", frame.as_bytes().len());

        let mut streamed = Vec::new();
        FrameReader::new(frame.as_bytes()).unwrap().decompress_to(&mut streamed).unwrap();
        prop_assert_eq!(streamed, restored);
    }

    #[test]
    fn a_stream_and_a_slice_make_the_same_frame_with_any_number_of_threads(tensor in tensors(), policy in policies()) {
        let Ok(frame) = Codec::new().compress(tensor.view(), policy) else { return Ok(()) };
        let mut out = Cursor::new(vec![7u8; 3]);
        out.set_position(3);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        one.install(|| {
            Codec::new().compress_from(tensor.dtype, &tensor.shape, &tensor.bytes[..], policy, &mut out)
        }).unwrap();
        prop_assert_eq!(out.position() as usize, out.get_ref().len());
        prop_assert_eq!(&out.get_ref()[3..], frame.as_bytes());
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_found(tensor in tensors(), policy in policies(), at: prop::sample::Index, flip in 1u8.., cut: bool) { // R11, R18
        let Ok(frame) = Codec::new().compress(tensor.view(), policy) else { return Ok(()) };
        let mut bytes = frame.into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        let whole = Frame::parse(bytes.clone()).and_then(|frame| frame.decompress());
        let streamed = FrameReader::new(&bytes[..]).and_then(|reader| reader.decompress_to(&mut std::io::sink()));
        prop_assert!(whole.is_err() && streamed.is_err());
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400), magic: bool) { // R18
        if magic && bytes.len() > 10 {
            bytes[..10].copy_from_slice(b"SOFTHAIR\x01\x00");
        }
        prop_assert!(FrameReader::new(&bytes[..]).and_then(|reader| reader.decompress_to(&mut std::io::sink())).is_err());
        prop_assert!(Frame::parse(bytes).and_then(|frame| frame.decompress()).is_err());
    }
}

#[test]
fn a_header_that_claims_2_to_the_60_elements_is_refused_before_anything_is_allocated() {
    // R18
    let frame =
        Codec::new().compress(TensorView::new(DType::F32, &[4], &[0; 16]).unwrap(), Policy::Exact).unwrap();
    let mut bytes = frame.into_bytes();
    bytes[96..104].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(matches!(Frame::parse(bytes.clone()), Err(Error::Damaged(_))));
    assert!(matches!(FrameReader::new(&bytes[..]), Err(Error::Damaged(_))));
}

#[test]
fn a_shape_that_does_not_match_its_bytes_is_refused_with_both_numbers() {
    let error = TensorView::new(DType::F64, &[3, 5], &[0; 100]).unwrap_err().to_string();
    assert!(error.contains("120") && error.contains("100") && error.contains("F64"), "{error}");
    assert!(TensorView::new(DType::U8, &[usize::MAX, 2], &[]).is_err());
    assert!(TensorView::new(DType::U8, &[usize::MAX, 0], &[]).is_ok());
    assert!(TensorView::new(DType::U8, &[1; 33], &[0]).is_err());
}

#[test]
fn an_empty_tensor_may_have_extents_whose_product_overflows() {
    // R17
    let shape = [usize::MAX, 3, 0];
    let frame =
        Codec::new().compress(TensorView::new(DType::F32, &shape, &[]).unwrap(), Policy::Default).unwrap();
    let frame = Frame::parse(frame.into_bytes()).unwrap();
    assert_eq!(frame.header().shape, shape);
    assert_eq!(frame.decompress().unwrap(), []);
}

#[test]
fn a_tensor_that_ends_early_is_an_error_that_says_so() {
    let error = Codec::new()
        .compress_from(DType::F32, &[10], &[0u8; 12][..], Policy::Exact, &mut Cursor::new(Vec::new()))
        .unwrap_err();
    assert!(error.to_string().contains("reading a tensor"), "{error}");
}

#[test]
fn gaussian_weights_shrink_below_a_quarter_at_the_default_bound() {
    // R15
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let bytes: Vec<u8> = (0..512 * 512)
        .flat_map(|_| ((0..12).map(|_| uniform()).sum::<f64>() as f32 - 6.0).to_le_bytes())
        .collect();
    let frame = Codec::new()
        .compress(TensorView::new(DType::F32, &[512, 512], &bytes).unwrap(), Policy::Default)
        .unwrap();
    assert_eq!(frame.header().family, Family::Grain);
    let ratio = frame.as_bytes().len() as f64 / bytes.len() as f64;
    assert!(ratio < 0.247, "{ratio}");
}
