//! A card that computes: its kernels, run by an emulator, store and bring back what the processor would, and when they fail the
//! processor does (R4, R15).
#![expect(unsafe_code, reason = "frameworks hand over addresses")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use end_to_end::{context, minilm_slice};
use gpu_probe::{
    Allocation, DeviceInfo, DeviceMemory, DeviceSpan, Error as CardError, Fragmentation, FreeError, GpuProbe,
    GpuProcess, Issuer, KernelQueue, KernelSetup, MemoryInfo, Result,
};
use omnimind_memory::{Consolidator, DType, Error, Item, NamedTensor, Notice, Outcome};
use ptx_emulator::{Arena, Program};
use tempfile::TempDir;

/// What happens to the operations of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Works,
    /// One fails, after so many, and the next ones work again.
    Fails {
        after: usize,
        broken: bool,
    },
    /// Somebody writes to this address, after so many.
    IsOverwritten {
        after: usize,
        address: u64,
    },
}

#[derive(Debug)]
struct Card {
    memory: Mutex<Arena>,
    plan: Mutex<Plan>,
    launches: AtomicUsize,
    held_bytes: AtomicUsize,
}

#[derive(Debug)]
struct EmulatedGpu {
    card: Arc<Card>,
    issuer: Issuer,
    /// Numbers of allocations that are somebody else's.
    adopted: Mutex<HashSet<u64>>,
}

#[derive(Debug)]
struct Queue {
    card: Arc<Card>,
    lanes: Vec<(DeviceSpan, Vec<u8>)>,
}

fn program(ptx: &str) -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::parse(ptx).unwrap())
}

fn driver(reason: impl std::error::Error) -> CardError {
    CardError::Driver { device: 0, operation: "running a kernel".to_owned(), reason: format!("{reason}") }
}

impl EmulatedGpu {
    fn new() -> Self {
        let (memory, plan) = (Mutex::new(Arena::new()), Mutex::new(Plan::Works));
        let card = Card { memory, plan, launches: AtomicUsize::new(0), held_bytes: AtomicUsize::new(0) };
        Self { card: Arc::new(card), issuer: Issuer::new(), adopted: Mutex::default() }
    }

    fn plan(&self, plan: Plan) {
        *self.card.plan.lock().unwrap() = plan;
    }

    fn launches(&self) -> usize {
        self.card.launches.swap(0, Ordering::SeqCst)
    }

    fn holding(&self, bytes: &[u8]) -> Allocation {
        let allocation = self.allocate(0, bytes.len() as u64).unwrap();
        self.write(&allocation, 0, bytes).unwrap();
        allocation
    }

    fn contents(&self, allocation: &Allocation) -> Vec<u8> {
        let mut bytes = vec![0; allocation.bytes() as usize];
        self.read(allocation, 0, &mut bytes).unwrap();
        bytes
    }
}

impl Card {
    /// Begins an operation of the queue.
    fn operate(&self) -> Result<MutexGuard<'_, Arena>> {
        let mut memory = self.memory.lock().unwrap();
        let mut plan = self.plan.lock().unwrap();
        match &mut *plan {
            Plan::Works => {}
            Plan::Fails { after, .. } | Plan::IsOverwritten { after, .. } if *after > 0 => *after -= 1,
            &mut Plan::Fails { broken, .. } => {
                *plan = Plan::Works;
                let (operation, reason) = ("running a kernel".to_owned(), "it was made to fail".to_owned());
                return Err(if broken {
                    CardError::Broken { device: 0, operation, reason }
                } else {
                    CardError::Driver { device: 0, operation, reason }
                });
            }
            &mut Plan::IsOverwritten { address, .. } => {
                *plan = Plan::Works;
                memory.write(address, &[0x55; 4]).unwrap();
            }
        }
        Ok(memory)
    }
}

