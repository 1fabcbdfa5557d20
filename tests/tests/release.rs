//! A monitor of the machine asks a process that holds models for memory, and what is idle leaves (R30, R41, R46).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use end_to_end::{CatalogueFault, FaultyCatalogue, context};
use gpu_probe::{DeviceMemory, Fault, GpuProbe, SimulatedGpu};
use memory_store::{Options, Store};
use omnimind_memory::{
    Consolidator, DType, IdleState, Item, Model, ModelLease, NamedTensor, Policy, ReleaseOnRequest,
    TensorData,
};
use proptest::prelude::*;
use systemd_policy::act::{
    Memory, RELEASE_PATIENCE,
    release::{Answer, ask},
};

const KIB: u64 = 1 << 10;
const MODEL_BYTES: u64 = 64 * KIB;

/// A process that holds models, with a card on which there is room for all of them.
struct Holder {
    dir: tempfile::TempDir,
    gpu: Arc<SimulatedGpu>,
    catalogue: Arc<FaultyCatalogue>,
    consolidator: Arc<Consolidator>,
}

impl Holder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (objects, catalogue) = Store::parts(&dir.path().join("store"), &Options::default()).unwrap();
        let catalogue = Arc::new(FaultyCatalogue::new(catalogue));
        let gpu = Arc::new(SimulatedGpu::new(16 * MODEL_BYTES));
        let store = Store::over(Arc::new(objects), catalogue.clone());
        let builder = Consolidator::builder().over(store).gpu(gpu.clone()).without_kernels();
        let consolidator = Arc::new(builder.build().unwrap());
        Self { dir, gpu, catalogue, consolidator }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("release")
    }

    fn listen(&self) -> ReleaseOnRequest {
        self.consolidator.release_on_request(self.socket()).unwrap()
    }

    fn asked(&self, memory: Memory, bytes: u64) -> Answer {
        ask(&self.socket(), memory, bytes, "a test asks", RELEASE_PATIENCE).unwrap()
    }

    /// A model whose contents are those of the seed, on the card or in host memory.
    fn model(&self, memory: Memory, seed: u8) -> Model {
        let shape = [MODEL_BYTES as usize];
        let tensor = match memory {
            Memory::Vram => {
                let allocation = self.gpu.allocate(0, MODEL_BYTES).unwrap();
                self.gpu.write(&allocation, 0, &contents(seed)).unwrap();
                NamedTensor::device("w", DType::U8, shape, allocation)
            }
            Memory::Ram => NamedTensor::host("w", DType::U8, shape, contents(seed)),
        };
        let item = Item { policy: Some(Policy::Exact), ..Item::new(name(seed), vec![tensor]) };
        self.consolidator.model(item, &context("server")).unwrap()
    }

    fn read(&self, lease: &ModelLease<'_>) -> Vec<u8> {
        match &lease.tensors[0].data {
            TensorData::Host(bytes) => bytes.to_vec(),
            TensorData::Device(allocation) => {
                let mut bytes = vec![0; MODEL_BYTES as usize];
                self.gpu.read(allocation, 0, &mut bytes).unwrap();
                bytes
            }
            other => panic!("a model came back as {other:?}"),
        }
    }

    fn used_bytes(&self) -> u64 {
        self.gpu.memory(0).unwrap().used_bytes
    }

    /// Whether this model is idle and in the store.
    fn is_stored(&self, seed: u8) -> bool {
        let items = self.consolidator.idle_items();
        items.iter().any(|item| item.kind == name(seed) && matches!(item.state, IdleState::Consolidated(_)))
    }

    /// How many idle items are where they were, and how many in the store.
    fn idle(&self) -> (usize, usize) {
        let items = self.consolidator.idle_items();
        let here = items.iter().filter(|item| item.state == IdleState::Here).count();
        let stored = items.iter().filter(|item| matches!(item.state, IdleState::Consolidated(_))).count();
        (here, stored)
    }
}

fn name(seed: u8) -> String {
    format!("model {seed}")
}

