//! What this machine's GPU has and who holds it; a simulated one where there is none.
//!
//! `cargo run -p gpu-probe --example look`

use std::sync::Arc;

use gpu_probe::{DeviceMemory, SimulatedGpu, Watermark, detect, human_bytes};

fn main() -> Result<(), gpu_probe::Error> {
    let found = detect();
    println!("{}", found.note);
    let gpu: Arc<dyn DeviceMemory> = if found.probe.source() == "none" {
        println!("so here is a simulated one, with somebody else on it");
        let simulated = SimulatedGpu::default();
        simulated.add_process(0, 4242, "python", 3 << 30)?;
        Arc::new(simulated)
    } else {
        found.probe
    };

    for info in gpu.devices()? {
        let memory = gpu.memory(info.index)?;
        println!(
            "{} {}: {} of {} in use ({:.0} %)",
            info.index,
            info.name,
            human_bytes(memory.used_bytes),
            human_bytes(memory.total_bytes),
            memory.used_fraction() * 100.0,
        );
        match gpu.processes(info.index) {
            Ok(processes) => {
                for process in processes {
                    let name = process.name.as_deref().unwrap_or("?");
                    println!(
                        "  {} {name}: {}",
                        process.pid,
                        process.used_bytes.map_or("?".into(), human_bytes)
                    );
                }
            }
            Err(reason) => println!("  {reason}"),
        }
        let mut watermark = Watermark::default();
        println!("  consolidate now? {}", watermark.should_consolidate(&memory));

        match gpu.allocate(info.index, memory.free_bytes + 1) {
            Ok(allocation) => println!("  {} more fitted", human_bytes(gpu.free(allocation)?)),
            Err(error) => println!("  one byte more than is free: {error}"),
        }
    }
    Ok(())
}
