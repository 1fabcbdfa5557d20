//! Placement by what is known of the cards, through the facade (R29, R31).
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use omnimind_memory::{
    Consolidator, Device, PlacementConfig, Rule, Sampler, SamplerConfig, SimulatedGpu, TaskKind,
};

const MIB: u64 = 1 << 20;

#[test]
fn a_card_that_another_process_is_filling_counts_as_full_before_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let gpu = Arc::new(SimulatedGpu::new(1000 * MIB));
    gpu.add_process(0, 7, "trainer", 100 * MIB).unwrap();
    let config = SamplerConfig { every: Duration::from_hours(1), ..SamplerConfig::default() };
    let sampler = Arc::new(Sampler::start(gpu.clone(), config).unwrap());
    let builder = Consolidator::builder().store(scratch.path().join("store")).gpu(gpu.clone());
    let consolidator = builder.sampler(Arc::clone(&sampler)).build().unwrap();
    let place = || consolidator.place(TaskKind::Math, MIB, None, &PlacementConfig::default()).unwrap();
    assert_eq!(place().device, Device::Cuda(0));

    // Half the card in seven tenths of a second: in ten seconds it will be full, though it is not even at 70 %.
    sampler.recorder().look_closer();
    for _ in 0..7 {
        sleep(Duration::from_millis(100));
        gpu.grow_process(0, 7, 70 * MIB).unwrap();
        sampler.recorder().sample();
    }
    sampler.recorder().look_closer();
    let placed = place();
    assert_eq!((placed.device, placed.rule), (Device::Cpu, Rule::VramHigh), "{}", placed.reason);
    assert!(placed.reason.contains("soon") && placed.reason.contains("trainer"), "{}", placed.reason);
}
