//! Tensors of a framework are consolidated where they lie, and go back to it after the commit and not before (R3, R4).
#![expect(unsafe_code, reason = "frameworks hand over addresses")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    ffi::c_void,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use encrypted_unconscious::Identity;
use end_to_end::{CatalogueFault, FaultyCatalogue, Rig, StoredTensor, context, minilm_slice, rel_l2};
use gpu_probe::{Allocation, DeviceMemory, Fault, GpuProbe, SimulatedCard, SimulatedGpu};
use memory_store::{Options, Store};
use omnimind_memory::{
    CudaArrayInterface, DLDataType, DLDevice, DLManagedTensor, DLTensor, Error, Filter, Item, Layer,
    NamedTensor, Signals,
};

/// What a framework keeps behind a capsule.
struct Context {
    gpu: Arc<SimulatedGpu>,
    allocation: Mutex<Option<Allocation>>,
    shape: Vec<i64>,
    /// Where to look whether the memory was durable when the deleter was called.
    store: Store,
    deleted: Arc<Deleted>,
}

#[derive(Default)]
struct Deleted {
    times: AtomicUsize,
    before_the_commit: AtomicUsize,
}

unsafe extern "C" fn delete(tensor: *mut DLManagedTensor) {
    // SAFETY: both were leaked by `export`, and a deleter is called once.
    let framework = unsafe { Box::from_raw(Box::from_raw(tensor).manager_ctx.cast::<Context>()) };
    framework.deleted.times.fetch_add(1, Ordering::SeqCst);
    if framework.store.list(&Filter::default()).unwrap().is_empty() {
        framework.deleted.before_the_commit.fetch_add(1, Ordering::SeqCst);
    }
    if let Some(allocation) = framework.allocation.lock().unwrap().take() {
        drop(framework.gpu.free(allocation));
    }
}

/// A tensor on card `device` as a framework hands it over.
fn export(
    rig: &Rig,
    gpu: &Arc<SimulatedGpu>,
    device: u32,
    tensor: &StoredTensor,
    deleted: &Arc<Deleted>,
) -> *mut DLManagedTensor {
    let allocation = gpu.allocate(device, tensor.bytes.len() as u64).unwrap();
    gpu.write(&allocation, 0, &tensor.bytes).unwrap();
    let address = allocation.address();
    let mut framework = Box::new(Context {
        gpu: gpu.clone(),
        allocation: Mutex::new(Some(allocation)),
        shape: tensor.shape.iter().map(|&extent| extent as i64).collect(),
        store: rig.consolidator.store().clone(),
        deleted: deleted.clone(),
    });
    let dl_tensor = DLTensor {
        data: address as *mut c_void,
        device: DLDevice { device_type: 2, device_id: device as i32 },
        ndim: framework.shape.len() as i32,
        dtype: DLDataType { code: 2, bits: 32, lanes: 1 },
        shape: framework.shape.as_mut_ptr(),
        strides: std::ptr::null_mut(),
        byte_offset: 0,
    };
    let manager_ctx = Box::into_raw(framework).cast();
    Box::into_raw(Box::new(DLManagedTensor { dl_tensor, manager_ctx, deleter: Some(delete) }))
}

fn imported(
    rig: &Rig,
    gpu: &Arc<SimulatedGpu>,
    device: u32,
    model: &[StoredTensor],
) -> (Item<'static>, Arc<Deleted>) {
    let deleted = Arc::new(Deleted::default());
    let tensors = model.iter().map(|tensor| {
        let export = export(rig, gpu, device, tensor, &deleted);
        // SAFETY: a valid struct that nobody else consumes, over memory that nobody writes to.
        unsafe { NamedTensor::from_dlpack(&tensor.name, export) }.unwrap()
    });
    (Item::new("model", tensors.collect()), deleted)
}

fn times(deleted: &Deleted) -> usize {
    deleted.times.load(Ordering::SeqCst)
}

#[test]
fn a_framework_s_tensors_are_consolidated_without_a_copy_and_go_back_after_the_commit() {
    // R3, R4
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let (item, deleted) = imported(&rig, &rig.gpu, 0, &model);
    let used = rig.used_bytes();
    let consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
    let outcome = &consolidated.outcomes[0];
    assert_eq!((times(&deleted), deleted.before_the_commit.load(Ordering::SeqCst)), (model.len(), 0));
    assert_eq!((outcome.freed_bytes, outcome.released_to_owner_bytes), (0, outcome.original_bytes));
    assert!(used > 0 && outcome.warning.is_none());
    assert_eq!(rig.used_bytes(), 0, "the framework has freed it");
    assert_eq!(rig.consolidator.stats().unwrap().freed_bytes, 0, "which is not this consolidator's merit");
    let back = rig.consolidator.reactivate(&outcome.content_hash, &context("a")).unwrap();
    for (tensor, original) in back.tensors.iter().zip(&model) {
        assert!(rel_l2(tensor.dtype, &original.bytes, &tensor.bytes) <= 0.006, "{}", tensor.name);
    }
}

