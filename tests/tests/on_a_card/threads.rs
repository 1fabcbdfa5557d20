//! Several threads on one card: each with lanes of its own, and all with one consolidator.

use end_to_end::context;
use end_to_end::queue::{FULL, codec_on};
use end_to_end::weights::{KERNEL_TYPES, Kind, elements};
use gpu_probe::{DeviceMemory, KernelSetup};
use omnimind_memory::{Consolidator, Item, NamedTensor, Policy, TensorView};
use softhair_compress::Codec;

use crate::{card, check_nothing_leaked, is_small, used_bytes};

const THREADS: usize = 4;

#[test]
fn queues_of_several_threads_do_not_disturb_each_other() {
    let Some(gpu) = card() else { return };
    let gpu = &**gpu;
    drop(codec_on(gpu, FULL));
    let before = used_bytes(gpu);
    let columns = if is_small() { 1_500 } else { 3_000_000 };
    let one = |thread: usize| {
        let setup =
            KernelSetup { lanes: 1 + thread % 3, scratch_bytes: 6 << 20, staging_bytes: 6 << 20, ..FULL };
        let mut codec = codec_on(gpu, setup);
        let dtype = KERNEL_TYPES[thread % 3];
        let bytes = elements(dtype, Kind::Normal, 4 * columns, thread as u64);
        let shape = [4, columns];
        let view = TensorView::new(dtype, &shape, &bytes).unwrap();
        let expected = Codec::new().compress(view, Policy::Default).unwrap();
        let by_processor = expected.decompress().unwrap();
        let held = gpu.allocate(0, bytes.len() as u64).unwrap();
        for _ in 0..if is_small() { 1 } else { 8 } {
            gpu.write(&held, 0, &bytes).unwrap();
            codec.card().0.join().unwrap();
            let mut frame = std::io::Cursor::new(Vec::new());
            codec.compress_to(dtype, &[4, columns], held.address(), Policy::Default, &mut frame).unwrap();
            assert!(frame.get_ref() == expected.as_bytes(), "thread {thread}");
            codec.restore_from(frame.get_ref().as_slice(), held.address()).unwrap();
            let mut restored = vec![0; bytes.len()];
            gpu.read(&held, 0, &mut restored).unwrap();
            assert!(restored == by_processor, "thread {thread}");
        }
        gpu.free(held).unwrap();
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || one(thread))).collect();
        for thread in started {
            thread.join().unwrap();
        }
    });
    check_nothing_leaked(gpu, before);
}

#[test]
fn several_threads_consolidate_with_one_consolidator() {
    let Some(gpu) = card() else { return };
    let dir = tempfile::tempdir().unwrap();
    let consolidator = Consolidator::builder().store(dir.path()).gpu(gpu.clone()).build().unwrap();
    let (gpu, consolidator) = (&**gpu, &consolidator);
    let before = used_bytes(gpu);
    let columns = if is_small() { 1_000 } else { 1_000_000 };
    let one = |thread: usize| {
        for round in 0..if is_small() { 1 } else { 5 } {
            let dtype = KERNEL_TYPES[thread % 3];
            let bytes = elements(dtype, Kind::Normal, 4 * columns, (10 * thread + round) as u64);
            let held = gpu.allocate(0, bytes.len() as u64).unwrap();
            gpu.write(&held, 0, &bytes).unwrap();
            let tensor = NamedTensor::device("w", dtype, [4, columns], held);
            let mut done =
                consolidator.consolidate(vec![Item::new("model", vec![tensor])], &context("trainer"));
            assert!(done.failed.is_empty(), "{:?}", done.failed);
            let hash = done.outcomes.remove(0).content_hash;
            let mut back = consolidator.reactivate_on_device(&hash, &context("trainer")).unwrap();
            let expected = consolidator.reactivate(&hash, &context("trainer")).unwrap();
            let tensor = back.tensors.remove(0);
            let mut restored = vec![0; bytes.len()];
            gpu.read(&tensor.allocation, 0, &mut restored).unwrap();
            assert!(restored == expected.tensors[0].bytes, "thread {thread}");
            gpu.free(tensor.allocation).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || one(thread))).collect();
        for thread in started {
            thread.join().unwrap();
        }
    });
    assert_eq!(consolidator.notices(), []);
    check_nothing_leaked(gpu, before);
}
