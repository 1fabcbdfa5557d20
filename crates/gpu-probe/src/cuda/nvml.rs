//! NVML: load, temperature, processes and identity of a card. All of it is optional; memory is the driver's
//! business.

use std::collections::BTreeMap;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

use crate::info::{DeviceInfo, GpuProcess};

/// Longest name of a process that is asked for, in bytes.
const NAME_BYTES: usize = 256;

/// NVML, or why it is not there.
#[derive(Debug)]
pub(super) struct Management {
    library: Result<Nvml, String>,
}

impl Management {
    pub(super) fn load() -> Self {
        Self { library: Nvml::init().map_err(|error| error.to_string()) }
    }

    /// Version of the driver package such as `570.86.15`, or why there is none.
    pub(super) fn version(&self) -> Result<String, String> {
        self.library.as_ref().map_err(String::clone)?.sys_driver_version().map_err(|error| error.to_string())
    }

    /// Fills in what NVML knows; what it does not know stays `None`.
    pub(super) fn describe(&self, info: &mut DeviceInfo) {
        let Ok(device) = self.device(info.pci_bus_id.as_deref()) else { return };
        info.uuid = device.uuid().ok();
        info.utilisation_percent = device.utilization_rates().ok().map(|rates| rates.gpu);
        info.temperature_celsius = device.temperature(TemperatureSensor::Gpu).ok();
    }

    /// (free, total) bytes of the whole card.
    pub(super) fn memory(&self, pci_bus_id: Option<&str>) -> Result<(u64, u64), String> {
        let memory = self.device(pci_bus_id)?.memory_info().map_err(|error| error.to_string())?;
        Ok((memory.free, memory.total))
    }

    /// Who holds memory of the card, in the order of process numbers; a process that computes and draws is
    /// listed once.
    pub(super) fn processes(&self, pci_bus_id: Option<&str>) -> Result<Vec<GpuProcess>, String> {
        let device = self.device(pci_bus_id)?;
        let computing = retry(|| device.running_compute_processes()).map_err(|error| error.to_string())?;
        // A data-centre card refuses to say who draws: nobody does.
        let drawing = retry(|| device.running_graphics_processes()).unwrap_or_default();
        let mut used_by_pid: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        for process in computing.into_iter().chain(drawing) {
            let used = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            };
            let seen = used_by_pid.entry(process.pid).or_default();
            *seen = (*seen).max(used);
        }
        let name = |pid| self.library.as_ref().ok()?.sys_process_name(pid, NAME_BYTES).ok();
        Ok(used_by_pid
            .into_iter()
            .map(|(pid, used_bytes)| GpuProcess { pid, name: name(pid), used_bytes })
            .collect())
    }

    fn device(&self, pci_bus_id: Option<&str>) -> Result<Device<'_>, String> {
        let library = self.library.as_ref().map_err(|reason| format!("NVML is not usable: {reason}"))?;
        let bus_id = pci_bus_id.ok_or("the driver does not say where the card is plugged in")?;
        library.device_by_pci_bus_id(bus_id).map_err(|error| format!("NVML does not know {bus_id}: {error}"))
    }
}

/// Asks once more where processes appeared between counting and listing.
fn retry(ask: impl Fn() -> Result<Vec<ProcessInfo>, NvmlError>) -> Result<Vec<ProcessInfo>, NvmlError> {
    match ask() {
        Err(NvmlError::InsufficientSize(_)) => ask(),
        answer => answer,
    }
}
