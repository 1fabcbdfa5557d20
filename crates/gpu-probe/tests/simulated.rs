//! The simulated card against a model of it that is too simple to be wrong (R31, R32).
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeMap;

use gpu_probe::{
    Allocation, Allocator, DeviceMemory, Error, Fault, GpuProbe, OomCause, OutOfMemory, SimulatedCard,
    SimulatedGpu,
};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const CAPACITY: u64 = 32 * MIB;
const PAGE: u64 = 2 * MIB;

#[derive(Debug, Clone)]
enum Step {
    Allocate(u64),
    Write { which: usize, offset: u64, len: usize, byte: u8 },
    Free(usize),
    AllocateAnchored(u64),
    Vacate(usize),
    Occupy(usize),
    AddProcess { pid: u32, bytes: u64 },
    GrowProcess { pid: u32, bytes: u64 },
    RemoveProcess(u32),
    FailAllocation,
    FailWrite,
    FailFree,
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![0..2000u64, 0..8 * MIB, Just(CAPACITY), Just(u64::MAX)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pid = 1u32..4;
    let step = prop_oneof![
        6 => sizes().prop_map(Step::Allocate),
        6 => (any::<usize>(), 0..8 * MIB, 0..3000usize, any::<u8>())
            .prop_map(|(which, offset, len, byte)| Step::Write { which, offset, len, byte }),
        4 => any::<usize>().prop_map(Step::Free),
        3 => sizes().prop_map(Step::AllocateAnchored),
        3 => any::<usize>().prop_map(Step::Vacate),
        3 => any::<usize>().prop_map(Step::Occupy),
        1 => (pid.clone(), sizes()).prop_map(|(pid, bytes)| Step::AddProcess { pid, bytes }),
        1 => (pid.clone(), sizes()).prop_map(|(pid, bytes)| Step::GrowProcess { pid, bytes }),
        1 => pid.prop_map(Step::RemoveProcess),
        1 => Just(Step::FailAllocation),
        1 => Just(Step::FailWrite),
        1 => Just(Step::FailFree),
    ];
    prop::collection::vec(step, 1..80)
}

/// What was written into an allocation, and where, in order.
type Writes = Vec<(u64, Vec<u8>)>;

/// One allocation, as it should be.
struct Held {
    allocation: Allocation,
    writes: Writes,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Anchored,
    Vacant,
}

impl Held {
    /// What it takes of the card.
    fn size(&self) -> u64 {
        match self.kind {
            Kind::Plain => pad(self.allocation.bytes()),
            Kind::Anchored => self.allocation.bytes().next_multiple_of(PAGE),
            Kind::Vacant => 0,
        }
    }
}

/// What should be there: every allocation with its last writes, every other process with its size.
struct Model {
    live: Vec<Held>,
    processes: BTreeMap<u32, u64>,
    caching: bool,
}

fn pad(bytes: u64) -> u64 {
    bytes.next_multiple_of(512)
}

impl Model {
    fn ours(&self) -> u64 {
        self.live.iter().map(Held::size).sum()
    }

    fn check(&self, gpu: &SimulatedGpu) {
        let memory = gpu.memory(0).unwrap();
        assert_eq!(memory.total_bytes, CAPACITY);
        assert_eq!(memory.free_bytes + memory.used_bytes, CAPACITY);
        let others: u64 = self.processes.values().sum();
        let pieces = gpu.fragmentation(0).unwrap();
        assert_eq!(pieces.free_bytes, memory.free_bytes);
        let there = self.live.iter().filter(|held| held.kind != Kind::Vacant);
        assert_eq!(pieces.allocated_bytes, there.map(|held| held.allocation.bytes()).sum::<u64>());
        assert_eq!(pieces.reserved_bytes.unwrap() + others, memory.used_bytes);
        if self.caching {
            assert!(pieces.reserved_bytes.unwrap() >= self.ours());
        } else {
            assert_eq!(pieces.reserved_bytes.unwrap(), self.ours());
        }
        let reported: u64 = gpu.processes(0).unwrap().iter().filter_map(|p| p.used_bytes).sum();
        assert_eq!(reported, memory.used_bytes);

        let mut ranges: Vec<_> = self
            .live
            .iter()
            .map(|held| &held.allocation)
            .filter(|a| a.bytes() > 0)
            .map(|a| (a.address(), a.address() + a.bytes()))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "allocations overlap: {ranges:?}");
    }

