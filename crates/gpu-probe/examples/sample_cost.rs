//! What one sample costs: of a simulated card with 50 processes, and of the real one if there is one. A sample of memory should
//! stay below a millisecond; a closer look happens less often, and may take longer.
//!
//! `cargo run --release -p gpu-probe --example sample_cost`

use std::sync::Arc;
use std::time::{Duration, Instant};

use gpu_probe::{DeviceMemory, GpuProbe, Recorder, SimulatedGpu, detect};

fn main() -> Result<(), gpu_probe::Error> {
    let simulated = SimulatedGpu::default();
    for pid in 0..50 {
        simulated.add_process(0, 1000 + pid, format!("worker-{pid}"), u64::from(pid + 1) << 20)?;
        // Pieces, so that the card has to count its gaps.
        let piece = simulated.allocate(0, 1 << 20)?;
        let _stays = simulated.allocate(0, 1 << 20)?;
        simulated.free(piece).map_err(|failed| failed.source)?;
    }
    measure(Arc::new(simulated))?;

    let found = detect();
    println!("{}", found.note);
    if found.probe.source() != "none" {
        measure(found.probe)?;
    }
    Ok(())
}

fn measure(probe: Arc<dyn GpuProbe>) -> Result<(), gpu_probe::Error> {
    println!("{}: median of 1000", probe.source());
    let recorder = Recorder::new(probe, 600)?;
    println!("  a sample:      {:>10.1?}", median(|| recorder.sample()));
    println!("  a closer look: {:>10.1?}", median(|| recorder.look_closer()));
    println!(
        "  the history:   {:>10.1?} for {} samples",
        median(|| drop(recorder.history(0))),
        recorder.history(0).len()
    );
    Ok(())
}

fn median(mut once: impl FnMut()) -> Duration {
    let mut took: Vec<Duration> = (0..1000)
        .map(|_| {
            let begin = Instant::now();
            once();
            begin.elapsed()
        })
        .collect();
    took.sort();
    took[500]
}
