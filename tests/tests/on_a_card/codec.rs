//! Frames, restored tensors and hashes are those of the processor, byte for byte.

use std::io::Cursor;

use end_to_end::queue::{FULL, codec_on};
use end_to_end::stand_in;
use end_to_end::weights::{KERNEL_TYPES, Kind, elements};
use gpu_probe::{DeviceMemory, KernelSetup};
use omnimind_memory::{CardQueue, DType, Policy, TensorView};
use softhair_compress::device::{DeviceCodec, runs_on_card};
use softhair_compress::{Codec, Frame};

use crate::{card, check_nothing_leaked, is_small, used_bytes, warm_up};

/// Lanes so small that a window has only a few chunks.
const NARROW: KernelSetup<'static> = KernelSetup { scratch_bytes: 2 << 20, staging_bytes: 2 << 20, ..FULL };

/// Compresses and restores on the card and on the processor, and compares. Returns the frame.
fn both_agree(
    gpu: &dyn DeviceMemory,
    codec: &mut DeviceCodec<CardQueue>,
    dtype: DType,
    shape: &[usize],
    bytes: &[u8],
    policy: Policy,
) -> Frame {
    let expected = Codec::new().compress(TensorView::new(dtype, shape, bytes).unwrap(), policy).unwrap();
    let held = gpu.allocate(0, bytes.len() as u64).unwrap();
    gpu.write(&held, 0, bytes).unwrap();
    codec.card().0.join().unwrap();
    let mut frame = Cursor::new(Vec::new());
    let header = codec.compress_to(dtype, shape, held.address(), policy, &mut frame).unwrap();
    let frame = frame.into_inner();
    let what = format!("{dtype} {shape:?} at {policy}");
    assert_eq!(&header, expected.header(), "{what}");
    assert!(frame == expected.as_bytes(), "{what}: {:?}", difference(&frame, expected.as_bytes()));

    gpu.write(&held, 0, &vec![0xee; bytes.len()]).unwrap();
    codec.card().0.join().unwrap();
    codec.restore_from(frame.as_slice(), held.address()).unwrap();
    let digest = codec.digest(held.address(), bytes.len() as u64).unwrap();
    let mut restored = vec![0; bytes.len()];
    gpu.read(&held, 0, &mut restored).unwrap();
    let by_processor = expected.decompress().unwrap();
    assert!(restored == by_processor, "{what}: {:?}", difference(&restored, &by_processor));
    assert_eq!(digest, blake3::hash(&by_processor), "{what}");
    gpu.free(held).unwrap();
    expected
}

fn difference(a: &[u8], b: &[u8]) -> String {
    let at = a.iter().zip(b).position(|(a, b)| a != b);
    format!("{} and {} bytes, the first that differs is {at:?}", a.len(), b.len())
}

#[test]
fn every_type_and_every_kind_of_tensor_gives_the_processor_s_bytes() {
    let Some(gpu) = card() else { return };
    let mut codec = codec_on(&**gpu, FULL);
    // Ends in the middle of a group; many chunks, or one and a bit of the next.
    let columns = if is_small() { 3_000 + 77 } else { 1_000_000 + 777 };
    for dtype in KERNEL_TYPES {
        for (seed, kind) in (1..).zip(Kind::ALL) {
            let shape = [3, columns];
            let bytes = elements(dtype, kind, 3 * columns, seed);
            assert!(runs_on_card(dtype, &shape, Policy::Default));
            both_agree(&**gpu, &mut codec, dtype, &shape, &bytes, Policy::Default);
        }
    }
}

#[test]
fn every_bound_gives_the_processor_s_bytes() {
    let Some(gpu) = card() else { return };
    let mut codec = codec_on(&**gpu, FULL);
    let columns = if is_small() { 700 } else { 123_457 };
    for (seed, bound) in (1..).zip([1e-4, 5e-4, 0.003, 0.02, 0.1, 0.5, 0.9]) {
        for dtype in KERNEL_TYPES {
            let bytes = elements(dtype, Kind::HeavyTailed, 4 * columns, seed);
            both_agree(&**gpu, &mut codec, dtype, &[4, columns], &bytes, Policy::RelL2(bound));
        }
    }
    for policy in [Policy::Exact, Policy::MaxAbs(1e-3)] {
        let bytes = elements(DType::F32, Kind::Normal, columns, 9);
        both_agree(&**gpu, &mut codec, DType::F32, &[columns], &bytes, policy);
    }
}