    fn check_contents(&self, gpu: &SimulatedGpu) {
        for Held { allocation, writes, kind } in &self.live {
            if *kind == Kind::Vacant {
                assert!(matches!(gpu.read(allocation, 0, &mut [0]), Err(Error::Vacant { .. })));
                continue;
            }
            let unwritten = if *kind == Kind::Anchored { 0xa5 } else { 0 };
            let mut expected = vec![unwritten; allocation.bytes() as usize];
            for (offset, data) in writes {
                expected[*offset as usize..*offset as usize + data.len()].copy_from_slice(data);
            }
            let mut out = vec![1; expected.len()];
            gpu.read(allocation, 0, &mut out).unwrap();
            assert!(out == expected, "contents of {allocation:?} changed");
        }
    }
}

fn allocate(gpu: &SimulatedGpu, model: &mut Model, bytes: u64, planned_failures: &mut u32) {
    let before = gpu.fragmentation(0).unwrap();
    match gpu.allocate(0, bytes) {
        Ok(allocation) => {
            assert_eq!(*planned_failures, 0);
            model.live.push(Held { allocation, writes: Vec::new(), kind: Kind::Plain });
        }
        Err(Error::OutOfMemory(oom)) => {
            assert_eq!(oom.requested_bytes, bytes);
            if oom.cause == OomCause::Injected {
                assert!(*planned_failures > 0);
                *planned_failures = 0;
                return;
            }
            assert!(bytes > before.largest_free_bytes.unwrap() && bytes > oom.largest_free_bytes.unwrap());
            match oom.cause {
                OomCause::Fragmented => assert!(pad(bytes) <= oom.free_bytes),
                _ => assert!(bytes > before.free_bytes),
            }
        }
        Err(error) => panic!("{error}"),
    }
}

fn allocate_anchored(gpu: &SimulatedGpu, model: &mut Model, bytes: u64, planned_failures: &mut u32) {
    match gpu.allocate_anchored(0, bytes) {
        Ok(allocation) => {
            assert_eq!(*planned_failures, 0);
            model.live.push(Held { allocation, writes: Vec::new(), kind: Kind::Anchored });
        }
        Err(Error::OutOfMemory(oom)) if oom.cause == OomCause::Injected => {
            assert!(*planned_failures > 0);
            *planned_failures = 0;
        }
        Err(Error::OutOfMemory(oom)) => check_pages_are_missing(&oom, bytes),
        Err(error) => panic!("{error}"),
    }
}

fn check_pages_are_missing(oom: &OutOfMemory, bytes: u64) {
    let size = bytes.div_ceil(PAGE).saturating_mul(PAGE);
    assert_eq!(oom.requested_bytes, bytes);
    assert!(size > oom.largest_free_bytes.unwrap());
    assert_eq!(oom.cause == OomCause::Fragmented, size <= oom.free_bytes);
}

fn vacate(gpu: &SimulatedGpu, held: &mut Held, free: u64) {
    match gpu.vacate(&held.allocation) {
        Ok(given_back) => {
            assert!(held.kind != Kind::Plain);
            assert_eq!(given_back, held.size());
            assert_eq!(gpu.memory(0).unwrap().free_bytes, free + given_back);
            if held.allocation.bytes() > 0 {
                held.kind = Kind::Vacant;
            }
            held.writes.clear();
        }
        Err(error) => {
            assert!(held.kind == Kind::Plain && matches!(error, Error::Unsupported { .. }), "{error}");
        }
    }
}

fn occupy(gpu: &SimulatedGpu, held: &mut Held) {
    match gpu.occupy(&held.allocation) {
        Ok(()) => {
            assert!(held.kind != Kind::Plain);
            held.kind = Kind::Anchored;
        }
        Err(Error::OutOfMemory(oom)) => check_pages_are_missing(&oom, held.allocation.bytes()),
        Err(error) => {
            assert!(held.kind == Kind::Plain && matches!(error, Error::Unsupported { .. }), "{error}");
        }
    }
}

