//! The simulated card against a model of it that is too simple to be wrong (R31, R32).
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeMap;

use gpu_probe::{
    Allocation, Allocator, DeviceMemory, Error, Fault, GpuProbe, OomCause, SimulatedCard, SimulatedGpu,
};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const CAPACITY: u64 = 32 * MIB;

#[derive(Debug, Clone)]
enum Step {
    Allocate(u64),
    Write { which: usize, offset: u64, len: usize, byte: u8 },
    Free(usize),
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

/// What should be there: every allocation with its last writes, every other process with its size.
struct Model {
    live: Vec<(Allocation, Writes)>,
    processes: BTreeMap<u32, u64>,
    caching: bool,
}

fn pad(bytes: u64) -> u64 {
    bytes.next_multiple_of(512)
}

impl Model {
    fn ours(&self) -> u64 {
        self.live.iter().map(|(allocation, _)| pad(allocation.bytes())).sum()
    }

    fn check(&self, gpu: &SimulatedGpu) {
        let memory = gpu.memory(0).unwrap();
        assert_eq!(memory.total_bytes, CAPACITY);
        assert_eq!(memory.free_bytes + memory.used_bytes, CAPACITY);
        let others: u64 = self.processes.values().sum();
        let pieces = gpu.fragmentation(0).unwrap();
        assert_eq!(pieces.free_bytes, memory.free_bytes);
        assert_eq!(pieces.allocated_bytes, self.live.iter().map(|(a, _)| a.bytes()).sum::<u64>());
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
            .filter(|(a, _)| a.bytes() > 0)
            .map(|(a, _)| (a.address(), a.address() + a.bytes()))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "allocations overlap: {ranges:?}");
    }

    fn check_contents(&self, gpu: &SimulatedGpu) {
        for (allocation, writes) in &self.live {
            let mut expected = vec![0; allocation.bytes() as usize];
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
            model.live.push((allocation, Vec::new()));
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
                let (allocation, writes) = &mut model.live[index];
                let data = vec![byte; len];
                match gpu.write(allocation, offset, &data) {
                    Ok(()) => writes.push((offset, data)),
                    Err(Error::OutOfRange { .. }) => assert!(offset + len as u64 > allocation.bytes()),
                    Err(Error::Driver { .. }) => {
                        assert!(fail_write > 0);
                        fail_write = 0;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Free(which) => {
                let Some(index) = which.checked_rem(model.live.len()) else { continue };
                let (allocation, writes) = model.live.swap_remove(index);
                let size = pad(allocation.bytes());
                match gpu.free(allocation) {
                    Ok(given_back) => {
                        assert_eq!(given_back, if model.caching { 0 } else { size });
                        assert_eq!(gpu.memory(0).unwrap().free_bytes, free + given_back);
                    }
                    Err(failed) => {
                        assert!(fail_free > 0);
                        fail_free = 0;
                        model.live.push((failed.allocation, writes));
                    }
                }
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
    for (allocation, _) in model.live.drain(..) {
        gpu.free(allocation).unwrap();
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