fn contents(seed: u8) -> Vec<u8> {
    (0..MODEL_BYTES as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 16) as u8 ^ seed).collect()
}

/// Waits for what must come, however slow the machine is.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn asked_for_vram_what_is_idle_leaves_the_card_and_what_is_leased_stays_whole() {
    // R30, R41, R46
    let holder = Holder::new();
    let _listening = holder.listen();
    let models: Vec<_> = (0..3).map(|seed| holder.model(Memory::Vram, seed)).collect();
    let in_host = holder.model(Memory::Ram, 9);
    let lease = models[1].lease().unwrap();
    let answer = holder.asked(Memory::Vram, u64::MAX);
    assert_eq!((answer.released_bytes, answer.note.as_str()), (2 * MODEL_BYTES, "2 items were consolidated"));
    assert_eq!((holder.used_bytes(), holder.idle()), (MODEL_BYTES, (1, 2)), "the one in host memory stays");
    assert_eq!(holder.read(&lease), contents(1));
    for (seed, model) in models.iter().enumerate() {
        assert_eq!(holder.read(&model.lease().unwrap()), contents(seed as u8), "it comes back");
    }
    assert_eq!(holder.read(&in_host.lease().unwrap()), contents(9));
}

#[test]
fn asked_for_ram_idle_models_in_host_memory_leave_and_come_back_equal() {
    // R41, R46
    let holder = Holder::new();
    let _listening = holder.listen();
    let (idle, leased) = (holder.model(Memory::Ram, 1), holder.model(Memory::Ram, 2));
    let on_card = holder.model(Memory::Vram, 3);
    let lease = leased.lease().unwrap();
    let answer = holder.asked(Memory::Ram, u64::MAX);
    assert_eq!((answer.released_bytes, answer.note.as_str()), (MODEL_BYTES, "1 item was consolidated"));
    assert_eq!((holder.used_bytes(), holder.idle()), (MODEL_BYTES, (1, 1)), "the one on the card stays");
    assert_eq!(holder.read(&lease), contents(2));
    assert_eq!(holder.read(&idle.lease().unwrap()), contents(1));
    assert_eq!(holder.read(&on_card.lease().unwrap()), contents(3));
}

#[test]
fn no_more_leaves_than_was_asked_for_and_the_least_recently_used_first() {
    // R30, R46
    let holder = Holder::new();
    let _listening = holder.listen();
    let minutes = |minutes: u64, seed| {
        let bytes = NamedTensor::host("w", DType::U8, [MODEL_BYTES as usize], contents(seed));
        let idle_for = Duration::from_mins(minutes);
        holder.consolidator.idle_since(Item::new("cache", vec![bytes]), &context("server"), idle_for).unwrap()
    };
    let (fresh, old, older) = (minutes(0, 1), minutes(10, 2), minutes(20, 3));
    assert_eq!(holder.asked(Memory::Ram, MODEL_BYTES + 1).released_bytes, 2 * MODEL_BYTES);
    for item in holder.consolidator.idle_items() {
        assert_eq!(item.state == IdleState::Here, item.id == fresh, "{item:?}");
        assert!(item.host_bytes == MODEL_BYTES && [fresh, old, older].contains(&item.id));
    }
}

#[test]
fn asked_while_nothing_is_idle_it_says_so() {
    // R41
    let holder = Holder::new();
    let _listening = holder.listen();
    let answers = || [holder.asked(Memory::Vram, KIB), holder.asked(Memory::Ram, KIB)];
    let nothing = ["nothing is idle that holds VRAM of card 0", "nothing is idle that holds RAM"]
        .map(|note| Answer { released_bytes: 0, note: note.to_owned() });
    assert_eq!(answers(), nothing);
    let models = [holder.model(Memory::Vram, 1), holder.model(Memory::Ram, 2)];
    let leases = models.each_ref().map(|model| model.lease().unwrap());
    assert_eq!(answers(), nothing, "what is leased is not idle");
    drop(leases);
    assert_eq!(holder.asked(Memory::Ram, 0).note, "nothing was asked for");
    assert_eq!(answers().map(|answer| answer.released_bytes), [MODEL_BYTES; 2]);
}

