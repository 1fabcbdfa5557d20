//! Out of memory: what is idle is consolidated, the allocation is tried again, and only then the processor has to do (R30).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use end_to_end::{CatalogueFault, FaultyCatalogue, Rig, context};
use gpu_probe::{Allocation, DeviceMemory, Fault, GpuProbe, SimulatedGpu};
use memory_store::{Options, Store};
use omnimind_memory::{
    Builder, DType, IdleId, IdleState, Item, NamedTensor, NotRescued, Policy, ProcessContext, Ran, Rescued,
    Shortage, Taken,
};
use proptest::{prelude::*, sample::Index};

const KIB: u64 = 1 << 10;

/// A consolidator over a small card, whose catalogue can be told to fail.
fn small(capacity: u64) -> (Rig, Arc<SimulatedGpu>, Arc<FaultyCatalogue>) {
    let dir = tempfile::tempdir().unwrap();
    let (objects, catalogue) = Store::parts(dir.path(), &Options::default()).unwrap();
    let catalogue = Arc::new(FaultyCatalogue::new(catalogue));
    let gpu = Arc::new(SimulatedGpu::new(capacity));
    let store = Store::over(Arc::new(objects), catalogue.clone());
    let mut rig = Rig::with(|builder: Builder| builder.over(store).gpu(gpu.clone()));
    // The store is there, and not where the rig would have made one.
    rig.dir = dir;
    (rig, gpu, catalogue)
}

fn contents(seed: u32, bytes: u64) -> Vec<u8> {
    let value = |at: u32| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32;
    (0..bytes as u32 / 4).flat_map(|at| value(at).to_le_bytes()).collect()
}

/// An item that must come back exactly.
fn exact(gpu: &SimulatedGpu, seed: u32, bytes: u64) -> Result<Item<'static>, gpu_probe::Error> {
    let allocation = gpu.allocate(0, bytes)?;
    gpu.write(&allocation, 0, &contents(seed, bytes))?;
    let mut item =
        Item::new("model", vec![NamedTensor::device("w", DType::F32, [bytes as usize / 4], allocation)]);
    item.policy = Some(Policy::Exact);
    Ok(item)
}

fn rescue(
    rig: &Rig,
    gpu: &SimulatedGpu,
    bytes: u64,
) -> Rescued<Allocation, (), gpu_probe::Error, Infallible> {
    rig.consolidator.with_rescue(|| gpu.allocate(0, bytes), || Ok(()))
}

fn id(rig: &Rig, item: Item<'static>, minutes: u64) -> IdleId {
    rig.consolidator.idle_since(item, &context("agents"), Duration::from_secs(60 * minutes)).unwrap()
}

#[test]
fn what_is_idle_makes_room_least_recently_used_first_and_comes_back() {
    // R30
    let (rig, gpu, _) = small(300 * KIB);
    let fresh = id(&rig, exact(&gpu, 1, 100 * KIB).unwrap(), 0);
    let old = id(&rig, exact(&gpu, 2, 100 * KIB).unwrap(), 10);
    let older = id(&rig, exact(&gpu, 3, 100 * KIB).unwrap(), 20);
    let rescued = rescue(&rig, &gpu, 150 * KIB);
    let Ok(Ran::OnDevice(allocation)) = rescued.value else { panic!("{rescued:?}") };
    let left: Vec<_> = rescued.relief.consolidated.iter().map(|(id, _)| *id).collect();
    assert_eq!((left, rescued.attempts), (vec![older, old], 2), "{:?}", rescued.relief.reasons);
    assert_eq!(rescued.relief.reasons.len(), 2);
    gpu.free(allocation).unwrap();
    let states: Vec<_> = rig.consolidator.idle_items().iter().map(|item| item.state).collect();
    assert!(matches!(states[..], [IdleState::Here, IdleState::Consolidated(_), IdleState::Consolidated(_)]));

    assert!(matches!(rig.consolidator.take(fresh), Taken::Item(_)));
    let Taken::Consolidated(hash) = rig.consolidator.take(old) else { panic!("it was consolidated") };
    let back = rig.consolidator.reactivate(&hash, &context("agents")).unwrap();
    assert!(back.tensors[0].bytes == contents(2, 100 * KIB) && back.warning.is_none());
}

