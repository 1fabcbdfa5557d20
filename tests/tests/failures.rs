//! A failure at any step leaves the item where it was, and nothing behind (R4).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{fs, path::Path};

use end_to_end::{Rig, context, minilm_slice, upload};
use gpu_probe::{DeviceMemory, Fault};
use omnimind_memory::{Consolidated, Error, ErrorClass, Item, NamedTensor, Policy, TensorData};

/// Consolidates two tensors, expecting failure, and checks that everything is as before.
fn fails(rig: &Rig, expected: &str) {
    let model = minilm_slice().unwrap();
    let item = Item::new("model", upload(&*rig.gpu, &model[..2]));
    let used = rig.used_bytes();
    let mut consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
    assert!(consolidated.outcomes.is_empty(), "{consolidated:?}");
    let failed = consolidated.failed.pop().unwrap();
    assert!(failed.error.to_string().contains(expected), "{}", failed.error);
    rig.gpu.clear_faults(0).unwrap();
    assert_eq!(rig.used_bytes(), used, "nothing was freed");
    for (tensor, original) in failed.item.tensors.iter().zip(&model) {
        let TensorData::Device(allocation) = &tensor.data else { panic!("the tensor left the device") };
        let mut bytes = vec![0; original.bytes.len()];
        rig.gpu.read(allocation, 0, &mut bytes).unwrap();
        assert!(bytes == original.bytes, "{} was harmed", tensor.name);
    }
    assert_eq!(rig.consolidator.stats().unwrap().total_consolidated, 0);
    assert_eq!(rig.consolidator.store().list(&omnimind_memory::Filter::default()).unwrap(), []);
    assert_eq!(temporaries(rig), Vec::<String>::new(), "nothing is left behind");
    // What failed can be done again with what was given back.
    let again = rig.consolidator.consolidate(vec![failed.item], &context("a"));
    assert!(again.failed.is_empty() && again.freed_bytes() > 0, "{again:?}");
    assert_eq!(rig.used_bytes(), 0);
}