impl GpuProbe for EmulatedGpu {
    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        Ok(vec![DeviceInfo::new(0, "emulated", 1 << 32)])
    }

    fn memory(&self, _: u32) -> Result<MemoryInfo> {
        let held = self.card.held_bytes.load(Ordering::SeqCst) as u64;
        Ok(MemoryInfo::new(1 << 32, (1 << 32) - held))
    }

    fn processes(&self, _: u32) -> Result<Vec<GpuProcess>> {
        Ok(Vec::new())
    }

    fn fragmentation(&self, device: u32) -> Result<Fragmentation> {
        Err(CardError::NotReported { device, what: "its pieces", reason: "it is emulated".to_owned() })
    }

    fn source(&self) -> &'static str {
        "emulated"
    }
}

impl DeviceMemory for EmulatedGpu {
    fn allocate(&self, device: u32, bytes: u64) -> Result<Allocation> {
        let address = if bytes == 0 { 0 } else { self.card.memory.lock().unwrap().allocate(bytes) };
        self.card.held_bytes.fetch_add(bytes as usize, Ordering::SeqCst);
        Ok(self.issuer.issue(device, bytes, address))
    }

    fn write(&self, allocation: &Allocation, offset: u64, data: &[u8]) -> Result<()> {
        allocation.check_range(offset, data.len())?;
        self.card.memory.lock().unwrap().write(allocation.address() + offset, data).map_err(driver)
    }

    fn read(&self, allocation: &Allocation, offset: u64, out: &mut [u8]) -> Result<()> {
        allocation.check_range(offset, out.len())?;
        self.card.memory.lock().unwrap().read(allocation.address() + offset, out).map_err(driver)
    }

    unsafe fn adopt(&self, device: u32, address: u64, bytes: u64) -> Result<Allocation> {
        let allocation = self.issuer.issue(device, bytes, address);
        self.adopted.lock().unwrap().insert(allocation.id());
        Ok(allocation)
    }

    fn free(&self, allocation: Allocation) -> Result<u64, FreeError> {
        if self.adopted.lock().unwrap().remove(&allocation.id()) {
            return Ok(0);
        }
        if allocation.bytes() > 0 {
            self.card.memory.lock().unwrap().free(allocation.address());
        }
        self.card.held_bytes.fetch_sub(allocation.bytes() as usize, Ordering::SeqCst);
        Ok(allocation.bytes())
    }

    fn kernels(&self, _: u32, setup: &KernelSetup<'_>) -> Result<Box<dyn KernelQueue>> {
        program(setup.ptx);
        let lane = || {
            let address = self.card.memory.lock().unwrap().allocate(setup.scratch_bytes);
            (DeviceSpan { address, bytes: setup.scratch_bytes }, vec![0xee; setup.staging_bytes])
        };
        let lanes = (0..setup.lanes).map(|_| lane()).collect();
        Ok(Box::new(Queue { card: self.card.clone(), lanes }))
    }
}

impl KernelQueue for Queue {
    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn scratch(&self, lane: usize) -> DeviceSpan {
        self.lanes[lane].0
    }

    fn staging_bytes(&self) -> usize {
        self.lanes[0].1.len()
    }

    fn join(&mut self) -> Result<()> {
        Ok(())
    }

    fn launch(&mut self, _: usize, kernel: &str, grid: u32, threads: u32, arguments: &[u64]) -> Result<()> {
        let mut memory = self.card.operate()?;
        self.card.launches.fetch_add(1, Ordering::SeqCst);
        let launched = program("").launch(&mut *memory, kernel, grid, threads, arguments);
        launched.map(drop).map_err(driver)
    }

    fn fetch(&mut self, lane: usize, from_address: u64, to_staging: usize, bytes: usize) -> Result<()> {
        let into = &mut self.lanes[lane].1[to_staging..to_staging + bytes];
        self.card.operate()?.read(from_address, into).map_err(driver)
    }

    fn send(&mut self, lane: usize, from_staging: usize, to_address: u64, bytes: usize) -> Result<()> {
        let from = &self.lanes[lane].1[from_staging..from_staging + bytes];
        self.card.operate()?.write(to_address, from).map_err(driver)
    }

    fn staging(&mut self, lane: usize) -> Result<&mut [u8]> {
        drop(self.card.operate()?);
        Ok(&mut self.lanes[lane].1)
    }
}