#[test]
fn the_processor_has_to_do_only_when_nothing_is_idle_any_more() {
    // R30
    let (rig, gpu, _) = small(200 * KIB);
    id(&rig, exact(&gpu, 1, 100 * KIB).unwrap(), 0);
    let rescued = rescue(&rig, &gpu, 400 * KIB);
    assert!(matches!(rescued.value, Ok(Ran::OnCpu(()))), "{rescued:?}");
    assert_eq!((rescued.attempts, rescued.relief.consolidated.len()), (2, 1));
    assert!(rescued.relief.reasons.last().unwrap().contains("processor"));
    let both =
        rig.consolidator.with_rescue(|| gpu.allocate(0, 400 * KIB), || Err::<(), _>("no core is free"));
    assert!(matches!(both.value, Err(NotRescued::Nowhere { on_cpu: "no core is free", .. })));
}

#[test]
fn an_error_that_is_not_about_memory_is_returned_at_once_and_unchanged() {
    // R30
    let (rig, gpu, _) = small(200 * KIB);
    let id = id(&rig, exact(&gpu, 1, 100 * KIB).unwrap(), 0);
    gpu.inject(0, Fault::DeviceLost).unwrap();
    let rescued = rescue(&rig, &gpu, KIB);
    assert!(matches!(rescued.value, Err(NotRescued::Failed(gpu_probe::Error::DeviceLost { device: 0 }))));
    assert_eq!((rescued.attempts, rescued.relief.consolidated.len()), (1, 0));
    gpu.clear_faults(0).unwrap();
    assert!(matches!(rig.consolidator.take(id), Taken::Item(_)));
}

#[test]
fn a_framework_s_message_counts_and_its_size_is_understood() {
    // R13, R30
    let (rig, gpu, _) = small(400 * KIB);
    for seed in 0..4 {
        id(&rig, exact(&gpu, seed, 100 * KIB).unwrap(), 0);
    }
    let mut messages = vec![
        "RuntimeError: CUDA error: out of memory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 150.00 KiB. GPU 0 has a total capacity of 400.00 KiB",
    ];
    let rescued = rig.consolidator.with_rescue_from(
        |text: &String| Shortage::from_text(text),
        || messages.pop().map_or(Ok(()), |message| Err(message.to_owned())),
        || Ok::<(), Infallible>(()),
    );
    assert_eq!((rescued.value, rescued.attempts), (Ok(Ran::OnDevice(())), 3));
    assert_eq!(rescued.relief.consolidated.len(), 3, "two for 150 KiB, and one for a message without a size");
}

#[test]
fn what_cannot_be_consolidated_stays_and_the_next_one_leaves() {
    // R4, R30
    let (rig, gpu, catalogue) = small(200 * KIB);
    let first = id(&rig, exact(&gpu, 1, 100 * KIB).unwrap(), 10);
    let second = id(&rig, exact(&gpu, 2, 100 * KIB).unwrap(), 0);
    gpu.inject(0, Fault::Ecc { after: 0 }).unwrap();
    let rescued = rescue(&rig, &gpu, 100 * KIB);
    let Ok(Ran::OnDevice(allocation)) = rescued.value else { panic!("{rescued:?}") };
    assert_eq!((rescued.relief.failed[0].0, rescued.relief.consolidated[0].0), (first, second));
    catalogue.set(Some(CatalogueFault::Commit));
    let rescued = rescue(&rig, &gpu, 100 * KIB);
    assert!(matches!(rescued.value, Ok(Ran::OnCpu(()))));
    assert_eq!(rescued.relief.failed[0].0, first);
    let Taken::Item(item) = rig.consolidator.take(first) else { panic!("it stayed") };
    assert_eq!(item.original_bytes(), 100 * KIB);
    gpu.free(allocation).unwrap();
}

#[test]
fn a_quicker_process_takes_what_was_freed_and_the_next_item_leaves() {
    // R30, R31
    let (rig, gpu, _) = small(300 * KIB);
    for seed in 0..3 {
        id(&rig, exact(&gpu, seed, 100 * KIB).unwrap(), 0);
    }
    // The first attempt fails; what the first item leaves is taken before the second.
    let mut attempts = 0;
    let rescued = rig.consolidator.with_rescue(
        || {
            attempts += 1;
            if attempts == 2 {
                gpu.add_process(0, 77, "python", 100 * KIB).unwrap();
            }
            gpu.allocate(0, 100 * KIB)
        },
        || Ok::<(), Infallible>(()),
    );
    assert!(matches!(rescued.value, Ok(Ran::OnDevice(_))), "{rescued:?}");
    assert_eq!((rescued.attempts, rescued.relief.consolidated.len()), (3, 2));
}

