//! NVML: load, temperature, power, PCI Express, instances, processes and identity of a card. All of it is optional; memory is the
//! driver's business.

mod pcie;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use self::pcie::PcieMeter;
use crate::command_line::{command_line, presentable};
use crate::info::{DeviceInfo, GpuProcess, MemoryInfo, Mig, MigInstance, ProcessKind, mig_profile};

/// Longest name of a process that is asked for, in bytes.
const NAME_BYTES: usize = 256;
/// Most instances of one card that are listed; there are seven at most today.
const MOST_INSTANCES: u32 = 64;

/// NVML, or why it is not there.
#[derive(Debug)]
pub(super) struct Management {
    // Dropped first: it waits for what still uses the library.
    pcie: PcieMeter,
    library: Result<Arc<Nvml>, String>,
}

impl Management {
    pub(super) fn load() -> Self {
        Self {
            pcie: PcieMeter::default(),
            library: Nvml::init().map(Arc::new).map_err(|error| error.to_string()),
        }
    }

    /// Version of the driver package such as `570.86.15`, or why there is none.
    pub(super) fn version(&self) -> Result<String, String> {
        self.library.as_ref().map_err(String::clone)?.sys_driver_version().map_err(|error| error.to_string())
    }

    /// Fills in what NVML knows; what it does not know stays `None`.
    pub(super) fn describe(&self, info: &mut DeviceInfo) {
        let Ok(library) = &self.library else { return };
        info.driver_version = library.sys_driver_version().ok();
        info.cuda_version = library.sys_cuda_driver_version().ok().map(|version| {
            format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version))
        });
        let Ok(device) = self.device(info.pci_bus_id.as_deref()) else { return };
        info.uuid = device.uuid().ok();
        info.utilisation_percent = device.utilization_rates().ok().map(|rates| rates.gpu);
        info.temperature_celsius = device.temperature(TemperatureSensor::Gpu).ok();
        info.power_milliwatts = device.power_usage().ok();
        info.power_limit_milliwatts =
            device.enforced_power_limit().or_else(|_| device.power_management_limit()).ok();
        info.processor_clock_mhz = device.clock_info(Clock::SM).ok();
        info.memory_clock_mhz = device.clock_info(Clock::Memory).ok();
        info.pcie_generation = device.current_pcie_link_gen().ok();
        info.pcie_lanes = device.current_pcie_link_width().ok();
        info.uncorrected_ecc_errors =
            device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).ok();
        info.mig = instances(&device);
        if let Some(bus_id) = &info.pci_bus_id {
            let rates = self.pcie.rates(library, bus_id);
            (info.pcie_sent_bytes_per_second, info.pcie_received_bytes_per_second) =
                (rates.sent, rates.received);
        }
    }

    /// (free, total) bytes of the whole card.
    pub(super) fn memory(&self, pci_bus_id: Option<&str>) -> Result<(u64, u64), String> {
        let memory = self.device(pci_bus_id)?.memory_info().map_err(|error| error.to_string())?;
        Ok((memory.free, memory.total))
    }

    /// Free bytes of a card that is not cut into instances.
    pub(super) fn free_bytes_of_whole(&self, pci_bus_id: Option<&str>) -> Option<u64> {
        let device = self.device(pci_bus_id).ok()?;
        let is_cut = device.mig_mode().is_ok_and(|mode| mode.current != 0);
        if is_cut { None } else { Some(device.memory_info().ok()?.free) }
    }

    /// Who holds memory of the card, in the order of process numbers; a process that computes and draws is
    /// listed once.
    pub(super) fn processes(&self, pci_bus_id: Option<&str>) -> Result<Vec<GpuProcess>, String> {
        let device = self.device(pci_bus_id)?;
        let computing = retry(|| device.running_compute_processes()).map_err(|error| error.to_string())?;
        // A data-centre card refuses to say who draws: nobody does.
        let drawing = retry(|| device.running_graphics_processes()).unwrap_or_default();
        let mut by_pid: BTreeMap<u32, (Option<u64>, ProcessKind)> = BTreeMap::new();
        let computing = computing.into_iter().map(|process| (process, ProcessKind::Compute));
        let drawing = drawing.into_iter().map(|process| (process, ProcessKind::Graphics));
        for (process, kind) in computing.chain(drawing) {
            let used = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            };
            let seen = by_pid.entry(process.pid).or_insert((used, kind));
            *seen = (seen.0.max(used), if seen.1 == kind { kind } else { ProcessKind::Both });
        }
        let name = |pid| self.library.as_ref().ok()?.sys_process_name(pid, NAME_BYTES).ok();
        Ok(by_pid
            .into_iter()
            .map(|(pid, (used_bytes, kind))| {
                let name = name(pid);
                let command_line =
                    name.as_deref().and_then(|name| command_line(Path::new("/proc"), pid, name));
                let mut process = GpuProcess::new(pid, name.map(|name| presentable(&name)), used_bytes);
                (process.command_line, process.kind) = (command_line, Some(kind));
                process
            })
            .collect())
    }

    fn device(&self, pci_bus_id: Option<&str>) -> Result<Device<'_>, String> {
        let library = self.library.as_ref().map_err(|reason| format!("NVML is not usable: {reason}"))?;
        let bus_id = pci_bus_id.ok_or("the driver does not say where the card is plugged in")?;
        library.device_by_pci_bus_id(bus_id).map_err(|error| format!("NVML does not know {bus_id}: {error}"))
    }
}

/// Whether a card is cut, and its instances. `None` where it cannot be.
fn instances(device: &Device<'_>) -> Option<Mig> {
    let enabled = device.mig_mode().ok()?.current != 0;
    let places = if enabled { device.mig_device_count().unwrap_or(0).min(MOST_INSTANCES) } else { 0 };
    // A place without an instance answers that there is none.
    let found = (0..places).filter_map(|index| Some((index, device.mig_device_by_index(index).ok()?)));
    let instances = found.map(|(index, part)| {
        let mut instance = MigInstance::new(index);
        instance.profile = part.name().ok().and_then(|name| mig_profile(&name).map(str::to_owned));
        instance.uuid = part.uuid().ok();
        instance.memory = part.memory_info().ok().map(|memory| MemoryInfo::new(memory.total, memory.free));
        instance
    });
    Some(Mig::new(enabled, instances.collect()))
}

/// Asks once more where processes appeared between counting and listing.
fn retry(ask: impl Fn() -> Result<Vec<ProcessInfo>, NvmlError>) -> Result<Vec<ProcessInfo>, NvmlError> {
    match ask() {
        Err(NvmlError::InsufficientSize(_)) => ask(),
        answer => answer,
    }
}