/// Large enough that its card hashes it, too.
const SHAPE: [usize; 2] = [768, 384];

fn weights() -> Vec<u8> {
    let model = minilm_slice().unwrap();
    let rows = model.iter().find(|tensor| tensor.shape == [1000, 384]).unwrap();
    rows.bytes[..4 * SHAPE[0] * SHAPE[1]].to_vec()
}

fn consolidator(gpu: Option<&Arc<EmulatedGpu>>) -> (TempDir, Consolidator) {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = Consolidator::builder().store(dir.path());
    if let Some(gpu) = gpu {
        builder = builder.gpu(gpu.clone());
    }
    (dir, builder.build().unwrap())
}

fn on_card(gpu: &EmulatedGpu, weights: &[u8]) -> Item<'static> {
    let bias = &weights[..4 * SHAPE[1]];
    Item::new(
        "model",
        vec![
            NamedTensor::device("w", DType::F32, SHAPE, gpu.holding(weights)),
            NamedTensor::device("b", DType::F32, [SHAPE[1]], gpu.holding(bias)),
        ],
    )
}

/// What the processor alone makes of it.
fn by_processor(weights: &[u8]) -> (TempDir, Consolidator, Outcome) {
    let (dir, consolidator) = consolidator(None);
    let item = Item::new(
        "model",
        vec![
            NamedTensor::host("w", DType::F32, SHAPE, weights),
            NamedTensor::host("b", DType::F32, [SHAPE[1]], &weights[..4 * SHAPE[1]]),
        ],
    );
    let outcome = consolidator.consolidate(vec![item], &context("a")).outcomes.remove(0);
    (dir, consolidator, outcome)
}

fn objects(consolidator: &Consolidator, outcome: &Outcome) -> Vec<String> {
    let memory = consolidator.store().manifest(&outcome.content_hash).unwrap();
    memory.tensors.iter().map(|tensor| tensor.object.hash.to_string()).collect()
}

#[test]
fn a_card_stores_and_brings_back_what_the_processor_would() {
    // R15
    let (gpu, weights) = (Arc::new(EmulatedGpu::new()), weights());
    let (_dir, consolidator) = consolidator(Some(&gpu));
    let outcome = consolidator.consolidate(vec![on_card(&gpu, &weights)], &context("a")).outcomes.remove(0);
    assert!(gpu.launches() > 0, "kernels ran");
    let (_other_dir, other, expected) = by_processor(&weights);
    assert_eq!(outcome.content_hash, expected.content_hash);
    assert_eq!(objects(&consolidator, &outcome), objects(&other, &expected));
    assert_eq!(gpu.memory(0).unwrap().used_bytes, 0);

    let back = consolidator.reactivate_on_device(&outcome.content_hash, &context("a")).unwrap();
    assert!(gpu.launches() > 0, "kernels ran");
    let in_host = other.reactivate(&outcome.content_hash, &context("a")).unwrap();
    for (tensor, expected) in back.tensors.into_iter().zip(in_host.tensors) {
        assert!(gpu.contents(&tensor.allocation) == expected.bytes, "{}", tensor.name);
        gpu.free(tensor.allocation).unwrap();
    }
    assert_eq!(consolidator.notices(), []);
}

#[test]
fn where_kernels_fail_the_processor_does_the_same_and_says_so() {
    // R4, R15
    let (gpu, weights) = (Arc::new(EmulatedGpu::new()), weights());
    let (_other_dir, other, expected) = by_processor(&weights);
    for after in [0, 3, 9, 14] {
        let (_dir, consolidator) = consolidator(Some(&gpu));
        gpu.plan(Plan::Fails { after, broken: false });
        let outcome =
            consolidator.consolidate(vec![on_card(&gpu, &weights)], &context("a")).outcomes.remove(0);
        assert_eq!(objects(&consolidator, &outcome), objects(&other, &expected), "after {after}");
        assert!(
            matches!(&consolidator.notices()[..], [Notice::WithoutKernels { device: 0, .. }]),
            "after {after}"
        );
        gpu.plan(Plan::Fails { after: after / 3, broken: false });
        let back = consolidator.reactivate_on_device(&outcome.content_hash, &context("a")).unwrap();
        let in_host = other.reactivate(&outcome.content_hash, &context("a")).unwrap();
        assert!(gpu.contents(&back.tensors[0].allocation) == in_host.tensors[0].bytes, "after {after}");
        assert_eq!(consolidator.notices().len(), 1, "after {after}");
        gpu.plan(Plan::Works);
    }
}

