//! What is leased stays in RAM, and what leaves RAM has left the process (R41, R46). A target of its own: the kernel counts locked and
//! resident pages for whole processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    env, fs,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use end_to_end::context;
use gpu_probe::{DeviceMemory, SimulatedGpu};
use omnimind_memory::{Consolidator, DType, Item, Model, NamedTensor, Policy, Protection};

const MIB: u64 = 1 << 20;

/// Of memory that this process may lock, in the child that has a limit.
const LIMIT_BYTES: u64 = 64 << 10;

/// Only one test at a time changes what is counted.
static COUNTED: Mutex<()> = Mutex::new(());

fn counted() -> MutexGuard<'static, ()> {
    COUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn status_bytes(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn locked_bytes() -> u64 {
    status_bytes("VmLck:")
}

fn consolidator(dir: &tempfile::TempDir) -> Arc<Consolidator> {
    let gpu = Arc::new(SimulatedGpu::new(16 * MIB));
    Arc::new(Consolidator::builder().store(dir.path().join("store")).gpu(gpu).build().unwrap())
}

fn contents(seed: u64, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed) >> 40) as u8).collect()
}

/// A model of so many tensors in host memory.
fn model(consolidator: &Arc<Consolidator>, tensors: u64, bytes: u64) -> Model {
    let tensor =
        |seed| NamedTensor::host(format!("w{seed}"), DType::U8, [bytes as usize], contents(seed, bytes));
    let item = Item { policy: Some(Policy::Exact), ..Item::new("model", (0..tensors).map(tensor).collect()) };
    consolidator.model(item, &context("server")).unwrap()
}

#[test]
fn a_model_in_host_memory_is_locked_from_its_first_lease_to_the_end_of_its_last() {
    // R41, R46
    let _counted = counted();
    let dir = tempfile::tempdir().unwrap();
    let consolidator = consolidator(&dir);
    let model = model(&consolidator, 2, MIB);
    let before = locked_bytes();
    let all = before + 2 * MIB;
    // The pages at both ends of both tensors are locked whole.
    let whole_pages = all..=all + 4 * 4096;
    for round in 0..2 {
        let first = model.lease().unwrap();
        let statement = format!("all {} bytes stay in RAM", 2 * MIB);
        assert_eq!(
            *first.protection(),
            Protection { protected_bytes: 2 * MIB, unprotected_bytes: 0, statement },
            "round {round}"
        );
        assert!(whole_pages.contains(&locked_bytes()), "{} after {before}", locked_bytes());
        let second = model.lease().unwrap();
        assert_eq!(first.protection(), second.protection());
        drop(first);
        assert!(whole_pages.contains(&locked_bytes()), "somebody uses it still");
        drop(second);
        assert_eq!(locked_bytes(), before);
        // The next time it comes back from the store.
        assert_eq!(consolidator.consolidate_idle_host(1).released_host_bytes(), 2 * MIB);
    }
}

#[test]
fn of_a_model_on_a_card_nothing_has_to_be_locked_and_it_says_so() {
    // R46
    let _counted = counted();
    let (dir, gpu) = (tempfile::tempdir().unwrap(), Arc::new(SimulatedGpu::new(16 * MIB)));
    let builder = Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone());
    let consolidator = Arc::new(builder.build().unwrap());
    let tensor = NamedTensor::device("w", DType::U8, [MIB as usize], gpu.allocate(0, MIB).unwrap());
    let model = consolidator.model(Item::new("model", vec![tensor]), &context("server")).unwrap();
    let before = locked_bytes();
    let lease = model.lease().unwrap();
    let Protection { protected_bytes, unprotected_bytes, statement } = lease.protection();
    assert_eq!((*protected_bytes, *unprotected_bytes, locked_bytes()), (0, 0, before));
    assert!(statement.contains("a card is not swapped"), "{statement}");
}

#[test]
fn what_the_limit_leaves_no_room_for_is_said_with_what_to_set() {
    // R41
    let root = fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t");
    let limit = format!("--memlock={LIMIT_BYTES}:{LIMIT_BYTES}");
    let mut command = if root {
        // Root locks without a limit, unless it may not have the right to.
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "prlimit"]);
        command
    } else {
        Command::new("prlimit")
    };
    command.arg(limit).arg(env::current_exe().unwrap());
    passes(command, "as_a_child_with_a_small_limit");
}

/// Runs one of the tests below in a process that was prepared for it.
fn passes(mut child: Command, test: &str) {
    match child.args(["--ignored", "--exact", test, "--nocapture"]).output() {
        Ok(child) => {
            let said = String::from_utf8_lossy(&child.stdout);
            let complained = String::from_utf8_lossy(&child.stderr);
            assert!(child.status.success() && said.contains("1 passed"), "{said}{complained}");
        }
        Err(error) => eprintln!("{child:?} cannot be started here ({error}): not tested"),
    }
}

#[test]
#[ignore = "what_the_limit_leaves_no_room_for_is_said_with_what_to_set runs it in a process with a small limit"]
fn as_a_child_with_a_small_limit() {
    let dir = tempfile::tempdir().unwrap();
    let consolidator = consolidator(&dir);
    let model = model(&consolidator, 3, LIMIT_BYTES / 2);
    let before = locked_bytes();
    let lease = model.lease().unwrap();
    let Protection { protected_bytes, unprotected_bytes, statement } = lease.protection().clone();
    assert_eq!(protected_bytes + unprotected_bytes, 3 * LIMIT_BYTES / 2);
    // The last page that there is room for may be of no tensor in part.
    assert!((LIMIT_BYTES - 3 * 4096..=LIMIT_BYTES).contains(&protected_bytes), "{statement}");
    assert!(locked_bytes() > before && locked_bytes() <= LIMIT_BYTES);
    let says = format!("all of them take {unprotected_bytes} bytes more; of tensor \"w");
    assert!(statement.contains(&says) && statement.contains("set LimitMEMLOCK="), "{statement}");
    drop(lease);
    assert_eq!(locked_bytes(), before);
}

#[test]
fn ram_that_is_released_has_left_the_process() {
    // R41, R46
    let mut child = Command::new(env::current_exe().unwrap());
    // Otherwise glibc keeps some of it for its next allocations, as the documentation says.
    child.env("MALLOC_TRIM_THRESHOLD_", "131072");
    passes(child, "as_a_child_whose_allocator_keeps_nothing");
}

#[test]
#[ignore = "ram_that_is_released_has_left_the_process runs it in a process of its own"]
fn as_a_child_whose_allocator_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let consolidator = consolidator(&dir);
    let model = model(&consolidator, 8, 4 * MIB);
    // The first time it was made here; then it comes back from the store, tensor by tensor and from many threads.
    for round in 0..3 {
        drop(model.lease().unwrap());
        let before = status_bytes("RssAnon:");
        let released = consolidator.consolidate_idle_host(u64::MAX).released_host_bytes();
        assert_eq!(released, 32 * MIB);
        let left = before.saturating_sub(status_bytes("RssAnon:"));
        // Compressing takes some for its threads, the first time.
        let kept = if round == 0 { 24 * MIB } else { MIB };
        assert!(left + kept >= released, "of {released} bytes {left} left in round {round}");
    }
}
