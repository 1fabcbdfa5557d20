//! Every kernel this machine can run against the definition, and every version of the float product against one another.

use proptest::prelude::*;

use super::{BLOCK, IntQuery, Kernel, dot_f32, float};

/// The definition.
fn product(row: &[u8], codes: &[i8]) -> i32 {
    let sum =
        row.iter().zip(codes).map(|(&byte, &code)| (i64::from(byte) - 128) * i64::from(code)).sum::<i64>();
    i32::try_from(sum).unwrap()
}

fn query(stride: usize, codes: &[i8]) -> IntQuery {
    let mut query = IntQuery::with_stride(stride);
    query.fill(codes.iter().copied());
    query
}

/// Rows and a query of one stride. The rows begin anywhere: mapped files and buffers align as they like.
#[derive(Debug)]
struct Case {
    buffer: Vec<u8>,
    begin: usize,
    codes: Vec<i8>,
}

impl Case {
    fn rows(&self) -> &[u8] {
        &self.buffer[self.begin..]
    }

    fn stride(&self) -> usize {
        self.codes.len()
    }

    fn expected(&self) -> Vec<i32> {
        self.rows().chunks_exact(self.stride()).map(|row| product(row, &self.codes)).collect()
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let byte = || prop_oneof![4 => any::<u8>(), 1 => Just(0), 1 => Just(255), 1 => Just(128)];
    let code = prop_oneof![4 => -127..=127_i8, 1 => Just(-127), 1 => Just(127), 1 => Just(0)];
    let blocks = prop_oneof![8 => 1..=8_usize, 1 => 9..=64_usize];
    (blocks, 0..=9_usize, 0..BLOCK).prop_flat_map(move |(blocks, rows, begin)| {
        let stride = blocks * BLOCK;
        let buffer = prop::collection::vec(byte(), begin + rows * stride);
        let codes = prop::collection::vec(code.clone(), stride);
        (buffer, codes).prop_map(move |(buffer, codes)| Case { buffer, begin, codes })
    })
}

/// Finite, of very different sizes, so that the order of additions shows.
fn floats() -> impl Strategy<Value = Vec<f32>> {
    let float = prop_oneof![
        6 => -1.0..1.0_f32,
        2 => any::<f32>().prop_map(|x| if x.is_finite() { x } else { 1.0 }),
        1 => Just(0.0_f32),
        1 => Just(-0.0_f32),
    ];
    prop::collection::vec(float, 0..200)
}

proptest! {
    #[test]
    fn every_kernel_scans_to_the_products_of_the_definition(case in cases()) {
        let query = query(case.stride(), &case.codes);
        let expected = case.expected();
        for kernel in Kernel::available() {
            let mut out = vec![7; expected.len()];
            kernel.scan(case.rows(), &query, &mut out);
            prop_assert_eq!(&out, &expected, "{}", kernel.name());
        }
    }

    #[test]
    fn every_kernel_gathers_what_it_scans_and_marks_numbers_without_a_row(
        case in cases(),
        numbers in prop::collection::vec(prop_oneof![8 => 0..10_u32, 1 => any::<u32>(), 1 => Just(u32::MAX)], 0..70),
    ) {
        let query = query(case.stride(), &case.codes);
        let products = case.expected();
        let expected: Vec<i32> = numbers
            .iter()
            .map(|&number| products.get(number as usize).copied().unwrap_or(i32::MIN))
            .collect();
        for kernel in Kernel::available() {
            let mut out = vec![7; 3];
            kernel.gather(case.rows(), &query, &numbers, &mut out);
            prop_assert_eq!(&out, &expected, "{}", kernel.name());
        }
    }

    #[test]
    fn a_stored_row_as_the_query_is_the_query_of_its_codes(case in cases()) {
        let mut from_row = query(case.stride(), &case.codes);
        for row in case.rows().chunks_exact(case.stride()) {
            from_row.fill_from_row(row);
            let codes: Vec<i8> = row.iter().map(|&byte| (i16::from(byte) - 128) as i8).collect();
            for kernel in Kernel::available() {
                let mut out = vec![7; case.expected().len()];
                kernel.scan(case.rows(), &from_row, &mut out);
                let expected: Vec<i32> =
                    case.rows().chunks_exact(case.stride()).map(|row| product(row, &codes)).collect();
                prop_assert_eq!(&out, &expected, "{}", kernel.name());
            }
        }
    }

    #[test]
    fn every_version_of_the_float_product_answers_the_same_bits(a in floats(), b in floats()) {
        // Sixteen sums side by side over zero-padded vectors, then halves added to halves.
        let len = a.len().min(b.len());
        let element = |vector: &[f32], i: usize| if i < len { vector[i] } else { 0.0 };
        let mut sums = [0.0_f32; 16];
        for i in 0..len.next_multiple_of(16) {
            sums[i % 16] += element(&a, i) * element(&b, i);
        }
        let eight: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
        let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
        let expected = (four[0] + four[2]) + (four[1] + four[3]);
        for (name, dot) in float::versions() {
            let product = dot(&a, &b);
            let same = product.to_bits() == expected.to_bits() || (product.is_nan() && expected.is_nan());
            prop_assert!(same, "{name}: {product:e}, not {expected:e}");
        }
    }
}

#[test]
fn the_most_extreme_values_are_exact_at_every_stride() {
    for stride in (BLOCK..=4096).step_by(BLOCK) {
        for code in [-128, -127, 127] {
            let query = query(stride, &vec![code; stride]);
            // Five rows, so that a kernel's last group is not full.
            let rows: Vec<u8> = [0, 255, 128, 1, 0].iter().flat_map(|&byte| vec![byte; stride]).collect();
            let expected = [-128, 127, 0, -127, -128]
                .map(|value| i32::try_from(stride).unwrap() * value * i32::from(code));
            for kernel in Kernel::available() {
                let mut out = vec![7; 5];
                kernel.scan(&rows, &query, &mut out);
                assert_eq!(out, expected, "{} {stride} {code}", kernel.name());
                kernel.gather(&rows, &query, &[0, 1, 2, 3, 4], &mut out);
                assert_eq!(out, expected, "{} {stride} {code}", kernel.name());
            }
        }
    }
}

#[test]
fn a_query_that_is_filled_again_keeps_nothing_of_the_one_before() {
    let mut refilled = query(128, &[127; 128]);
    refilled.fill([1, -2].into_iter());
    let row: Vec<u8> = (0..128).collect();
    let mut out = [7];
    Kernel::best().scan(&row, &refilled, &mut out);
    assert_eq!(out[0], -128 + 2 * 127);
}

#[test]
fn codes_beyond_the_stride_are_left_out() {
    let query = query(64, &[1; 100]);
    let mut out = [7];
    Kernel::best().scan(&[129; 64], &query, &mut out);
    assert_eq!(out[0], 64);
}

#[test]
fn without_rows_a_gather_finds_none_and_a_scan_does_nothing() {
    let query = query(64, &[1; 64]);
    for kernel in Kernel::available() {
        let mut out = vec![7];
        kernel.gather(&[], &query, &[0, 1, u32::MAX], &mut out);
        assert_eq!(out, [i32::MIN; 3], "{}", kernel.name());
        kernel.gather(&[128; 64], &query, &[], &mut out);
        assert!(out.is_empty(), "{}", kernel.name());
        kernel.scan(&[], &query, &mut out);
    }
}

#[test]
fn a_row_that_is_cut_off_is_no_row() {
    let query = query(128, &[1; 128]);
    let rows = [129; 2 * 128 - 1];
    for kernel in Kernel::available() {
        let mut out = Vec::new();
        kernel.gather(&rows, &query, &[0, 1], &mut out);
        assert_eq!(out, [128, i32::MIN], "{}", kernel.name());
        // Past the assertion that a build for debugging makes.
        out = vec![7; 3];
        (kernel.scan)(&rows, &query, &mut out);
        assert_eq!(out, [128, 7, 7], "{}", kernel.name());
        (kernel.scan)(&[129; 128 * 3], &query, &mut out[..1]);
        assert_eq!(out, [128, 7, 7], "{}", kernel.name());
    }
}

#[test]
fn the_best_kernel_is_the_last_available_and_each_has_its_name() {
    let names: Vec<_> = Kernel::available().iter().map(Kernel::name).collect();
    assert_eq!(names[0], "portable");
    assert_eq!(names.last(), Some(&Kernel::best().name()));
    assert!(names.iter().enumerate().all(|(i, name)| !names[..i].contains(name)), "{names:?}");
}

#[test]
fn the_float_product_of_nothing_is_zero_and_the_shorter_vector_counts() {
    assert_eq!(dot_f32(&[], &[]).to_bits(), 0.0_f32.to_bits());
    assert_eq!(dot_f32(&[2.0, 3.0], &[5.0]).to_bits(), 10.0_f32.to_bits());
}
