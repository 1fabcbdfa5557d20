//! Groups of tensors leave the card and come back to the same addresses (R4, R7).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::Arc;

use end_to_end::{CatalogueFault, FaultyCatalogue, StoredTensor, context, minilm_slice, rel_l2};
use gpu_probe::{
    Allocation, DeviceInfo, DeviceMemory, Fault, Fragmentation, FreeError, GpuProbe, GpuProcess, MemoryInfo,
    SimulatedGpu,
};
use memory_store::{Options, Store};
use omnimind_memory::{
    Consolidator, DType, Error, ErrorClass, GroupState, Item, NamedTensor, Policy, Pool, PooledTensor, Ran,
};
use proptest::prelude::*;
use tempfile::TempDir;

struct Setup {
    _dir: TempDir,
    gpu: Arc<SimulatedGpu>,
    catalogue: Arc<FaultyCatalogue>,
    consolidator: Arc<Consolidator>,
    pool: Pool,
    model: Vec<StoredTensor>,
}

impl Setup {
    fn new() -> Self {
        Self::on(SimulatedGpu::default())
    }

    fn on(gpu: SimulatedGpu) -> Self {
        let (dir, gpu) = (tempfile::tempdir().unwrap(), Arc::new(gpu));
        let (objects, catalogue) = Store::parts(dir.path(), &Options::default()).unwrap();
        let catalogue = Arc::new(FaultyCatalogue::new(catalogue));
        let store = Store::over(Arc::new(objects), catalogue.clone());
        let consolidator = Arc::new(Consolidator::builder().over(store).gpu(gpu.clone()).build().unwrap());
        let pool = consolidator.pool();
        Self { _dir: dir, gpu, catalogue, consolidator, pool, model: minilm_slice().unwrap() }
    }

    /// The first tensors of the model, in the pool.
    fn upload(&self, tag: &str, count: usize) -> Vec<PooledTensor> {
        let one = |tensor: &StoredTensor| {
            let pooled = self.pool.allocate(tag, &tensor.name, tensor.dtype, tensor.shape.clone()).unwrap();
            self.pool.write(&pooled, 0, &tensor.bytes).unwrap();
            pooled
        };
        self.model[..count].iter().map(one).collect()
    }

    fn contents(&self, tensor: &PooledTensor) -> Vec<u8> {
        let mut bytes = vec![0; tensor.bytes() as usize];
        self.pool.read(tensor, 0, &mut bytes).unwrap();
        bytes
    }

    fn used_bytes(&self) -> u64 {
        self.gpu.memory(0).unwrap().used_bytes
    }

    fn state(&self, tag: &str) -> (GroupState, u64) {
        let group = self.pool.status().into_iter().find(|group| group.tag == tag).unwrap();
        (group.state, group.held_bytes)
    }

    fn is_within_the_bound(&self, tensors: &[PooledTensor]) {
        for (tensor, original) in tensors.iter().zip(&self.model) {
            let error = rel_l2(tensor.dtype, &original.bytes, &self.contents(tensor));
            assert!(error <= 0.006, "{}: {error}", tensor.name);
        }
    }
}