#[test]
fn a_card_that_breaks_gives_the_item_back_and_is_not_sent_kernels_again() {
    // R4
    let (gpu, weights) = (Arc::new(EmulatedGpu::new()), weights());
    let (_dir, consolidator) = consolidator(Some(&gpu));
    gpu.plan(Plan::Fails { after: 4, broken: true });
    let mut consolidated = consolidator.consolidate(vec![on_card(&gpu, &weights)], &context("a"));
    let failed = consolidated.failed.remove(0);
    assert!(
        matches!(&failed.error, Error::Device { source: CardError::Broken { .. }, .. }),
        "{}",
        failed.error
    );
    assert_eq!(consolidator.stats().unwrap().total_consolidated, 0);
    gpu.launches();
    let again = consolidator.consolidate(vec![failed.item], &context("a"));
    assert_eq!((again.outcomes.len(), gpu.launches()), (1, 0));
}

#[test]
fn what_is_written_to_while_a_card_compresses_it_is_given_back() {
    // R4
    let (gpu, weights) = (Arc::new(EmulatedGpu::new()), weights());
    let (_dir, consolidator) = consolidator(Some(&gpu));
    let item = on_card(&gpu, &weights);
    let omnimind_memory::TensorData::Device(allocation) = &item.tensors[0].data else {
        panic!("not on the card")
    };
    gpu.plan(Plan::IsOverwritten { after: 12, address: allocation.address() });
    let consolidated = consolidator.consolidate(vec![item], &context("a"));
    assert!(matches!(consolidated.failed[0].error, Error::TensorChanged { .. }), "{consolidated:?}");
}

#[test]
fn a_consolidator_can_leave_the_card_alone() {
    let (gpu, weights) = (Arc::new(EmulatedGpu::new()), weights());
    let dir = tempfile::tempdir().unwrap();
    let consolidator =
        Consolidator::builder().store(dir.path()).gpu(gpu.clone()).without_kernels().build().unwrap();
    let outcome = consolidator.consolidate(vec![on_card(&gpu, &weights)], &context("a")).outcomes.remove(0);
    drop(consolidator.reactivate_on_device(&outcome.content_hash, &context("a")).unwrap());
    assert_eq!(gpu.launches(), 0);
}

#[test]
fn a_framework_s_tensor_is_compressed_where_it_is_even_if_it_is_a_view_that_kernels_cannot_read() {
    // R3, R15
    let (gpu, weights) = (Arc::new(EmulatedGpu::new()), weights());
    let (_other_dir, other, _) = by_processor(&weights);
    let alone = Item::new("model", vec![NamedTensor::host("w", DType::F32, SHAPE, weights.as_slice())]);
    let expected = other.consolidate(vec![alone], &context("a")).outcomes.remove(0);
    for (offset, runs_kernels) in [(0, true), (4, false)] {
        let (_dir, consolidator) = consolidator(Some(&gpu));
        let theirs = gpu.holding(&[&vec![0; offset], weights.as_slice()].concat());
        let address = theirs.address() + offset as u64;
        // SAFETY: `theirs` is alive until the end of this round.
        let tensor = unsafe { NamedTensor::borrowed("w", DType::F32, SHAPE, 0, address, ()) };
        gpu.launches();
        let outcome = consolidator
            .consolidate(vec![Item::new("model", vec![tensor])], &context("a"))
            .outcomes
            .remove(0);
        assert_eq!(objects(&consolidator, &outcome), objects(&other, &expected), "offset {offset}");
        assert_eq!(gpu.launches() > 0, runs_kernels, "offset {offset}");
        assert!(gpu.adopted.lock().unwrap().is_empty(), "what was adopted is forgotten");
        gpu.free(theirs).unwrap();
    }
}