#[test]
fn idle_items_leave_under_pressure_until_enough_was_released() {
    // R2, R30
    let (rig, gpu, _) = small(1000 * KIB);
    for seed in 0..9 {
        id(&rig, exact(&gpu, seed, 100 * KIB).unwrap(), 0);
    }
    let pressure = rig.consolidator.should_consolidate().unwrap();
    assert!(pressure.consolidate);
    let relief = rig.consolidator.consolidate_idle(pressure.bytes_to_free);
    assert!(relief.released_bytes() >= pressure.bytes_to_free && relief.consolidated.len() < 9);
    assert!(!rig.consolidator.should_consolidate().unwrap().consolidate);
}

#[test]
fn threads_in_need_consolidate_nothing_twice_and_all_get_their_room() {
    // R30
    const THREADS: u32 = 8;
    const ITEMS: u32 = THREADS / 2;
    let (rig, gpu, _) = small(u64::from(THREADS) * 64 * KIB);
    for seed in 0..ITEMS {
        id(&rig, exact(&gpu, seed, 128 * KIB).unwrap(), 0);
    }
    let rescued: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| rescue(&rig, &gpu, 64 * KIB))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut left: Vec<_> =
        rescued.iter().flat_map(|rescued| rescued.relief.consolidated.iter().map(|(id, _)| *id)).collect();
    left.sort_unstable();
    left.dedup();
    assert_eq!(left.len(), ITEMS as usize, "each left once");
    for rescued in &rescued {
        assert!(matches!(rescued.value, Ok(Ran::OnDevice(_))), "{:?}", rescued.relief.reasons);
    }
    assert_eq!(rig.consolidator.stats().unwrap().total_consolidated, u64::from(ITEMS));
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    Idle { kib: u64, minutes: u64 },
    Rescue { kib: u64 },
    Relieve { kib: u64 },
    Take(Index),
    Touch(Index),
    Fails(Fault),
    StoreFails(CatalogueFault),
    Recovers,
}

fn event() -> impl Strategy<Value = Event> {
    let fault = prop_oneof![
        (0..3_u64).prop_map(|after| Fault::Allocation { after }),
        (0..3_u64).prop_map(|after| Fault::Read { after }),
        (0..2_u64).prop_map(|after| Fault::Free { after }),
        (0..3_u64).prop_map(|after| Fault::Ecc { after }),
        (0..3_u64).prop_map(|after| Fault::LostAfterReads { after }),
        (1..60_u64).prop_map(|kib| Fault::StolenBeforeAllocation { bytes: kib * KIB, pid: 77 }),
        Just(Fault::DeviceLost),
    ];
    prop_oneof![
        4 => (1..60_u64, 0..3_u64).prop_map(|(kib, minutes)| Event::Idle { kib, minutes }),
        4 => (1..200_u64).prop_map(|kib| Event::Rescue { kib }),
        1 => (1..100_u64).prop_map(|kib| Event::Relieve { kib }),
        1 => any::<Index>().prop_map(Event::Take),
        1 => any::<Index>().prop_map(Event::Touch),
        3 => fault.prop_map(Event::Fails),
        1 => Just(Event::StoreFails(CatalogueFault::Commit)),
        1 => Just(Event::StoreFails(CatalogueFault::Freed)),
        2 => Just(Event::Recovers),
    ]
}

/// What the outside world knows while things happen.
struct World {
    rig: Rig,
    gpu: Arc<SimulatedGpu>,
    catalogue: Arc<FaultyCatalogue>,
    context: ProcessContext,
    /// What was handed over, and with which contents.
    idle: Vec<(IdleId, u32, u64)>,
    /// What this process holds otherwise.
    held: Vec<Allocation>,
    next: u32,
}