#[test]
fn a_group_leaves_the_card_and_comes_back_to_its_addresses() {
    // R4, R7, R15
    let setup = Setup::new();
    let tensors = setup.upload("weights", 6);
    let addresses: Vec<_> = tensors.iter().map(PooledTensor::address).collect();
    let used = setup.used_bytes();
    let paused = setup.pool.pause("weights", &context("server")).unwrap();
    let outcome = paused.outcome.unwrap();
    assert_eq!((paused.freed_bytes, outcome.freed_bytes, setup.used_bytes()), (used, used, 0));
    assert_eq!((outcome.kind.as_str(), outcome.tensors), ("weights", 6));
    assert_eq!(setup.consolidator.stats().unwrap().freed_bytes, used);
    assert_eq!(setup.state("weights"), (GroupState::Paused(paused.content_hash), 0));
    assert!(matches!(setup.pool.write(&tensors[0], 0, &[1]), Err(Error::GroupPaused { .. })));

    // Somebody else uses the memory meanwhile.
    let other = setup.gpu.allocate(0, 1 << 20).unwrap();
    setup.gpu.write(&other, 0, &vec![7; 1 << 20]).unwrap();

    let resumed = setup.pool.resume("weights", &context("server")).unwrap();
    assert_eq!((resumed.content_hash, resumed.warning), (Some(paused.content_hash), None));
    let status = setup.pool.status().remove(0);
    assert_eq!(status.tensors, tensors);
    assert_eq!(status.tensors.iter().map(PooledTensor::address).collect::<Vec<_>>(), addresses);
    setup.is_within_the_bound(&tensors);
    assert_eq!(setup.pool.resume("weights", &context("server")).unwrap().content_hash, None, "it is live");
    setup.gpu.free(other).unwrap();
    drop(setup.pool);
    assert_eq!(setup.gpu.memory(0).unwrap().used_bytes, 0, "a pool that is dropped frees its memory");
}

#[test]
fn each_group_has_a_bound_of_its_own_and_exact_is_exact() {
    // R9
    let setup = Setup::new();
    let (weights, cache) = (setup.upload("weights", 3), setup.upload("cache", 3));
    setup.pool.set_policy("cache", Some(Policy::Exact)).unwrap();
    let context = context("server");
    assert!(setup.pool.pause_all(&context).iter().all(|(_, paused)| paused.is_ok()));
    assert_eq!(setup.used_bytes(), 0);
    assert!(setup.pool.resume_all(&context).iter().all(|(_, resumed)| resumed.is_ok()));
    for (tensor, original) in cache.iter().zip(&setup.model) {
        assert!(setup.contents(tensor) == original.bytes, "{}", tensor.name);
    }
    setup.is_within_the_bound(&weights);
    assert!(setup.pool.set_policy("cache", Some(Policy::RelL2(-1.0))).is_err());
}

#[test]
fn what_was_not_changed_is_not_compressed_again_and_does_not_drift() {
    // R5, R6
    let setup = Setup::new();
    let tensors = setup.upload("weights", 4);
    let context = context("server");
    let first = setup.pool.pause("weights", &context).unwrap();
    setup.pool.resume("weights", &context).unwrap();
    let once: Vec<_> = tensors.iter().map(|tensor| setup.contents(tensor)).collect();
    for _ in 0..3 {
        let again = setup.pool.pause("weights", &context).unwrap();
        let outcome = again.outcome.unwrap();
        assert_eq!((again.content_hash, outcome.new, setup.used_bytes()), (first.content_hash, false, 0));
        setup.pool.resume("weights", &context).unwrap();
        assert!(tensors.iter().zip(&once).all(|(tensor, once)| setup.contents(tensor) == *once));
    }
    setup.pool.write(&tensors[0], 0, &[0; 64]).unwrap();
    let changed = setup.pool.pause("weights", &context).unwrap();
    assert_ne!(changed.content_hash, first.content_hash);

    // What is the same as a memory that is gone meanwhile is stored as what it is.
    setup.pool.resume("weights", &context).unwrap();
    setup.consolidator.store().forget(&changed.content_hash).unwrap();
    let stored = setup.pool.pause("weights", &context).unwrap();
    assert_ne!(stored.content_hash, changed.content_hash);
    setup.pool.resume("weights", &context).unwrap();
}