#[test]
fn what_the_store_refuses_stays_unharmed_and_the_answer_says_why() {
    // R4, R41
    let holder = Holder::new();
    let _listening = holder.listen();
    let models = [(Memory::Vram, 1), (Memory::Ram, 2), (Memory::Ram, 3)]
        .map(|(memory, seed)| holder.model(memory, seed));
    holder.catalogue.set(Some(CatalogueFault::Commit));
    for (memory, items) in [(Memory::Vram, "1 item could"), (Memory::Ram, "2 items could")] {
        let answer = holder.asked(memory, u64::MAX);
        assert_eq!(answer.released_bytes, 0);
        assert!(
            answer.note.starts_with(items) && answer.note.contains("an injected fault"),
            "{}",
            answer.note
        );
    }
    assert_eq!((holder.used_bytes(), holder.idle()), (MODEL_BYTES, (3, 0)));
    holder.catalogue.set(None);
    for (seed, model) in (1..).zip(&models) {
        assert_eq!(holder.read(&model.lease().unwrap()), contents(seed));
    }
    assert_eq!(holder.asked(Memory::Ram, u64::MAX).released_bytes, 2 * MODEL_BYTES);
}

#[test]
fn what_could_not_be_freed_is_kept_for_the_owner_of_the_guard() {
    // R4, R41
    let holder = Holder::new();
    let listening = holder.listen();
    let model = holder.model(Memory::Vram, 1);
    holder.gpu.inject(0, Fault::Free { after: 0 }).unwrap();
    let answer = holder.asked(Memory::Vram, u64::MAX);
    assert_eq!((answer.released_bytes, holder.used_bytes()), (0, MODEL_BYTES));
    assert!(answer.note.ends_with("64.00 KiB of VRAM could not be freed"), "{}", answer.note);
    holder.gpu.clear_faults(0).unwrap();
    let mut held = listening.take_still_held();
    holder.gpu.free(held.pop().unwrap().allocation).unwrap();
    assert!(held.is_empty() && listening.take_still_held().is_empty() && holder.used_bytes() == 0);
    assert_eq!(holder.read(&model.lease().unwrap()), contents(1));
}

#[test]
fn the_socket_goes_with_the_guard_and_nobody_is_answered_any_more() {
    // R41
    let holder = Holder::new();
    let listening = holder.listen();
    let error = holder.consolidator.release_on_request(holder.socket()).unwrap_err().to_string();
    assert!(error.contains("somebody listens there"), "{error}");
    assert_eq!((listening.path(), listening.trouble()), (holder.socket().as_path(), None));
    drop(listening);
    assert!(!holder.socket().exists());
    assert!(ask(&holder.socket(), Memory::Ram, 1, "", RELEASE_PATIENCE).is_err());
    assert_eq!(Arc::strong_count(&holder.consolidator), 1, "its thread has ended");
    let _again = holder.listen();
    assert_eq!(holder.asked(Memory::Ram, 1).released_bytes, 0);
}

#[test]
fn a_socket_that_somebody_removed_is_made_again_and_until_then_it_is_said() {
    // R41
    let holder = Holder::new();
    let directory = holder.dir.path().join("run");
    fs::create_dir(&directory).unwrap();
    let socket = directory.join("release");
    let answers = |path: &Path| ask(path, Memory::Ram, 1, "", RELEASE_PATIENCE).is_ok();
    let listening = holder.consolidator.release_on_request_for(&socket, [12_345]).unwrap();
    assert!(answers(&socket));
    fs::remove_file(&socket).unwrap();
    eventually("a new socket", || answers(&socket));
    fs::remove_dir_all(&directory).unwrap();
    eventually("the trouble", || {
        listening.trouble().is_some_and(|trouble| trouble.contains("RuntimeDirectory="))
    });
    fs::create_dir(&directory).unwrap();
    eventually("a new socket", || answers(&socket) && listening.trouble().is_none());
}