fn run(allocator: Allocator, steps: Vec<Step>) {
    let gpu = SimulatedGpu::with_cards([SimulatedCard {
        capacity_bytes: CAPACITY,
        allocator,
        ..SimulatedCard::default()
    }]);
    let mut model =
        Model { live: Vec::new(), processes: BTreeMap::new(), caching: allocator == Allocator::Caching };
    let (mut fail_allocation, mut fail_write, mut fail_free) = (0u32, 0u32, 0u32);
    for step in steps {
        let free = gpu.memory(0).unwrap().free_bytes;
        match step {
            Step::Allocate(bytes) => allocate(&gpu, &mut model, bytes, &mut fail_allocation),
            Step::Write { which, offset, len, byte } => {
                let Some(index) = which.checked_rem(model.live.len()) else { continue };
                let Held { allocation, writes, kind } = &mut model.live[index];
                let data = vec![byte; len];
                match gpu.write(allocation, offset, &data) {
                    Ok(()) => writes.push((offset, data)),
                    Err(Error::OutOfRange { .. }) => assert!(offset + len as u64 > allocation.bytes()),
                    Err(Error::Vacant { .. }) => assert!(*kind == Kind::Vacant),
                    Err(Error::Driver { .. }) => {
                        assert!(fail_write > 0);
                        fail_write = 0;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Free(which) => {
                let Some(index) = which.checked_rem(model.live.len()) else { continue };
                let held = model.live.swap_remove(index);
                let size = held.size();
                match gpu.free(held.allocation) {
                    Ok(given_back) => {
                        assert_eq!(
                            given_back,
                            if model.caching && held.kind == Kind::Plain { 0 } else { size }
                        );
                        assert_eq!(gpu.memory(0).unwrap().free_bytes, free + given_back);
                    }
                    Err(failed) => {
                        assert!(fail_free > 0);
                        fail_free = 0;
                        model.live.push(Held { allocation: failed.allocation, ..held });
                    }
                }
            }
            Step::AllocateAnchored(bytes) => allocate_anchored(&gpu, &mut model, bytes, &mut fail_allocation),
            Step::Vacate(which) => {
                let Some(index) = which.checked_rem(model.live.len()) else { continue };
                vacate(&gpu, &mut model.live[index], free);
            }
            Step::Occupy(which) => {
                let Some(index) = which.checked_rem(model.live.len()) else { continue };
                occupy(&gpu, &mut model.live[index]);
            }
            Step::AddProcess { pid, bytes } => match gpu.add_process(0, pid, "other", bytes) {
                Ok(()) => assert!(model.processes.insert(pid, pad(bytes)).is_none()),
                Err(Error::ProcessExists { .. }) => assert!(model.processes.contains_key(&pid)),
                Err(Error::OutOfMemory(_)) => assert!(bytes > free),
                Err(error) => panic!("{error}"),
            },
            Step::GrowProcess { pid, bytes } => match gpu.grow_process(0, pid, bytes) {
                Ok(()) => *model.processes.get_mut(&pid).unwrap() += pad(bytes),
                Err(Error::NoSuchProcess { .. }) => assert!(!model.processes.contains_key(&pid)),
                Err(Error::OutOfMemory(_)) => assert!(bytes > free),
                Err(error) => panic!("{error}"),
            },
            Step::RemoveProcess(pid) => match gpu.remove_process(0, pid) {
                Ok(bytes) => assert_eq!(model.processes.remove(&pid), Some(bytes)),
                Err(error) => assert!(!model.processes.contains_key(&pid), "{error}"),
            },
            Step::FailAllocation => {
                gpu.inject(0, Fault::Allocation { after: 0 }).unwrap();
                fail_allocation += 1;
            }
            Step::FailWrite => {
                gpu.inject(0, Fault::Write { after: 0 }).unwrap();
                fail_write += 1;
            }
            Step::FailFree => {
                gpu.inject(0, Fault::Free { after: 0 }).unwrap();
                fail_free += 1;
            }
        }
        model.check(&gpu);
    }
    gpu.clear_faults(0).unwrap();
    model.check_contents(&gpu);
    for held in model.live.drain(..) {
        gpu.free(held.allocation).unwrap();
    }
    gpu.release_cached(0).unwrap();
    let others: u64 = model.processes.values().sum();
    assert_eq!(gpu.memory(0).unwrap().used_bytes, others);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_direct_allocator_does_what_the_model_says(steps in steps()) {
        run(Allocator::Direct, steps);
    }

    #[test]
    fn a_caching_allocator_does_what_the_model_says(steps in steps()) {
        run(Allocator::Caching, steps);
    }
}

#[test]
fn a_large_allocation_costs_host_memory_only_where_it_was_written() {
    let gpu = SimulatedGpu::default();
    let model = gpu.allocate(0, 3 << 30).unwrap();
    assert_eq!(gpu.host_bytes(0).unwrap(), 0);
    gpu.write(&model, 2 << 30, b"one block").unwrap();
    assert!(gpu.host_bytes(0).unwrap() <= 2 * MIB);
    gpu.free(model).unwrap();
    assert_eq!(gpu.host_bytes(0).unwrap(), 0);
}

#[test]
fn memory_that_is_free_in_pieces_is_refused_with_the_numbers() {
    // R31
    let gpu = SimulatedGpu::new(10 * MIB);
    let mut held: Vec<_> = (0..10).map(|_| Some(gpu.allocate(0, MIB).unwrap())).collect();
    for piece in held.iter_mut().step_by(2) {
        gpu.free(piece.take().unwrap()).unwrap();
    }
    let pieces = gpu.fragmentation(0).unwrap();
    assert_eq!(pieces.free_blocks, Some(5));
    assert_eq!(pieces.fragmented_fraction(), Some(0.8));
    let Err(Error::OutOfMemory(oom)) = gpu.allocate(0, 2 * MIB) else { panic!("it fitted") };
    assert_eq!(oom.cause, OomCause::Fragmented);
    assert_eq!((oom.free_bytes, oom.largest_free_bytes), (5 * MIB, Some(MIB)));
    let text = oom.to_string();
    assert!(text.contains("5242880 bytes, the largest free block 1048576 bytes"), "{text}");
}

#[test]
fn a_caching_allocator_keeps_what_is_freed_and_gives_it_back_before_it_fails() {
    // R31
    let card =
        SimulatedCard { capacity_bytes: 4 * MIB, allocator: Allocator::Caching, ..SimulatedCard::default() };
    let gpu = SimulatedGpu::with_cards([card]);
    let first = gpu.allocate(0, 3 * MIB).unwrap();
    assert_eq!(gpu.free(first).unwrap(), 0);
    let look = gpu.fragmentation(0).unwrap();
    assert_eq!((look.allocated_bytes, look.reserved_but_unallocated_bytes()), (0, Some(3 * MIB)));
    assert_eq!(gpu.memory(0).unwrap().free_bytes, MIB);
    let whole = gpu.allocate(0, 4 * MIB).unwrap();
    gpu.free(whole).unwrap();
    assert_eq!(gpu.release_cached(0).unwrap(), 4 * MIB);
}

#[test]
fn other_processes_are_named_in_the_out_of_memory_message() {
    // R31
    let gpu = SimulatedGpu::new(8 * MIB);
    gpu.add_process(0, 11, "python", 3 * MIB).unwrap();
    gpu.grow_process(0, 11, MIB).unwrap();
    let _held = gpu.allocate(0, 2 * MIB).unwrap();
    let Err(Error::OutOfMemory(oom)) = gpu.allocate(0, 3 * MIB) else { panic!("it fitted") };
    assert_eq!(oom.cause, OomCause::CardFull);
    let text = oom.to_string();
    assert!(text.contains("Process 11 (python) has 4.00 MiB memory in use."), "{text}");
    let processes = gpu.processes(0).unwrap();
    assert_eq!(processes.len(), 2);
    assert!(processes.iter().any(|p| p.pid == std::process::id() && p.used_bytes == Some(2 * MIB)));
}

#[test]
fn a_lost_card_answers_nothing_until_the_fault_is_cleared_and_then_has_what_it_had() {
    // R32
    let gpu = SimulatedGpu::new(8 * MIB);
    let held = gpu.allocate(0, 4).unwrap();
    gpu.write(&held, 0, b"kept").unwrap();
    gpu.inject(0, Fault::DeviceLost).unwrap();
    assert!(matches!(gpu.devices(), Err(Error::DeviceLost { device: 0 })));
    assert!(matches!(gpu.memory(0), Err(Error::DeviceLost { .. })));
    assert!(matches!(gpu.processes(0), Err(Error::DeviceLost { .. })));
    assert!(matches!(gpu.allocate(0, 1), Err(Error::DeviceLost { .. })));
    assert!(matches!(gpu.write(&held, 0, b"lost"), Err(Error::DeviceLost { .. })));
    assert!(matches!(gpu.read(&held, 0, &mut [0; 4]), Err(Error::DeviceLost { .. })));
    let failed = gpu.free(held).unwrap_err();
    assert!(failed.to_string().contains("still there"), "{failed}");
    gpu.clear_faults(0).unwrap();
    let mut out = [0; 4];
    gpu.read(&failed.allocation, 0, &mut out).unwrap();
    assert_eq!(&out, b"kept");
    gpu.free(failed.allocation).unwrap();
}

#[test]
fn a_read_fails_once_where_it_was_told_to_and_the_contents_stay() {
    // R32
    let gpu = SimulatedGpu::new(8 * MIB);
    let held = gpu.allocate(0, 4).unwrap();
    gpu.write(&held, 0, b"kept").unwrap();
    gpu.inject(0, Fault::Read { after: 1 }).unwrap();
    let mut out = [0; 4];
    gpu.read(&held, 0, &mut out).unwrap();
    let error = gpu.read(&held, 0, &mut out).unwrap_err();
    assert!(matches!(error, Error::Driver { .. }), "{error}");
    gpu.read(&held, 0, &mut out).unwrap();
    assert_eq!(&out, b"kept");
}

#[test]
fn sensors_report_what_they_were_set_to() {
    let gpu = SimulatedGpu::default();
    gpu.set_sensors(0, Some(97), None).unwrap();
    let info = &gpu.devices().unwrap()[0];
    assert_eq!((info.utilisation_percent, info.temperature_celsius), (Some(97), None));
}

#[test]
fn memory_taken_back_between_two_looks_leaves_the_address_vacant_and_can_be_had_later() {
    let gpu = SimulatedGpu::new(16 * MIB);
    let anchored = gpu.allocate_anchored(0, 10 * MIB).unwrap();
    assert_eq!(gpu.vacate(&anchored).unwrap(), 10 * MIB);
    assert_eq!(gpu.memory(0).unwrap().free_bytes, 16 * MIB);
    gpu.inject(0, Fault::StolenBeforeAllocation { bytes: 9 * MIB, pid: 77 }).unwrap();
    let Err(Error::OutOfMemory(oom)) = gpu.occupy(&anchored) else { panic!("it fitted") };
    assert_eq!((oom.cause, oom.free_bytes), (OomCause::CardFull, 7 * MIB));
    assert_eq!(oom.other_processes[0].pid, 77);
    assert!(matches!(gpu.read(&anchored, 0, &mut [0]), Err(Error::Vacant { .. })));
    gpu.remove_process(0, 77).unwrap();
    gpu.occupy(&anchored).unwrap();
    gpu.free(anchored).unwrap();
    // More than there is: it takes what is left.
    gpu.inject(0, Fault::StolenBeforeAllocation { bytes: u64::MAX, pid: 78 }).unwrap();
    assert!(matches!(gpu.allocate(0, 1), Err(Error::OutOfMemory(_))));
    assert_eq!(gpu.remove_process(0, 78).unwrap(), 16 * MIB);
}

#[test]
fn an_anchored_allocation_finds_pages_where_one_piece_would_not_fit() {
    let gpu = SimulatedGpu::new(10 * MIB);
    let mut held: Vec<_> = (0..5).map(|_| Some(gpu.allocate(0, 2 * MIB).unwrap())).collect();
    for piece in held.iter_mut().step_by(2) {
        gpu.free(piece.take().unwrap()).unwrap();
    }
    assert!(matches!(gpu.allocate(0, 6 * MIB), Err(Error::OutOfMemory(_))));
    let anchored = gpu.allocate_anchored(0, 5 * MIB).unwrap();
    assert_eq!(gpu.memory(0).unwrap().free_bytes, 0);
    assert_eq!(gpu.vacate(&anchored).unwrap(), 6 * MIB);
}

#[test]
fn pages_may_be_small() {
    let card = SimulatedCard { capacity_bytes: MIB, page_bytes: 1000, ..SimulatedCard::default() };
    let gpu = SimulatedGpu::with_cards([card]);
    let anchored = gpu.allocate_anchored(0, 1025).unwrap();
    assert_eq!(gpu.free(anchored).unwrap(), 2048);
    let none = SimulatedCard { capacity_bytes: MIB, page_bytes: 0, ..SimulatedCard::default() };
    let gpu = SimulatedGpu::with_cards([none]);
    let anchored = gpu.allocate_anchored(0, 1).unwrap();
    assert_eq!(gpu.free(anchored).unwrap(), 512);
}

#[test]
fn failures_of_vacate_and_occupy_change_nothing() {
    let gpu = SimulatedGpu::new(8 * MIB);
    let anchored = gpu.allocate_anchored(0, 4).unwrap();
    gpu.write(&anchored, 0, b"kept").unwrap();
    gpu.inject(0, Fault::Vacate { after: 0 }).unwrap();
    gpu.inject(0, Fault::Occupy { after: 0 }).unwrap();
    gpu.occupy(&anchored).unwrap(); // not vacant: nothing is done, so nothing fails
    assert!(matches!(gpu.vacate(&anchored), Err(Error::Driver { .. })));
    let mut out = [0; 4];
    gpu.read(&anchored, 0, &mut out).unwrap();
    assert_eq!(&out, b"kept");
    assert_eq!(gpu.vacate(&anchored).unwrap(), 2 * MIB);
    let Err(Error::OutOfMemory(oom)) = gpu.occupy(&anchored) else { panic!("it was to fail") };
    assert_eq!(oom.cause, OomCause::Injected);
    assert_eq!(gpu.memory(0).unwrap().free_bytes, 8 * MIB);
    gpu.occupy(&anchored).unwrap();
    gpu.read(&anchored, 0, &mut out).unwrap();
    assert_eq!(out, [0xa5; 4], "nobody may rely on what is there");
}

#[test]
fn a_card_lost_in_the_middle_of_a_copy_stays_lost_and_nothing_is_freed_twice() {
    for fault in [Fault::LostAfterReads { after: 1 }, Fault::LostAfterWrites { after: 1 }] {
        let gpu = SimulatedGpu::new(8 * MIB);
        let held = gpu.allocate(0, 8).unwrap();
        gpu.inject(0, fault).unwrap();
        gpu.write(&held, 0, &[1; 8]).unwrap();
        let mut out = [9; 8];
        gpu.read(&held, 0, &mut out).unwrap();
        let (wrote, mut out) = (gpu.write(&held, 0, &[2; 8]), [9; 8]);
        let read = gpu.read(&held, 0, &mut out);
        if matches!(fault, Fault::LostAfterReads { .. }) {
            wrote.unwrap();
            assert_eq!(out, [2, 2, 2, 2, 9, 9, 9, 9]);
        } else {
            assert!(matches!(wrote, Err(Error::DeviceLost { device: 0 })));
        }
        assert!(matches!(read, Err(Error::DeviceLost { device: 0 })));
        assert!(matches!(gpu.memory(0), Err(Error::DeviceLost { device: 0 })));
        let failed = gpu.free(held).unwrap_err();
        gpu.clear_faults(0).unwrap();
        gpu.read(&failed.allocation, 0, &mut out).unwrap();
        assert_eq!(out[..4], [2; 4]);
        assert_eq!(gpu.free(failed.allocation).unwrap(), 512);
        assert_eq!(gpu.memory(0).unwrap().free_bytes, 8 * MIB);
    }
}

#[test]
fn an_error_in_the_card_s_memory_says_what_is_not_to_be_trusted() {
    let gpu = SimulatedGpu::new(8 * MIB);
    let held = gpu.allocate(0, 8).unwrap();
    gpu.inject(0, Fault::Ecc { after: 0 }).unwrap();
    let error = gpu.read(&held, 0, &mut [0; 8]).unwrap_err();
    assert!(matches!(error, Error::Uncorrectable { device: 0 }));
    let text = error.to_string();
    assert!(
        text.contains("GPU 0") && text.contains("not to be trusted") && text.contains("restart"),
        "{text}"
    );
}

#[test]
#[allow(unsafe_code)] // the promise about the address; one of them is broken on purpose
fn adopted_memory_whose_owner_freed_it_is_an_error_and_not_somebody_else_s() {
    let gpu = SimulatedGpu::new(8 * MIB);
    let owner = gpu.allocate(0, 1000).unwrap();
    // SAFETY: a simulated card looks addresses up.
    let adopted = unsafe { gpu.adopt(0, owner.address() + 10, 20) }.unwrap();
    gpu.free(owner).unwrap();
    let other = gpu.allocate(0, 1000).unwrap();
    gpu.write(&other, 0, &[1; 1000]).unwrap();
    let error = gpu.read(&adopted, 0, &mut [0; 20]).unwrap_err();
    assert!(error.to_string().contains("its owner freed this memory"), "{error}");
    assert_eq!(gpu.free(adopted).unwrap(), 0);

    let anchored = gpu.allocate_anchored(0, 1000).unwrap();
    // SAFETY: as above.
    let adopted = unsafe { gpu.adopt(0, anchored.address(), 20) }.unwrap();
    gpu.vacate(&anchored).unwrap();
    assert!(matches!(gpu.read(&adopted, 0, &mut [0; 20]), Err(Error::Vacant { bytes: 20, .. })));
    // SAFETY: as above.
    let refused = unsafe { gpu.adopt(0, anchored.address(), 20) };
    assert!(matches!(refused, Err(Error::Vacant { .. })));
}