#[test]
fn windows_go_round_the_lanes() {
    let Some(gpu) = card() else { return };
    // On a card that computes while it copies, this is where an order that was only hoped for would show.
    let rows = if is_small() { 2 } else { 1_000 };
    let bytes = elements(DType::F32, Kind::Normal, rows * 65_536 + 300, 5);
    let mut codec = codec_on(&**gpu, NARROW);
    let rounds = if is_small() { 1 } else { 5 };
    for _ in 0..rounds {
        both_agree(&**gpu, &mut codec, DType::F32, &[1, rows * 65_536 + 300], &bytes, Policy::Default);
    }
    if !is_small() {
        both_agree(
            &**gpu,
            &mut codec_on(&**gpu, FULL),
            DType::F32,
            &[rows * 65_536 + 300],
            &bytes,
            Policy::Default,
        );
    }
}

#[test]
fn hashes_are_blake3_at_every_length_around_a_boundary() {
    let Some(gpu) = card() else { return };
    let (kib, mib) = (1 << 10, 1 << 20);
    let most = if is_small() { 2 * mib + 5 } else { 300 * mib + 5 };
    let bytes = elements(DType::F32, Kind::Uniform, most / 4 + 1, 7);
    let held = gpu.allocate(0, bytes.len() as u64).unwrap();
    gpu.write(&held, 0, &bytes).unwrap();
    let mut codec = codec_on(&**gpu, FULL);
    let lengths = [0, 1, mib, mib + 1, mib + 3 * kib + 7, 2 * mib - 3, 2 * mib, most];
    for length in lengths {
        let hash = codec.digest(held.address(), length as u64).unwrap();
        assert_eq!(hash, blake3::hash(&bytes[..length]), "{length} bytes");
    }
    let odd = codec.digest(held.address() + 4, mib as u64 + 9).unwrap();
    assert_eq!(odd, blake3::hash(&bytes[4..mib + 13]));
    gpu.free(held).unwrap();
}

#[test]
fn a_damaged_frame_is_refused_and_the_card_goes_on() {
    let Some(gpu) = card() else { return };
    let mut codec = codec_on(&**gpu, NARROW);
    let columns = if is_small() { 2_000 } else { 200_000 };
    let bytes = elements(DType::F32, Kind::Normal, 3 * columns, 3);
    let frame = both_agree(&**gpu, &mut codec, DType::F32, &[3, columns], &bytes, Policy::Default);
    let held = gpu.allocate(0, bytes.len() as u64).unwrap();
    let start = frame.header().header_bytes();
    let step = (frame.as_bytes().len() - start) / if is_small() { 8 } else { 100 };
    for at in (start..frame.as_bytes().len()).step_by(step) {
        let mut damaged = frame.as_bytes().to_vec();
        damaged[at] ^= 0xff;
        let refused = codec.restore_from(damaged.as_slice(), held.address());
        assert!(refused.is_err(), "byte {at} was changed and nobody noticed");
        codec.card().0.join().unwrap();
    }
    codec.restore_from(frame.as_bytes(), held.address()).unwrap();
    gpu.free(held).unwrap();
}

#[test]
fn a_queue_gives_back_all_that_it_took() {
    let Some(gpu) = card() else { return };
    warm_up(&gpu);
    let before = used_bytes(&**gpu);
    for _ in 0..if is_small() { 2 } else { 20 } {
        let codec = codec_on(&**gpu, FULL);
        if stand_in::is_here() {
            assert_eq!(used_bytes(&**gpu) - before, FULL.lanes as u64 * FULL.scratch_bytes);
        }
        drop(codec);
    }
    check_nothing_leaked(&**gpu, before);
}