#[test]
fn the_command_line_asks_too() {
    // R41
    let holder = Holder::new();
    let _listening = holder.listen();
    let _models = [holder.model(Memory::Vram, 1), holder.model(Memory::Ram, 2)];
    let socket = holder.socket();
    let verb =
        ["omnimind", "memory", "release", "--mib", "1", "--json", "--socket", socket.to_str().unwrap()];
    assert_eq!(omnimind_cli::run(verb.into_iter().chain(["--vram"])), ExitCode::SUCCESS);
    assert_eq!((holder.used_bytes(), holder.idle()), (0, (1, 1)));
    assert_eq!(omnimind_cli::run(verb), ExitCode::SUCCESS);
    assert_eq!(holder.idle(), (0, 2));
}

/// Something that happens to one of the models, or to all.
#[derive(Debug, Clone)]
enum Step {
    Lease(usize),
    EndLease(usize),
    Ask(Memory, u64),
}

/// The memory that each model is at home in; there is room for all of them.
const HOMES: [Memory; 5] = [Memory::Vram, Memory::Ram, Memory::Vram, Memory::Ram, Memory::Vram];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..HOMES.len()).prop_map(Step::Lease),
        (0..HOMES.len()).prop_map(Step::EndLease),
        (prop::sample::select(vec![Memory::Vram, Memory::Ram]), 0..4 * MODEL_BYTES)
            .prop_map(|(memory, bytes)| Step::Ask(memory, bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_leased_and_asked_for_each_model_is_in_one_place_and_whole(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        // R30, R41, R46
        let holder = Holder::new();
        let _listening = holder.listen();
        let models: Vec<_> = (0_u8..).zip(HOMES).map(|(seed, home)| holder.model(home, seed)).collect();
        let mut leases: Vec<Vec<ModelLease<'_>>> = HOMES.iter().map(|_| vec![]).collect();
        let mut live = [true; HOMES.len()];
        for step in steps {
            match step {
                Step::Lease(which) => {
                    leases[which].push(models[which].lease().unwrap());
                    live[which] = true;
                }
                Step::EndLease(which) => drop(leases[which].pop()),
                Step::Ask(memory, bytes) => {
                    let idle = |which: &usize| HOMES[*which] == memory && leases[*which].is_empty() && live[*which];
                    let here = (0..HOMES.len()).filter(idle).count() as u64;
                    let answer = holder.asked(memory, bytes);
                    let leave = bytes.div_ceil(MODEL_BYTES).min(here);
                    prop_assert_eq!(answer.released_bytes, leave * MODEL_BYTES, "{}", answer.note);
                    for which in 0..HOMES.len() {
                        if live[which] && holder.is_stored(which as u8) {
                            prop_assert!(HOMES[which] == memory && leases[which].is_empty());
                            live[which] = false;
                        }
                    }
                }
            }
            let unleased = leases.iter().filter(|leases| leases.is_empty()).count();
            let here = (0..HOMES.len()).filter(|&which| leases[which].is_empty() && live[which]).count();
            prop_assert_eq!(holder.idle(), (here, unleased - here), "each idle model is in one place");
            let on_card = (0..HOMES.len()).filter(|&which| HOMES[which] == Memory::Vram && live[which]).count();
            prop_assert_eq!(holder.used_bytes(), on_card as u64 * MODEL_BYTES);
            for (seed, leases) in leases.iter().enumerate() {
                prop_assert_eq!(models[seed].is_leased(), !leases.is_empty());
                for lease in leases {
                    prop_assert_eq!(holder.read(lease), contents(seed as u8));
                }
            }
        }
        drop(leases);
        for (seed, model) in models.iter().enumerate() {
            prop_assert_eq!(holder.read(&model.lease().unwrap()), contents(seed as u8));
        }
    }
}
