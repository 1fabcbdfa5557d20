//! The bench of the kernels, tiny, on the stand-in for a driver: what it says must hold holds, and no part of it fails.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use benches::gpu::rows::Rows;
use benches::gpu::{Options, measure};
use end_to_end::stand_in;
use gpu_probe::DeviceMemory;

#[test]
fn every_part_of_the_bench_runs() {
    let Some(folder) = stand_in::build(env!("CARGO_TARGET_TMPDIR"), "bench") else { return };
    let text = stand_in::run(&folder, "", "inside_the_bench");
    stand_in::check_nothing_is_left(&text);
}

#[test]
#[ignore = "started by the test above, with the stand-in"]
fn inside_the_bench() {
    if !stand_in::is_here() {
        return;
    }
    let stores = tempfile::tempdir().expect("room for a store");
    let options = Options {
        // More than a window, and more than the processor hashes alone.
        bytes: 5 << 18,
        rounds: 1,
        compared_bytes: 1 << 18,
        scratch_bytes: 2 << 20,
        staging_bytes: 2 << 20,
        wide_staging_bytes: 4 << 20,
        stores: stores.path().into(),
        ..Options::default()
    };
    let gpu: Arc<dyn DeviceMemory> = stand_in::gpu();
    let mut rows = Rows::new(|line| println!("{line}"));
    measure(&gpu, &options, &mut rows);
    assert!(rows.are_sound(), "{rows:?}");
    assert!(rows.rows.len() > 30, "{} rows", rows.rows.len());
}
