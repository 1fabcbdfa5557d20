//! What a look at a card gives. Plain values: nothing here asks a driver.

use serde::Serialize;

/// One card.
///
/// What a machine does not tell is `None`: without NVML there is no temperature, and a laptop's card may not
/// report its load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Index, as every call of the probe takes it. Follows `CUDA_VISIBLE_DEVICES` on a real card.
    pub index: u32,
    /// Name for people, such as `NVIDIA GeForce GTX 1650`.
    pub name: String,
    /// Capacity in bytes.
    pub total_bytes: u64,
    /// Identity that stays the same between starts.
    pub uuid: Option<String>,
    /// Where it is plugged in, such as `0000:01:00.0`.
    pub pci_bus_id: Option<String>,
    /// Share of the last sample period in which the card computed, in percent.
    pub utilisation_percent: Option<u32>,
    /// Temperature of the chip in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// What it draws now, in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// What it may draw at most, in milliwatts.
    pub power_limit_milliwatts: Option<u32>,
    /// Clock of the processors in megahertz.
    pub processor_clock_mhz: Option<u32>,
    /// Clock of the memory in megahertz.
    pub memory_clock_mhz: Option<u32>,
    /// What it sends over PCI Express, in bytes per second. A few seconds old at most.
    pub pcie_sent_bytes_per_second: Option<u64>,
    /// What it receives over PCI Express, in bytes per second. A few seconds old at most.
    pub pcie_received_bytes_per_second: Option<u64>,
    /// Generation of the PCI Express link as it is now: an idle card goes down to save power.
    pub pcie_generation: Option<u32>,
    /// Lanes of the PCI Express link as it is now.
    pub pcie_lanes: Option<u32>,
    /// Memory errors that could not be corrected since the driver was loaded.
    pub uncorrected_ecc_errors: Option<u64>,
    /// Whether it is cut into instances, and which, where it can be.
    pub mig: Option<Mig>,
    /// Version of the driver package, such as `570.86.15`.
    pub driver_version: Option<String>,
    /// Newest CUDA version that the driver knows, such as `12.8`.
    pub cuda_version: Option<String>,
}

/// Multi-instance GPU: a card cut into instances with memory and processors of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mig {
    /// Whether it is cut now.
    pub enabled: bool,
    /// The instances; those of other users may be hidden.
    pub instances: Vec<MigInstance>,
}

impl Mig {
    /// From its mode and its instances.
    #[must_use]
    pub fn new(enabled: bool, instances: Vec<MigInstance>) -> Self {
        Self { enabled, instances }
    }
}

/// One instance of a card that is cut. What is not told is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MigInstance {
    /// Its number on the card, from 0.
    pub index: u32,
    /// Its size as NVIDIA names it, such as `1g.10gb`.
    pub profile: Option<String>,
    /// Identity by which it can be chosen, such as `MIG-…`.
    pub uuid: Option<String>,
    /// How full it is.
    pub memory: Option<MemoryInfo>,
}

impl MigInstance {
    /// An instance of which only the number is known.
    #[must_use]
    pub fn new(index: u32) -> Self {
        Self { index, profile: None, uuid: None, memory: None }
    }
}

impl DeviceInfo {
    /// A card of which only the name and the capacity are known.
    pub fn new(index: u32, name: impl Into<String>, total_bytes: u64) -> Self {
        Self {
            index,
            name: name.into(),
            total_bytes,
            uuid: None,
            pci_bus_id: None,
            utilisation_percent: None,
            temperature_celsius: None,
            power_milliwatts: None,
            power_limit_milliwatts: None,
            processor_clock_mhz: None,
            memory_clock_mhz: None,
            pcie_sent_bytes_per_second: None,
            pcie_received_bytes_per_second: None,
            pcie_generation: None,
            pcie_lanes: None,
            uncorrected_ecc_errors: None,
            mig: None,
            driver_version: None,
            cuda_version: None,
        }
    }

    /// The size of the instance, such as `1g.10gb`, where this is not a whole card but a MIG instance of one: the driver
    /// writes it behind the name of the card.
    #[must_use]
    pub fn mig_profile(&self) -> Option<&str> {
        mig_profile(&self.name)
    }
}

/// The profile behind the name of a MIG instance: `NVIDIA A100-SXM4-40GB MIG 1g.5gb`.
pub(crate) fn mig_profile(name: &str) -> Option<&str> {
    let (_, profile) = name.rsplit_once(" MIG ")?;
    Some(profile.trim()).filter(|profile| !profile.is_empty())
}

