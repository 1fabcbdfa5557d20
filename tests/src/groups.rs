//! What the groups of tests in `test-groups.toml` stand on: the card of this run, and what of it is a test's own.

use std::{env, path::PathBuf, sync::Arc};

use gpu_probe::{DeviceMemory, SHARED_CARD_VARIABLE, SimulatedGpu, detect};
use omnimind_memory::Allocation;
use tempfile::TempDir;

/// A real card, or the simulated one that several processes share, where there is one; else one of this test's own.
///
/// # Panics
/// If a shared card is named and cannot be used: the test would compete with nobody.
#[must_use]
pub fn card(capacity_bytes: u64) -> Arc<dyn DeviceMemory> {
    let found = detect();
    if found.probe.source() != "none" {
        return found.probe;
    }
    let is_named = env::var_os(SHARED_CARD_VARIABLE).is_some_and(|path| !path.is_empty());
    assert!(!is_named, "{}", found.note);
    Arc::new(SimulatedGpu::new(capacity_bytes))
}

/// Bytes that were allocated through this very handle and are still held: whatever others do meanwhile.
///
/// # Panics
/// If the card does not answer.
#[must_use]
pub fn held_bytes(gpu: &dyn DeviceMemory) -> u64 {
    gpu.fragmentation(0).expect("a card that answers").allocated_bytes
}

/// Takes so much of a simulated card that `room_bytes` are left. A real one is left alone: it is not ours to fill.
///
/// # Panics
/// If the card does not answer, or somebody is quicker.
#[must_use]
pub fn leave_room(gpu: &dyn DeviceMemory, room_bytes: u64) -> Option<Allocation> {
    let free = gpu.memory(0).expect("a card that answers").free_bytes;
    let is_ours = gpu.source() == "simulated" && free > room_bytes;
    // What is never written costs nothing but room on the card.
    is_ours.then(|| gpu.allocate(0, free - room_bytes).expect("what was free just now"))
}

/// A directory that this run of a group keeps for all of its tests, named by an environment variable (relative to the repository);
/// else one of this test's own, which goes with the second value.
///
/// # Panics
/// If there is no room for files.
#[must_use]
pub fn kept_directory(variable: &str) -> (PathBuf, Option<TempDir>) {
    if let Some(named) = env::var_os(variable).filter(|path| !path.is_empty()) {
        let repository = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let directory = repository.join(named);
        std::fs::create_dir_all(&directory).expect("room for a directory");
        return (directory, None);
    }
    let own = tempfile::tempdir().expect("room for a directory");
    (own.path().to_path_buf(), Some(own))
}

/// float32 elements, little-endian, that look like activations and are always the same for one seed: no two neighbours alike, and
/// no two seeds.
#[must_use]
pub fn activations(seed: u64, count: usize) -> Vec<u8> {
    crate::weights::elements(omnimind_memory::DType::F32, crate::weights::Kind::Normal, count, seed)
}
