//! `gpu`: what the GPU has, and who holds it. No GPU is a normal answer.

use gpu_probe::{DeviceInfo, DeviceMemory, Fragmentation, GpuProcess, MemoryInfo};
use serde::Serialize;

use crate::config::GpuTable;
use crate::failure::Failure;
use crate::output::{Align, BOLD, Bytes, DIM, GOOD, Paint, Percent, Table, WARN};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    source: &'static str,
    note: &'a str,
    devices: &'a [Device],
}

#[derive(Debug, Serialize)]
struct Device {
    #[serde(flatten)]
    info: DeviceInfo,
    memory: MemoryInfo,
    used_fraction: f64,
    /// Above the share at which consolidating begins.
    consolidate: bool,
    fragmentation: Option<Fragmentation>,
    /// None where the driver does not tell.
    processes: Option<Vec<GpuProcess>>,
}

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let (gpu, note) = session.gpu();
    let devices = devices(gpu.as_ref(), &session.config().gpu)?;
    session.output.result(&Answer { source: gpu.source(), note: &note, devices: &devices }, |out| {
        writeln!(out, "{}", note.as_str().paint(DIM))?;
        for device in &devices {
            let GpuTable { enter, .. } = session.config().gpu;
            let (verdict, style) =
                if device.consolidate { ("consolidate now", WARN) } else { ("room enough", GOOD) };
            writeln!(
                out,
                "{}  {} of {} in use ({}; threshold {}): {}",
                format_args!("{} {}", device.info.index, device.info.name).paint(BOLD),
                Bytes(device.memory.used_bytes),
                Bytes(device.memory.total_bytes),
                Percent(device.used_fraction),
                Percent(enter),
                verdict.paint(style)
            )?;
            let reading = |value: Option<u32>, unit| value.map(|value| format!("{value} {unit}"));
            let load = reading(device.info.utilisation_percent, "% load");
            let heat = reading(device.info.temperature_celsius, "°C");
            let readings: Vec<_> = load.into_iter().chain(heat).collect();
            if !readings.is_empty() {
                writeln!(out, "  {}", readings.join(", "))?;
            }
            if device.processes.as_ref().is_some_and(|processes| !processes.is_empty()) {
                processes(device).write(out)?;
            }
        }
        Ok(())
    })
}

fn devices(gpu: &dyn DeviceMemory, settings: &GpuTable) -> Result<Vec<Device>, Failure> {
    let devices = gpu.devices().map_err(Failure::from_gpu)?;
    devices
        .into_iter()
        .map(|info| {
            let memory = gpu.memory(info.index).map_err(Failure::from_gpu)?;
            let used_fraction = memory.used_fraction();
            Ok(Device {
                memory,
                used_fraction,
                consolidate: used_fraction > settings.enter,
                fragmentation: gpu.fragmentation(info.index).ok(),
                processes: gpu.processes(info.index).ok(),
                info,
            })
        })
        .collect()
}

fn processes(device: &Device) -> Table {
    let mut table =
        Table::new([("pid", Align::Right), ("holds", Align::Right), ("process", Align::Left)]).indented(2);
    for process in device.processes.iter().flatten() {
        table.row([
            process.pid.to_string(),
            process.used_bytes.map_or_else(|| "?".to_owned(), |bytes| Bytes(bytes).to_string()),
            process.name.clone().unwrap_or_else(|| "?".to_owned()),
        ]);
    }
    table
}