fn temporaries(rig: &Rig) -> Vec<String> {
    let entries = fs::read_dir(rig.dir.path().join("store").join("tmp")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_device_that_cannot_be_read_gives_the_item_back_at_whichever_read_it_fails() {
    // R4
    for after in 0..4 {
        let rig = Rig::new();
        rig.gpu.inject(0, Fault::Read { after }).unwrap();
        fails(&rig, "GPU 0");
    }
}

#[test]
fn a_lost_device_gives_the_item_back() {
    // R4
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let item = Item::new("model", upload(&*rig.gpu, &model));
    rig.gpu.inject(0, Fault::DeviceLost).unwrap();
    let consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
    assert!(
        matches!(consolidated.failed[0].error, Error::Device { .. }),
        "{:?}",
        consolidated.failed[0].error
    );
    rig.gpu.clear_faults(0).unwrap();
    let again = rig
        .consolidator
        .consolidate(consolidated.failed.into_iter().map(|failed| failed.item).collect(), &context("a"));
    assert_eq!((again.outcomes.len(), rig.used_bytes()), (1, 0));
}

#[cfg(unix)]
#[test]
fn a_store_that_cannot_take_objects_gives_the_item_back() {
    // R4, R11
    let rig = Rig::new();
    let tmp = rig.dir.path().join("store").join("tmp");
    let aside = rig.dir.path().join("aside");
    fs::rename(&tmp, &aside).unwrap();
    let model = minilm_slice().unwrap();
    let item = Item::new("model", upload(&*rig.gpu, &model[..2]));
    let used = rig.used_bytes();
    let mut consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
    let failed = consolidated.failed.pop().unwrap();
    assert!(failed.error.to_string().contains("tmp"), "{}", failed.error);
    assert_eq!(rig.used_bytes(), used);
    fs::rename(&aside, &tmp).unwrap();
    let again = rig.consolidator.consolidate(vec![failed.item], &context("a"));
    assert_eq!((again.outcomes.len(), rig.used_bytes()), (1, 0));
}

#[test]
fn a_free_that_fails_is_reported_with_the_allocation_and_the_memory_is_stored() {
    // R4
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let item = Item::new("model", upload(&*rig.gpu, &model[..3]));
    rig.gpu.inject(0, Fault::Free { after: 1 }).unwrap();
    let Consolidated { mut outcomes, failed, .. } = rig.consolidator.consolidate(vec![item], &context("a"));
    assert!(failed.is_empty(), "the item is not lost, so it has not failed");
    let mut outcome = outcomes.remove(0);
    let held = outcome.still_held.pop().expect("an allocation");
    assert_eq!(held.tensor, model[1].name);
    assert!(
        held.message().contains("is stored") && held.message().contains("free the allocation again"),
        "{}",
        held.message()
    );
    assert_eq!(rig.used_bytes(), held.allocation.bytes(), "the others are free");
    assert_eq!(rig.consolidator.stats().unwrap().freed_bytes, outcome.freed_bytes);
    rig.consolidator.reactivate(&outcome.content_hash, &context("a")).unwrap();
    rig.gpu.free(held.allocation).unwrap();
    assert_eq!(rig.used_bytes(), 0);
}

#[test]
fn bringing_back_onto_a_gpu_that_fails_leaks_nothing() {
    // R4, R7
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let item = Item::new("model", model.iter().map(end_to_end::StoredTensor::named).collect());
    let hash = rig.consolidator.consolidate(vec![item], &context("a")).outcomes[0].content_hash;
    for fault in [
        Fault::Allocation { after: 0 },
        Fault::Allocation { after: 5 },
        Fault::Write { after: 0 },
        Fault::Write { after: 7 },
    ] {
        rig.gpu.inject(0, fault).unwrap();
        let error = rig.consolidator.reactivate_on_device(&hash, &context("b")).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{fault:?}: {error}");
        assert_eq!(rig.used_bytes(), 0, "{fault:?}");
        rig.gpu.clear_faults(0).unwrap();
    }
    assert_eq!(rig.consolidator.traced_by(&context("b")).unwrap(), [], "nobody recalled it");

    rig.gpu.inject(0, Fault::Write { after: 7 }).unwrap();
    rig.gpu.inject(0, Fault::Free { after: 0 }).unwrap();
    match rig.consolidator.reactivate_on_device(&hash, &context("b")).unwrap_err() {
        Error::NotUndone { source, still_held } => {
            assert!(matches!(*source, Error::Device { .. }));
            for held in still_held {
                rig.gpu.free(held.allocation).unwrap();
            }
        }
        other => panic!("{other}"),
    }
    assert_eq!(rig.used_bytes(), 0);
}

#[test]
fn a_tensor_on_a_device_needs_a_gpu() {
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let bare = omnimind_memory::Consolidator::builder().store(rig.dir.path().join("bare")).build().unwrap();
    let item = Item::new("model", upload(&*rig.gpu, &model[..1]));
    let consolidated = bare.consolidate(vec![item], &context("a"));
    assert!(matches!(consolidated.failed[0].error, Error::NoGpu { .. }));
    assert_eq!(consolidated.failed[0].item.tensors.len(), 1);
}

#[test]
fn a_flipped_byte_is_reported_with_the_memory_it_belongs_to_and_storing_again_heals_it() {
    // R11
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let item = || Item::new("model", model[..3].iter().map(end_to_end::StoredTensor::named).collect());
    let outcome = rig.consolidator.consolidate(vec![item()], &context("a")).outcomes.remove(0);
    let memory = rig.consolidator.store().manifest(&outcome.content_hash).unwrap();
    let hex = memory.tensors[1].object.hash.to_string();
    let object = rig.dir.path().join("store/objects").join(&hex[..2]).join(&hex[2..]);
    let bytes = fs::read(&object).unwrap();
    for at in [0, 9, 40, 70, 100, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        overwrite(&object, &flipped);
        let error = rig.consolidator.reactivate(&outcome.content_hash, &context("a")).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Damaged, "byte {at}: {error}");
        let text = error.to_string();
        assert!(text.contains(&outcome.content_hash.to_string()) && text.contains(&model[1].name), "{text}");
        let streamed = rig.consolidator.reactivate_each(&outcome.content_hash, &context("a"), |tensor| {
            tensor.write_to(&mut std::io::sink())
        });
        assert_eq!(streamed.unwrap_err().class(), ErrorClass::Damaged, "byte {at}, streamed");
        let report = rig.consolidator.store().verify(false).unwrap();
        assert_eq!(report.damaged_objects[0].memories, [outcome.content_hash]);

        let again = rig.consolidator.consolidate(vec![item()], &context("a"));
        assert!(again.failed.is_empty(), "{:?}", again.failed);
        assert_eq!(fs::read(&object).unwrap(), bytes, "the object is whole again");
        rig.consolidator.reactivate(&outcome.content_hash, &context("a")).unwrap();
    }
}

#[test]
fn a_gpu_s_content_is_not_freed_on_the_word_of_a_damaged_memory() {
    // R4, R11
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let exact = |tensors: Vec<NamedTensor<'static>>| {
        let mut item = Item::new("model", tensors);
        item.policy = Some(Policy::Exact);
        item
    };
    let first = rig.consolidator.consolidate(vec![exact(upload(&*rig.gpu, &model[..2]))], &context("a"));
    let hash = first.outcomes[0].content_hash;
    let hex = rig.consolidator.store().manifest(&hash).unwrap().tensors[0].object.hash.to_string();
    fs::remove_file(rig.dir.path().join("store/objects").join(&hex[..2]).join(&hex[2..])).unwrap();

    let again = rig.consolidator.consolidate(vec![exact(upload(&*rig.gpu, &model[..2]))], &context("a"));
    assert_eq!((again.outcomes[0].content_hash, rig.used_bytes()), (hash, 0));
    let back = rig.consolidator.reactivate(&hash, &context("a")).unwrap();
    assert!(back.tensors[0].bytes == model[0].bytes, "what was freed can be brought back");
}

/// Objects may be read-only files.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
