//! A card that fails in the middle of consolidating: what it held is stored all the same, or handed back as it was. A stand-in for the
//! driver fails, and an emulator computes until then; `on_a_card` has what must hold while nothing fails.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::Arc;

use end_to_end::weights::{Kind, elements};
use end_to_end::{context, stand_in};
use gpu_probe::{CudaGpu, DeviceMemory, Error as CardError, GpuProbe};
use omnimind_memory::{Consolidator, DType, Error, Failed, Item, NamedTensor, Notice, TensorData};

const SHAPE: [usize; 2] = [3, 10_000];
/// `CUDA_ERROR_ECC_UNCORRECTABLE`, `CUDA_ERROR_ILLEGAL_ADDRESS` and `CUDA_ERROR_UNKNOWN`.
const UNCORRECTABLE: i32 = 214;
const ILLEGAL_ADDRESS: i32 = 700;
const UNKNOWN: i32 = 999;

/// Runs one of the tests below with a stand-in that fails like this; `None` without a C compiler.
fn with(mode: &str, inside: &str) -> Option<String> {
    let folder = stand_in::build(env!("CARGO_TARGET_TMPDIR"), inside)?;
    Some(stand_in::run(&folder, mode, inside))
}

#[test]
fn kernels_that_cannot_be_launched_are_done_without_and_the_owner_is_told() {
    let Some(text) = with("", "inside_a_card_that_refuses_a_kernel") else { return };
    stand_in::check_nothing_is_left(&text);
}

#[test]
fn a_card_whose_memory_rots_hands_its_items_back_and_stores_nothing() {
    let Some(text) = with("", "inside_a_card_whose_memory_rots") else { return };
    stand_in::check_nothing_is_left(&text);
}

#[test]
fn a_kernel_that_breaks_the_card_hands_the_item_back_and_stores_nothing() {
    let Some(text) = with("", "inside_a_card_that_a_kernel_breaks") else { return };
    stand_in::check_nothing_is_left(&text);
    // Here nothing can be given back any more.
    with("fault", "inside_a_card_that_is_gone_afterwards");
}

#[test]
fn a_memory_whose_kernels_fail_comes_back_by_the_processor_or_takes_nothing_of_the_card() {
    let Some(text) = with("", "inside_a_card_that_fails_to_restore") else { return };
    stand_in::check_nothing_is_left(&text);
}

struct Setup {
    _dir: tempfile::TempDir,
    gpu: Arc<CudaGpu>,
    consolidator: Consolidator,
    bytes: Vec<u8>,
}

impl Setup {
    /// `None` if this program was not started again by the tests above.
    fn new() -> Option<Self> {
        if !stand_in::is_here() {
            return None;
        }
        let (gpu, dir) = (stand_in::gpu(), tempfile::tempdir().unwrap());
        let consolidator = Consolidator::builder().store(dir.path()).gpu(gpu.clone()).build().unwrap();
        Some(Self {
            _dir: dir,
            gpu,
            consolidator,
            bytes: elements(DType::F32, Kind::Normal, SHAPE[0] * SHAPE[1], 1),
        })
    }

    fn item(&self) -> Item<'static> {
        let held = self.gpu.allocate(0, self.bytes.len() as u64).unwrap();
        self.gpu.write(&held, 0, &self.bytes).unwrap();
        Item::new("model", vec![NamedTensor::device("w", DType::F32, SHAPE, held)])
    }

    /// Consolidates an item, which must fail, and nothing of which may be stored.
    fn fails(&self) -> Failed<'static> {
        let mut done = self.consolidator.consolidate(vec![self.item()], &context("trainer"));
        assert!(done.outcomes.is_empty(), "{:?}", done.outcomes);
        assert_eq!(self.consolidator.stats().unwrap().total_consolidated, 0);
        done.failed.remove(0)
    }

    /// Consolidates what was handed back, and checks what is stored.
    fn works(&self, item: Item<'static>) {
        let mut done = self.consolidator.consolidate(vec![item], &context("trainer"));
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        let outcome = done.outcomes.remove(0);
        assert_eq!(outcome.freed_bytes, self.bytes.len() as u64);
        let restored = self.consolidator.reactivate(&outcome.content_hash, &context("trainer")).unwrap();
        // As a processor alone stores it.
        let dir = tempfile::tempdir().unwrap();
        let alone = Consolidator::builder().store(dir.path()).build().unwrap();
        let item = Item::new("model", vec![NamedTensor::host("w", DType::F32, SHAPE, self.bytes.as_slice())]);
        let expected = alone.consolidate(vec![item], &context("trainer")).outcomes.remove(0);
        assert_eq!(outcome.content_hash, expected.content_hash);
        let expected = alone.reactivate(&expected.content_hash, &context("trainer")).unwrap();
        assert!(restored.tensors[0].bytes == expected.tensors[0].bytes);
    }

    fn contents(&self, item: &Item<'_>) -> Vec<u8> {
        let TensorData::Device(held) = &item.tensors[0].data else { panic!("it is on the card") };
        let mut bytes = vec![0; self.bytes.len()];
        self.gpu.read(held, 0, &mut bytes).unwrap();
        bytes
    }
}