#[test]
fn a_pause_that_fails_leaves_the_group_as_it_was() {
    // R4
    let setup = Setup::new();
    let tensors = setup.upload("weights", 3);
    let used = setup.used_bytes();
    for fault in [
        Some(Fault::Read { after: 0 }),
        Some(Fault::Read { after: 4 }),
        Some(Fault::Ecc { after: 1 }),
        Some(Fault::DeviceLost),
        None,
    ] {
        match fault {
            Some(fault) => setup.gpu.inject(0, fault).unwrap(),
            None => setup.catalogue.set(Some(CatalogueFault::Commit)),
        }
        setup.pool.pause("weights", &context("server")).unwrap_err();
        setup.gpu.clear_faults(0).unwrap();
        setup.catalogue.set(None);
        assert_eq!((setup.state("weights").0, setup.used_bytes()), (GroupState::Live, used), "{fault:?}");
    }
    for (tensor, original) in tensors.iter().zip(&setup.model) {
        assert!(setup.contents(tensor) == original.bytes);
    }
    assert_eq!(setup.consolidator.stats().unwrap().total_consolidated, 0);
}

#[test]
fn memory_that_cannot_be_given_away_is_stored_and_still_held_until_it_can() {
    // R4
    let setup = Setup::new();
    let tensors = setup.upload("weights", 3);
    setup.gpu.inject(0, Fault::Vacate { after: 1 }).unwrap();
    let paused = setup.pool.pause("weights", &context("server")).unwrap();
    let held: Vec<_> = paused.still_held.iter().map(|held| held.tensor.as_str()).collect();
    assert_eq!(held, [setup.model[1].name.as_str()]);
    assert_eq!(setup.state("weights"), (GroupState::Paused(paused.content_hash), tensors[1].bytes()));
    setup.consolidator.reactivate(&paused.content_hash, &context("server")).unwrap();

    let again = setup.pool.pause("weights", &context("server")).unwrap();
    assert!(again.outcome.is_none() && again.freed_bytes > 0 && again.still_held.is_empty());
    assert_eq!(setup.used_bytes(), 0);
    setup.pool.resume("weights", &context("server")).unwrap();
    setup.is_within_the_bound(&tensors);
}

#[test]
fn a_resume_that_fails_holds_nothing_and_can_be_tried_again() {
    // R4, R7
    let setup = Setup::new();
    let tensors = setup.upload("weights", 3);
    let paused = setup.pool.pause("weights", &context("server")).unwrap();
    for fault in [Fault::Occupy { after: 0 }, Fault::Occupy { after: 2 }, Fault::Write { after: 1 }] {
        setup.gpu.inject(0, fault).unwrap();
        let error = setup.pool.resume("weights", &context("server")).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{fault:?}: {error}");
        assert_eq!(setup.used_bytes(), 0, "{fault:?}");
        assert_eq!(setup.state("weights"), (GroupState::Paused(paused.content_hash), 0));
        setup.gpu.clear_faults(0).unwrap();
    }
    setup.gpu.inject(0, Fault::Write { after: 0 }).unwrap();
    setup.gpu.inject(0, Fault::Vacate { after: 0 }).unwrap();
    let error = setup.pool.resume("weights", &context("server")).unwrap_err();
    assert!(matches!(error, Error::GroupStillHeld { .. }), "{error}");
    assert_eq!(setup.state("weights").1, tensors[0].bytes());
    setup.pool.resume("weights", &context("server")).unwrap();
    setup.is_within_the_bound(&tensors);
}

#[test]
fn a_group_for_which_there_is_no_room_is_rescued() {
    // R30
    let setup = Setup::on(SimulatedGpu::new(8 << 20));
    let tensors = setup.upload("weights", 1);
    let context = context("server");
    setup.pool.pause("weights", &context).unwrap();
    let filling = setup.gpu.allocate(0, 8 << 20).unwrap();
    let item = Item::new("cache", vec![NamedTensor::device("k", DType::U8, [8 << 20], filling)]);
    setup.consolidator.idle(item, &context).unwrap();
    let rescued =
        setup.consolidator.with_rescue(|| setup.pool.resume("weights", &context), || Ok::<_, Error>(()));
    assert!(matches!(rescued.value, Ok(Ran::OnDevice(_))), "{rescued:?}");
    assert_eq!(rescued.relief.consolidated.len(), 1);
    setup.is_within_the_bound(&tensors);
}