/// How full a card is: `total_bytes == free_bytes + used_bytes`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryInfo {
    /// Capacity in bytes.
    pub total_bytes: u64,
    /// Bytes that nobody holds.
    pub free_bytes: u64,
    /// Bytes that somebody holds: this process, another one, or the driver.
    pub used_bytes: u64,
}

impl MemoryInfo {
    /// From capacity and free bytes; more free than there is counts as all free.
    #[must_use]
    pub fn new(total_bytes: u64, free_bytes: u64) -> Self {
        let free_bytes = free_bytes.min(total_bytes);
        Self { total_bytes, free_bytes, used_bytes: total_bytes - free_bytes }
    }

    /// Share of the capacity that is in use, 0 to 1. A card without memory is not in use.
    #[must_use]
    pub fn used_fraction(&self) -> f64 {
        if self.total_bytes == 0 { 0.0 } else { self.used_bytes as f64 / self.total_bytes as f64 }
    }
}

/// A process that holds memory of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GpuProcess {
    /// Process number, as the driver counts it: inside a container that is the host's number.
    pub pid: u32,
    /// Its name, where it may be known.
    pub name: Option<String>,
    /// Bytes it holds, where the driver tells (Windows' display driver does not).
    pub used_bytes: Option<u64>,
    /// How it was started, cut and free of control characters, where that may be known and is surely about this process.
    pub command_line: Option<String>,
    /// What it uses the card for.
    pub kind: Option<ProcessKind>,
}

impl GpuProcess {
    /// A process of which no more is known.
    #[must_use]
    pub fn new(pid: u32, name: Option<String>, used_bytes: Option<u64>) -> Self {
        Self { pid, name, used_bytes, command_line: None, kind: None }
    }
}

/// What a process uses a card for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessKind {
    /// It computes.
    Compute,
    /// It draws.
    Graphics,
    /// It does both.
    Both,
}

/// In what pieces the memory of a card is free, and what this process holds without using it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Fragmentation {
    /// Bytes that nobody holds.
    pub free_bytes: u64,
    /// Largest allocation that can succeed, in bytes. A real driver does not tell.
    pub largest_free_bytes: Option<u64>,
    /// Number of free pieces. A real driver does not tell.
    pub free_blocks: Option<u64>,
    /// Bytes that this process asked for through this probe and still holds.
    pub allocated_bytes: u64,
    /// Bytes that this process holds on the card, rounding, caches and the driver's own needs included.
    pub reserved_bytes: Option<u64>,
}

impl Fragmentation {
    /// Bytes that this process holds but did not ask for: rounding and caches.
    #[must_use]
    pub fn reserved_but_unallocated_bytes(&self) -> Option<u64> {
        Some(self.reserved_bytes?.saturating_sub(self.allocated_bytes))
    }

    /// Share of the free memory that one allocation cannot reach, 0 (one piece) to 1.
    #[must_use]
    pub fn fragmented_fraction(&self) -> Option<f64> {
        let largest = self.largest_free_bytes?;
        Some(if self.free_bytes == 0 { 0.0 } else { 1.0 - largest as f64 / self.free_bytes as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_claims_more_free_than_total_gives_a_sum_that_still_holds() {
        let memory = MemoryInfo::new(10, 11);
        assert_eq!((memory.free_bytes, memory.used_bytes), (10, 0));
    }

    #[test]
    fn a_card_without_memory_is_not_in_use() {
        assert!(MemoryInfo::new(0, 0).used_fraction().abs() < f64::EPSILON);
    }

    #[test]
    fn an_instance_of_a_card_says_its_profile_and_a_whole_card_has_none() {
        let profile = |name| DeviceInfo::new(0, name, 1).mig_profile().map(str::to_owned);
        assert_eq!(profile("NVIDIA A100-SXM4-40GB MIG 1g.5gb").as_deref(), Some("1g.5gb"));
        assert_eq!(profile("NVIDIA A100-SXM4-40GB"), None);
        assert_eq!(profile("NVIDIA A100-SXM4-40GB MIG "), None);
    }

    #[test]
    fn fragmentation_is_the_share_of_free_memory_that_one_allocation_cannot_reach() {
        let look = Fragmentation {
            free_bytes: 100,
            largest_free_bytes: Some(25),
            free_blocks: Some(4),
            allocated_bytes: 10,
            reserved_bytes: Some(16),
        };
        assert_eq!(look.fragmented_fraction(), Some(0.75));
        assert_eq!(look.reserved_but_unallocated_bytes(), Some(6));
    }
}