/// What the card said, however deep it is.
fn of_the_card<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e CardError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_that_refuses_a_kernel() {
    let Some(setup) = Setup::new() else { return };
    // The survey runs, and encoding is refused.
    stand_in::refuse_launches(1, UNKNOWN);
    setup.works(setup.item());
    let notices = setup.consolidator.notices();
    assert!(matches!(&notices[..], [Notice::WithoutKernels { device: 0, .. }, ..]), "{notices:?}");
    assert!(notices[0].to_string().contains("grain_encode_f32"), "{}", notices[0]);

    // It was passing: the next one is computed on the card.
    stand_in::refuse_launches(usize::MAX, 0);
    let launched = stand_in::launches();
    let mut item = setup.item();
    item.kind = "another".into();
    assert!(setup.consolidator.consolidate(vec![item], &context("trainer")).failed.is_empty());
    assert!(stand_in::launches() >= launched + 4);
    assert_eq!(setup.consolidator.notices(), []);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_whose_memory_rots() {
    let Some(setup) = Setup::new() else { return };
    stand_in::refuse_launches(2, UNCORRECTABLE);
    let failed = setup.fails();
    let said = of_the_card(&failed.error);
    assert!(matches!(said, Some(CardError::Uncorrectable { device: 0 })), "{:?}", failed.error);
    // Copies still work on this one. Its kernels are not trusted any more.
    let launched = stand_in::launches();
    assert!(setup.contents(&failed.item) == setup.bytes);
    setup.works(failed.item);
    assert_eq!(stand_in::launches(), launched);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_that_a_kernel_breaks() {
    let Some(setup) = Setup::new() else { return };
    stand_in::refuse_launches(3, ILLEGAL_ADDRESS);
    let failed = setup.fails();
    let said = of_the_card(&failed.error);
    assert!(matches!(said, Some(CardError::Broken { device: 0, .. })), "{:?}", failed.error);
    assert!(failed.error.to_string().contains("\"w\""), "{}", failed.error);
    assert!(setup.contents(&failed.item) == setup.bytes);
    setup.works(failed.item);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_that_is_gone_afterwards() {
    let Some(setup) = Setup::new() else { return };
    let failed = setup.fails();
    let said = of_the_card(&failed.error);
    assert!(matches!(said, Some(CardError::Broken { device: 0, .. })), "{:?}", failed.error);
    let TensorData::Device(held) = &failed.item.tensors[0].data else { panic!("it is on the card") };
    let refused = setup.gpu.read(held, 0, &mut [0]).unwrap_err();
    assert!(matches!(refused, CardError::Broken { .. }), "{refused}");
    // What is in host memory is consolidated as before.
    let item = Item::new("model", vec![NamedTensor::host("w", DType::F32, SHAPE, setup.bytes.as_slice())]);
    let done = setup.consolidator.consolidate(vec![item], &context("trainer"));
    assert!(done.failed.is_empty(), "{:?}", done.failed);
}

#[test]
#[ignore = "started by the tests above, with the stand-in"]
fn inside_a_card_that_fails_to_restore() {
    let Some(setup) = Setup::new() else { return };
    let mut done = setup.consolidator.consolidate(vec![setup.item()], &context("trainer"));
    let hash = done.outcomes.remove(0).content_hash;
    let expected = setup.consolidator.reactivate(&hash, &context("trainer")).unwrap();

    stand_in::refuse_launches(1, UNKNOWN);
    let mut back = setup.consolidator.reactivate_on_device(&hash, &context("trainer")).unwrap();
    let held = back.tensors.remove(0).allocation;
    let mut bytes = vec![0; setup.bytes.len()];
    setup.gpu.read(&held, 0, &mut bytes).unwrap();
    assert!(bytes == expected.tensors[0].bytes);
    setup.gpu.free(held).unwrap();
    let notices = setup.consolidator.notices();
    assert!(matches!(&notices[..], [Notice::WithoutKernels { device: 0, .. }]), "{notices:?}");

    stand_in::refuse_launches(1, UNCORRECTABLE);
    let failed = setup.consolidator.reactivate_on_device(&hash, &context("trainer")).unwrap_err();
    assert!(!matches!(failed, Error::NotUndone { .. }), "{failed:?}");
    let said = of_the_card(&failed);
    assert!(matches!(said, Some(CardError::Uncorrectable { device: 0 })), "{failed:?}");
    // The room that was made for it, and the lanes of kernels that are not trusted any more.
    assert_eq!(setup.gpu.memory(0).unwrap().used_bytes, 0);
    // The store has it still.
    assert!(setup.consolidator.reactivate(&hash, &context("trainer")).is_ok());
}