#[test]
fn what_fails_keeps_its_owner_and_can_be_tried_again() {
    // R4
    let dir = tempfile::tempdir().unwrap();
    let (objects, catalogue) = Store::parts(dir.path(), &Options::default()).unwrap();
    let catalogue = Arc::new(FaultyCatalogue::new(catalogue));
    let rig = Rig::with(|builder| builder.over(Store::over(Arc::new(objects), catalogue.clone())));
    let model = minilm_slice().unwrap();
    let (mut item, deleted) = imported(&rig, &rig.gpu, 0, &model[..2]);
    let used = rig.used_bytes();
    let faults = [
        Some(Fault::Read { after: 0 }),
        Some(Fault::Read { after: 2 }),
        Some(Fault::Ecc { after: 3 }),
        Some(Fault::LostAfterReads { after: 1 }),
        Some(Fault::DeviceLost),
        None,
    ];
    for fault in faults {
        match fault {
            Some(fault) => rig.gpu.inject(0, fault).unwrap(),
            None => catalogue.set(Some(CatalogueFault::Commit)),
        }
        let mut consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
        let failed = consolidated.failed.pop().unwrap();
        assert!(
            matches!(failed.error, Error::Device { .. } | Error::Store(_)),
            "{fault:?}: {}",
            failed.error
        );
        item = failed.item;
        rig.gpu.clear_faults(0).unwrap();
        catalogue.set(None);
        assert_eq!((times(&deleted), rig.used_bytes()), (0, used), "{fault:?}");
    }
    let consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
    assert_eq!((consolidated.outcomes.len(), times(&deleted), rig.used_bytes()), (1, 2, 0));
    assert_eq!(deleted.before_the_commit.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_dropped_unconsolidated_goes_back_once() {
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let (item, deleted) = imported(&rig, &rig.gpu, 0, &model[..3]);
    drop(item);
    assert_eq!((times(&deleted), rig.used_bytes()), (3, 0));
}

#[test]
fn a_tensor_may_be_on_another_card_than_the_consolidator_s() {
    let gpu = Arc::new(SimulatedGpu::with_cards([SimulatedCard::default(), SimulatedCard::default()]));
    let rig = Rig::with(|builder| builder.gpu(gpu.clone()));
    let model = minilm_slice().unwrap();
    let (item, deleted) = imported(&rig, &gpu, 1, &model[..1]);
    let consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
    assert_eq!((consolidated.outcomes.len(), times(&deleted)), (1, 1), "{consolidated:?}");
    assert_eq!(gpu.memory(1).unwrap().used_bytes, 0);
}

#[test]
fn a_traumatic_tensor_of_a_framework_is_sealed_and_goes_back() {
    // R19
    let keyholder = Identity::generate().recipient().clone();
    let rig = Rig::with(|builder| builder.keyholder(keyholder));
    let model = minilm_slice().unwrap();
    let (mut item, deleted) = imported(&rig, &rig.gpu, 0, &model[..1]);
    item.signals = Signals {
        error_type: Some("fatal crash".to_owned()),
        severity: Some("high".to_owned()),
        ..Signals::default()
    };
    let consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
    assert_eq!(consolidated.outcomes[0].layer, Layer::Unconscious);
    assert_eq!((times(&deleted), rig.used_bytes()), (1, 0));
}

#[test]
fn a_cuda_array_is_consolidated_with_whatever_keeps_it_alive() {
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let tensor = &model[0];
    let allocation = rig.gpu.allocate(0, tensor.bytes.len() as u64).unwrap();
    rig.gpu.write(&allocation, 0, &tensor.bytes).unwrap();
    let array: CudaArrayInterface = serde_json::from_value(serde_json::json!({
        "shape": tensor.shape, "typestr": "<f4", "data": [allocation.address(), true], "strides": null,
        "version": 3, "stream": 1,
    }))
    .unwrap();
    let owner = Arc::new(());
    // SAFETY: the allocation outlives the tensor.
    let tensor = unsafe { array.check("w").unwrap().tensor(0, owner.clone()) };
    let consolidated = rig.consolidator.consolidate(vec![Item::new("model", vec![tensor])], &context("a"));
    assert_eq!(consolidated.released_to_owner_bytes(), model[0].bytes.len() as u64);
    assert_eq!(Arc::strong_count(&owner), 1, "the owner was let go");
    rig.gpu.free(allocation).unwrap();
    assert_eq!(rig.used_bytes(), 0);
}

#[test]
fn memory_that_the_card_does_not_know_is_refused_and_kept() {
    let rig = Rig::new();
    let owner = Arc::new(());
    // SAFETY: a simulated card looks addresses up and follows none.
    let tensor =
        unsafe { NamedTensor::borrowed("w", omnimind_memory::DType::F32, [4], 0, 12_345, owner.clone()) };
    let consolidated = rig.consolidator.consolidate(vec![Item::new("model", vec![tensor])], &context("a"));
    assert!(matches!(consolidated.failed[0].error, Error::Device { .. }), "{consolidated:?}");
    assert_eq!(Arc::strong_count(&owner), 2);
}

#[test]
fn an_owner_that_panics_takes_no_other_item_with_it() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("an owner in a bad mood");
        }
    }
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let allocation = rig.gpu.allocate(0, 4).unwrap();
    // SAFETY: the allocation outlives the tensor.
    let moody = unsafe {
        NamedTensor::borrowed("w", omnimind_memory::DType::F32, [1], 0, allocation.address(), Panics)
    };
    let (item, deleted) = imported(&rig, &rig.gpu, 0, &model[..1]);
    let items = vec![Item::new("model", vec![moody]), item];
    let consolidated = rig.consolidator.consolidate(items, &context("a"));
    assert_eq!((consolidated.outcomes.len(), times(&deleted)), (2, 1));
    assert!(consolidated.outcomes[0].warning.as_ref().unwrap().contains("panicked"));
}