#[test]
fn threads_share_a_pool() {
    let setup = Setup::new();
    let groups: Vec<_> = (0..4).map(|number| format!("group {number}")).collect();
    let tensors: Vec<_> = groups.iter().map(|tag| setup.upload(tag, 2)).collect();
    std::thread::scope(|scope| {
        for tag in groups.iter().chain(&groups) {
            let pool = &setup.pool;
            scope.spawn(move || {
                for _ in 0..3 {
                    drop(pool.pause(tag, &context("server")).unwrap());
                    pool.resume(tag, &context("server")).unwrap();
                }
            });
        }
    });
    assert!(setup.pool.status().iter().all(|group| group.state == GroupState::Live));
    for tensors in &tensors {
        setup.is_within_the_bound(tensors);
    }
}

#[test]
fn tensors_come_and_go_and_what_is_gone_is_not_found() {
    let setup = Setup::new();
    let tensors = setup.upload("weights", 2);
    assert!(matches!(
        setup.pool.allocate("weights", &tensors[0].name, DType::F32, [1]),
        Err(Error::InvalidItem { .. })
    ));
    for (tag, name, shape) in [("", "w", vec![1]), ("a", "", vec![1]), ("a", "w", vec![usize::MAX, 9])] {
        assert!(matches!(setup.pool.allocate(tag, name, DType::F32, shape), Err(Error::InvalidItem { .. })));
    }
    setup.pool.free(&tensors[0]).unwrap();
    assert_eq!(setup.pool.read(&tensors[0], 0, &mut [0]).unwrap_err().class(), ErrorClass::NotFound);
    let paused = setup.pool.pause("weights", &context("server")).unwrap();
    assert!(matches!(setup.pool.free(&tensors[1]), Err(Error::GroupPaused { .. })));
    setup.pool.free_group("weights").unwrap();
    assert!(setup.pool.status().is_empty());
    assert!(matches!(setup.pool.pause("weights", &context("server")), Err(Error::NoSuchGroup { .. })));
    setup.consolidator.reactivate(&paused.content_hash, &context("server")).unwrap();
}

/// A card as old drivers make them.
#[derive(Debug, Default)]
struct WithoutAnchors(SimulatedGpu);

impl GpuProbe for WithoutAnchors {
    fn devices(&self) -> gpu_probe::Result<Vec<DeviceInfo>> {
        self.0.devices()
    }

    fn memory(&self, device: u32) -> gpu_probe::Result<MemoryInfo> {
        self.0.memory(device)
    }

    fn processes(&self, device: u32) -> gpu_probe::Result<Vec<GpuProcess>> {
        self.0.processes(device)
    }

    fn fragmentation(&self, device: u32) -> gpu_probe::Result<Fragmentation> {
        self.0.fragmentation(device)
    }

    fn source(&self) -> &'static str {
        "old"
    }
}

impl DeviceMemory for WithoutAnchors {
    fn allocate(&self, device: u32, bytes: u64) -> gpu_probe::Result<Allocation> {
        self.0.allocate(device, bytes)
    }

    fn write(&self, allocation: &Allocation, offset: u64, data: &[u8]) -> gpu_probe::Result<()> {
        self.0.write(allocation, offset, data)
    }

    fn read(&self, allocation: &Allocation, offset: u64, out: &mut [u8]) -> gpu_probe::Result<()> {
        self.0.read(allocation, offset, out)
    }

    fn free(&self, allocation: Allocation) -> gpu_probe::Result<u64, FreeError> {
        self.0.free(allocation)
    }
}

#[test]
fn a_card_that_cannot_keep_addresses_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let gpu = Arc::new(WithoutAnchors::default());
    let consolidator = Arc::new(Consolidator::builder().store(dir.path()).gpu(gpu).build().unwrap());
    let error = consolidator.pool().allocate("weights", "w", DType::F32, [4]).unwrap_err();
    assert!(matches!(&error, Error::Device { source: gpu_probe::Error::Unsupported { .. }, .. }), "{error}");
}