impl World {
    fn new() -> Self {
        let (rig, gpu, catalogue) = small(256 * KIB);
        Self { rig, gpu, catalogue, context: context("agents"), idle: vec![], held: vec![], next: 0 }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Idle { kib, minutes } => {
                let (seed, bytes) = (self.next, kib * KIB);
                self.next += 1;
                let Ok(allocation) = self.gpu.allocate(0, bytes) else { return };
                if self.gpu.write(&allocation, 0, &contents(seed, bytes)).is_err() {
                    return self.held.push(allocation);
                }
                let tensor = NamedTensor::device("w", DType::F32, [bytes as usize / 4], allocation);
                let mut item = Item::new("model", vec![tensor]);
                item.policy = Some(Policy::Exact);
                let idle_for = Duration::from_secs(60 * minutes);
                let id = self.rig.consolidator.idle_since(item, &self.context, idle_for).unwrap();
                self.idle.push((id, seed, bytes));
            }
            Event::Rescue { kib } => {
                let rescued = rescue(&self.rig, &self.gpu, kib * KIB);
                self.held.extend(
                    rescued.relief.consolidated.into_iter().flat_map(|(_, outcome)| still_held(outcome)),
                );
                if let Ok(Ran::OnDevice(allocation)) = rescued.value {
                    self.held.push(allocation);
                }
            }
            Event::Relieve { kib } => {
                let relief = self.rig.consolidator.consolidate_idle(kib * KIB);
                self.held
                    .extend(relief.consolidated.into_iter().flat_map(|(_, outcome)| still_held(outcome)));
            }
            Event::Take(index) if !self.idle.is_empty() => {
                let at = index.index(self.idle.len());
                // Looked at below: faults may make reading impossible now.
                let (id, seed, bytes) = self.idle.swap_remove(at);
                match self.rig.consolidator.take(id) {
                    Taken::Item(item) => {
                        let id = self.rig.consolidator.idle(item, &self.context).unwrap();
                        self.idle.push((id, seed, bytes));
                    }
                    Taken::Consolidated(hash) => self.came_back(&hash, seed, bytes),
                    Taken::Unknown => panic!("{id} was lost"),
                }
            }
            Event::Touch(index) if !self.idle.is_empty() => {
                self.rig.consolidator.touch(self.idle[index.index(self.idle.len())].0);
            }
            Event::Take(_) | Event::Touch(_) => {}
            Event::Fails(fault) => self.gpu.inject(0, *fault).unwrap(),
            Event::StoreFails(fault) => self.catalogue.set(Some(*fault)),
            Event::Recovers => {
                self.gpu.clear_faults(0).unwrap();
                self.catalogue.set(None);
            }
        }
    }

    fn came_back(&self, hash: &omnimind_memory::ContentHash, seed: u32, bytes: u64) {
        let back = self.rig.consolidator.reactivate(hash, &self.context).unwrap();
        assert!(back.tensors[0].bytes == contents(seed, bytes), "{hash} is not what was handed over");
    }

    /// Everything that was handed over is where the registry says, unharmed, and nothing else is on the card.
    fn ends(mut self) {
        self.happens(&Event::Recovers);
        for (id, seed, bytes) in std::mem::take(&mut self.idle) {
            match self.rig.consolidator.take(id) {
                Taken::Item(mut item) => {
                    let omnimind_memory::TensorData::Device(allocation) = item.tensors.remove(0).data else {
                        panic!("{id} left the device")
                    };
                    let mut read = vec![0; bytes as usize];
                    self.gpu.read(&allocation, 0, &mut read).unwrap();
                    assert!(read == contents(seed, bytes), "{id} was harmed");
                    self.held.push(allocation);
                }
                Taken::Consolidated(hash) => self.came_back(&hash, seed, bytes),
                Taken::Unknown => panic!("{id} was lost"),
            }
        }
        assert_eq!(self.rig.consolidator.idle_items(), []);
        for allocation in self.held {
            self.gpu.free(allocation).unwrap();
        }
        assert_eq!(self.gpu.fragmentation(0).unwrap().allocated_bytes, 0, "nothing leaked");
    }
}

fn still_held(outcome: omnimind_memory::Outcome) -> impl Iterator<Item = Allocation> {
    outcome.still_held.into_iter().map(|held| held.allocation)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_fails_and_whenever_nothing_is_lost_and_nothing_leaks(
        events in prop::collection::vec(event(), 1..40),
    ) {
        // R4, R30, R32
        let mut world = World::new();
        for event in &events {
            world.happens(event);
        }
        world.ends();
    }
}
