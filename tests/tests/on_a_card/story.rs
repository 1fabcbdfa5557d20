//! The whole way through the facade: off the card into a store, and back, as with a processor alone.

use std::sync::Arc;

use end_to_end::context;
use end_to_end::stand_in;
use end_to_end::weights::{KERNEL_TYPES, Kind, elements, rel_l2_of};
use gpu_probe::{DeviceMemory, GpuProbe, SimulatedGpu};
use memory_store::Memory;
use omnimind_memory::{Consolidator, ContentHash, DType, Item, NamedTensor, Outcome};

use crate::{card, check_nothing_leaked, is_small, used_bytes};

const BOUND: f64 = 0.006;

struct Original {
    name: String,
    dtype: DType,
    shape: [usize; 2],
    bytes: Vec<u8>,
}

/// A tensor of each type that there are kernels for, and one that there are none for.
fn originals() -> Vec<Original> {
    let columns = if is_small() { 16_000 } else { 2_000_003 };
    let one = |(seed, dtype): (u64, DType)| {
        // Large enough to be hashed by kernels.
        let columns = if dtype == DType::F32 { 18 * columns / 4 } else { columns };
        let bytes = elements(dtype, Kind::Normal, 4 * columns, seed);
        Original { name: format!("w{seed}"), dtype, shape: [4, columns], bytes }
    };
    let mut originals: Vec<_> = (1..).zip(KERNEL_TYPES).map(one).collect();
    let bytes = (0..4_000).flat_map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    originals.push(Original { name: "steps".into(), dtype: DType::I64, shape: [40, 100], bytes });
    originals
}

fn upload(gpu: &dyn DeviceMemory, originals: &[Original]) -> Item<'static> {
    let one = |original: &Original| {
        let held = gpu.allocate(0, original.bytes.len() as u64).unwrap();
        gpu.write(&held, 0, &original.bytes).unwrap();
        NamedTensor::device(&original.name, original.dtype, original.shape, held)
    };
    Item::new("model", originals.iter().map(one).collect())
}

/// Consolidates everything, and checks that it left the card.
fn consolidate(consolidator: &Consolidator, gpu: &dyn DeviceMemory, originals: &[Original]) -> Outcome {
    let before = used_bytes(gpu);
    let item = upload(gpu, originals);
    let bytes = item.original_bytes();
    let mut consolidated = consolidator.consolidate(vec![item], &context("trainer"));
    assert!(consolidated.failed.is_empty(), "{:?}", consolidated.failed);
    let outcome = consolidated.outcomes.pop().unwrap();
    assert!(outcome.still_held.is_empty() && outcome.warning.is_none(), "{outcome:?}");
    // A simulated card counts whole pages.
    assert!(outcome.original_bytes == bytes && outcome.freed_bytes >= bytes, "{outcome:?}");
    check_nothing_leaked(gpu, before);
    outcome
}

fn objects(consolidator: &Consolidator, hash: &ContentHash) -> (Memory, Vec<Vec<u8>>) {
    let store = consolidator.store();
    let memory = store.manifest(hash).unwrap();
    let read = |tensor: &memory_store::Tensor| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut store.read_object(&tensor.object).unwrap(), &mut bytes).unwrap();
        bytes
    };
    let objects = memory.tensors.iter().map(read).collect();
    (memory, objects)
}

#[test]
fn what_the_card_stores_is_what_the_processor_stores_and_comes_back() {
    let Some(gpu) = card() else { return };
    let originals = originals();
    let dir = tempfile::tempdir().unwrap();
    let before = used_bytes(&**gpu);
    let on_card = Consolidator::builder().store(dir.path().join("card")).gpu(gpu.clone()).build().unwrap();
    let outcome = consolidate(&on_card, &**gpu, &originals);
    if stand_in::is_here() {
        // Surveying, encoding, counting and gathering of three tensors, at least; hashing of one, before and after.
        assert!(stand_in::launches() > 3 * 4 + 2, "{} launches", stand_in::launches());
    }

    let simulated = Arc::new(SimulatedGpu::default());
    let by_processor =
        Consolidator::builder().store(dir.path().join("processor")).gpu(simulated.clone()).build().unwrap();
    let expected = consolidate(&by_processor, &*simulated, &originals);
    assert_eq!(outcome.content_hash, expected.content_hash);
    let (memory, stored) = objects(&on_card, &outcome.content_hash);
    let (expected_memory, expected_stored) = objects(&by_processor, &outcome.content_hash);
    for (tensor, expected) in memory.tensors.iter().zip(&expected_memory.tensors) {
        assert_eq!((&tensor.name, tensor.object), (&expected.name, expected.object));
    }
    assert!(stored == expected_stored);

    // Each restores what the other has stored as well.
    for (consolidator, gpu) in [(&on_card, &**gpu as &dyn DeviceMemory), (&by_processor, &*simulated)] {
        let restored = consolidator.reactivate(&outcome.content_hash, &context("trainer")).unwrap();
        let back = consolidator.reactivate_on_device(&outcome.content_hash, &context("trainer")).unwrap();
        assert!(back.warning.is_none());
        for ((tensor, original), restored) in back.tensors.into_iter().zip(&originals).zip(restored.tensors) {
            let mut bytes = vec![0; original.bytes.len()];
            gpu.read(&tensor.allocation, 0, &mut bytes).unwrap();
            assert!(bytes == restored.bytes, "{}", tensor.name);
            if original.dtype == DType::I64 {
                assert!(bytes == original.bytes);
            } else {
                let error = rel_l2_of(original.dtype, &original.bytes, &bytes);
                assert!(error > 0.0 && error <= BOUND, "{}: {error}", tensor.name);
            }
            gpu.free(tensor.allocation).unwrap();
        }
    }
    assert_eq!(on_card.notices(), by_processor.notices());
    drop(on_card);
    check_nothing_leaked(&**gpu, before);
    assert_eq!(simulated.memory(0).unwrap().used_bytes, 0);
}

#[test]
fn going_there_and_back_again_and_again_leaks_nothing() {
    let Some(gpu) = card() else { return };
    let dir = tempfile::tempdir().unwrap();
    let originals = if is_small() { originals().split_off(2) } else { originals() };
    let consolidator =
        Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone()).build().unwrap();
    let first = consolidate(&consolidator, &**gpu, &originals).content_hash;
    let before = used_bytes(&**gpu);
    let mut hash = first;
    for _ in 0..if is_small() { 2 } else { 20 } {
        let back = consolidator.reactivate_on_device(&hash, &context("trainer")).unwrap();
        let item = Item::new("model", back.tensors.into_iter().map(NamedTensor::from).collect());
        let mut consolidated = consolidator.consolidate(vec![item], &context("trainer"));
        assert!(consolidated.failed.is_empty(), "{:?}", consolidated.failed);
        hash = consolidated.outcomes.remove(0).content_hash;
        check_nothing_leaked(&**gpu, before);
    }
}
