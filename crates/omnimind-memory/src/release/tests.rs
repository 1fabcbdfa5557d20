use std::cell::Cell;

use gpu_probe::{DeviceMemory, Fault, SimulatedGpu};
use softhair_compress::DType;

use super::*;
use crate::{IdleState, Item, NamedTensor, ProcessContext, layout::Dense};

const ITEM_BYTES: u64 = 4096;

fn holder(dir: &tempfile::TempDir) -> (Arc<SimulatedGpu>, Arc<Consolidator>) {
    let gpu = Arc::new(SimulatedGpu::new(1 << 20));
    let builder = Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone()).without_kernels();
    (gpu, Arc::new(builder.build().unwrap()))
}

fn idle(consolidator: &Consolidator, tensors: Vec<NamedTensor<'static>>) {
    consolidator.idle(Item::new("model", tensors), &ProcessContext::new("server").unwrap()).unwrap();
}

fn in_host(name: &str, seed: u8) -> NamedTensor<'static> {
    NamedTensor::host(name, DType::U8, [ITEM_BYTES as usize], vec![seed; ITEM_BYTES as usize])
}

fn on_card(gpu: &SimulatedGpu) -> NamedTensor<'static> {
    let allocation = gpu.allocate(0, ITEM_BYTES).unwrap();
    NamedTensor::device("d", DType::U8, [ITEM_BYTES as usize], allocation)
}

/// A tensor that a framework owns, on a card or in host memory.
fn foreign(address: u64, device: Option<u32>, owner: impl Send + 'static) -> NamedTensor<'static> {
    let dense = Dense::check(DType::U8, &[ITEM_BYTES as i64], None, address, 0).unwrap();
    NamedTensor::foreign("f".to_owned(), dense, device, owner)
}

fn request(memory: Memory, release_bytes: u64) -> Request {
    Request { v: 1, memory, release_bytes, reason: "a test asks".to_owned() }
}

fn answer(released_bytes: u64, note: &str) -> Answer {
    Answer { released_bytes, note: note.to_owned() }
}

fn here(consolidator: &Consolidator) -> usize {
    consolidator.idle_items().iter().filter(|item| item.state == IdleState::Here).count()
}

#[test]
fn when_the_time_is_up_no_item_is_begun_and_those_that_were_to_leave_are_idle_again() {
    // R41
    let dir = tempfile::tempdir().unwrap();
    let (_, consolidator) = holder(&dir);
    for seed in 0..4 {
        idle(&consolidator, vec![in_host("h", seed)]);
    }
    let asked = request(Memory::Ram, u64::MAX);
    let for_items = |items: usize| {
        let left = Cell::new(items);
        consolidator.release_for(&asked, &|| left.replace(left.get().saturating_sub(1)) > 0).0
    };
    assert_eq!(for_items(0), answer(0, "there was no time"));
    let note = "2 items were consolidated; the time was up before there was enough: ask again";
    assert_eq!((for_items(2), here(&consolidator)), (answer(2 * ITEM_BYTES, note), 2));
    assert_eq!(for_items(9), answer(2 * ITEM_BYTES, "2 items were consolidated"));
}

#[test]
fn the_time_for_new_items_is_less_than_the_patience_of_the_one_who_asks() {
    assert!(Duration::from_secs(10) < NOTHING_NEW_AFTER && NOTHING_NEW_AFTER < RELEASE_PATIENCE);
}

#[test]
fn an_item_in_both_memories_leaves_both_and_each_answer_counts_its_own() {
    // R41
    let dir = tempfile::tempdir().unwrap();
    let (gpu, consolidator) = holder(&dir);
    for memory in [Memory::Vram, Memory::Ram] {
        idle(&consolidator, vec![on_card(&gpu), in_host("h", 1), in_host("i", 2)]);
        let bytes = if memory == Memory::Ram { 2 * ITEM_BYTES } else { ITEM_BYTES };
        let answered = consolidator.release_for(&request(memory, 1), &|| true).0;
        assert_eq!(answered, answer(bytes, "1 item was consolidated"));
    }
}

#[test]
fn host_memory_of_others_goes_back_to_its_owner_and_is_not_counted() {
    // R3, R41
    static MAPPED: [u8; 16] = [9; 16];
    let dir = tempfile::tempdir().unwrap();
    let (_, consolidator) = holder(&dir);
    let owner = Arc::new(vec![3_u8; ITEM_BYTES as usize]);
    let of_framework = || foreign(owner.as_ptr().addr() as u64, None, Arc::clone(&owner));
    idle(&consolidator, vec![of_framework(), NamedTensor::host("m", DType::U8, [16], &MAPPED[..])]);
    let asked = request(Memory::Ram, u64::MAX);
    let answered = consolidator.release_for(&asked, &|| true).0;
    assert_eq!(answered, answer(0, "nothing is idle that holds RAM"));
    assert_eq!((here(&consolidator), Arc::strong_count(&owner)), (1, 2));
    idle(&consolidator, vec![of_framework(), in_host("h", 1)]);
    let answered = consolidator.release_for(&asked, &|| true).0;
    assert_eq!(answered, answer(ITEM_BYTES, "1 item was consolidated"));
    assert_eq!((here(&consolidator), Arc::strong_count(&owner)), (1, 2), "its owner has it back");
}

#[test]
fn vram_that_cannot_be_freed_or_goes_to_a_framework_is_said_and_not_counted() {
    // R4, R41
    let dir = tempfile::tempdir().unwrap();
    let (gpu, consolidator) = holder(&dir);
    idle(&consolidator, vec![on_card(&gpu)]);
    gpu.inject(0, Fault::Free { after: 0 }).unwrap();
    let asked = request(Memory::Vram, u64::MAX);
    let answered = consolidator.release_for(&asked, &|| true).0;
    assert_eq!(answered, answer(0, "1 item was consolidated; 4.00 KiB of VRAM could not be freed"));
    gpu.clear_faults(0).unwrap();
    let theirs = gpu.allocate(0, ITEM_BYTES).unwrap();
    idle(&consolidator, vec![foreign(theirs.address(), Some(0), theirs)]);
    let answered = consolidator.release_for(&asked, &|| true).0;
    let note = "1 item was consolidated; 4.00 KiB of VRAM went back to frameworks, which may keep it";
    assert_eq!(answered, answer(0, note));
}