/// Something that happens to one of two groups.
#[derive(Debug, Clone)]
enum Event {
    Pause(usize),
    Resume(usize),
    Write { group: usize, tensor: usize, value: u8 },
    Fails(Fault),
    StoreFails(CatalogueFault),
    Recovers,
}

fn event() -> impl Strategy<Value = Event> {
    let fault = (0..4_u64, 0..7_usize).prop_map(|(after, which)| match which {
        0 => Fault::Read { after },
        1 => Fault::Write { after },
        2 => Fault::Vacate { after },
        3 => Fault::Occupy { after },
        4 => Fault::Ecc { after },
        5 => Fault::LostAfterReads { after },
        _ => Fault::LostAfterWrites { after },
    });
    prop_oneof![
        4 => (0..2_usize).prop_map(Event::Pause),
        4 => (0..2_usize).prop_map(Event::Resume),
        2 => (0..2_usize, 0..3_usize, any::<u8>())
            .prop_map(|(group, tensor, value)| Event::Write { group, tensor, value }),
        3 => fault.prop_map(Event::Fails),
        1 => Just(Event::StoreFails(CatalogueFault::Commit)),
        1 => Just(Event::StoreFails(CatalogueFault::Freed)),
        3 => Just(Event::Recovers),
    ]
}

const BYTES: usize = 1024;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_fails_and_whenever_a_group_is_live_or_paused_and_never_lost(
        events in prop::collection::vec(event(), 1..40),
    ) {
        // R4, R32
        const TAGS: [&str; 2] = ["weights", "cache"];
        let setup = Setup::new();
        let context = context("server");
        let mut expected = [[[0; BYTES]; 3]; 2];
        let tensors = TAGS.map(|tag| {
            setup.pool.set_policy(tag, Some(Policy::Exact)).unwrap();
            [0, 1, 2].map(|number| {
                let tensor = setup.pool.allocate(tag, format!("t{number}"), DType::U8, [BYTES]).unwrap();
                setup.pool.write(&tensor, 0, &[0; BYTES]).unwrap();
                tensor
            })
        });
        let recover = || {
            setup.gpu.clear_faults(0).unwrap();
            setup.catalogue.set(None);
        };
        for event in &events {
            match *event {
                Event::Pause(group) => drop(setup.pool.pause(TAGS[group], &context)),
                Event::Resume(group) => drop(setup.pool.resume(TAGS[group], &context)),
                Event::Write { group, tensor, value } => {
                    let whole = [value; BYTES];
                    match setup.pool.write(&tensors[group][tensor], 0, &whole) {
                        Err(Error::GroupPaused { .. }) => continue,
                        Err(_) => {
                            recover();
                            setup.pool.write(&tensors[group][tensor], 0, &whole).unwrap();
                        }
                        Ok(()) => {}
                    }
                    expected[group][tensor] = whole;
                }
                Event::Fails(fault) => setup.gpu.inject(0, fault).unwrap(),
                Event::StoreFails(fault) => setup.catalogue.set(Some(fault)),
                Event::Recovers => recover(),
            }
        }
        recover();
        for (group, tag) in TAGS.iter().enumerate() {
            let paused = matches!(setup.state(tag).0, GroupState::Paused(_));
            setup.pool.resume(tag, &context).unwrap();
            for (tensor, expected) in tensors[group].iter().zip(&expected[group]) {
                prop_assert!(setup.contents(tensor) == expected, "{tag}, paused: {paused}");
            }
        }
        drop(setup.pool);
        prop_assert_eq!(setup.gpu.fragmentation(0).unwrap().allocated_bytes, 0);
        prop_assert_eq!(setup.gpu.memory(0).unwrap().used_bytes, 0);
    }
}
