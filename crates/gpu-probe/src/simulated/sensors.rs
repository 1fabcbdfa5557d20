//! What a simulated card reports besides its memory: set from outside, since it neither computes nor has a clock.

use super::SimulatedGpu;
use crate::error::Result;
use crate::info::{DeviceInfo, Mig};

impl SimulatedGpu {
    /// Sets the load and the temperature that the card reports; `None` for a card that does not report them.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`](crate::Error::NoSuchDevice).
    pub fn set_sensors(
        &self,
        device: u32,
        utilisation_percent: Option<u32>,
        temperature_celsius: Option<u32>,
    ) -> Result<()> {
        self.set(device, |info| {
            (info.utilisation_percent, info.temperature_celsius) = (utilisation_percent, temperature_celsius);
        })
    }

    /// Sets what the card draws and may draw, in milliwatts.
    ///
    /// # Errors
    /// As [`set_sensors`](Self::set_sensors).
    pub fn set_power(
        &self,
        device: u32,
        milliwatts: Option<u32>,
        limit_milliwatts: Option<u32>,
    ) -> Result<()> {
        self.set(device, |info| {
            (info.power_milliwatts, info.power_limit_milliwatts) = (milliwatts, limit_milliwatts);
        })
    }

    /// Sets what goes over PCI Express, in bytes per second.
    ///
    /// # Errors
    /// As [`set_sensors`](Self::set_sensors).
    pub fn set_pcie(&self, device: u32, sent: Option<u64>, received: Option<u64>) -> Result<()> {
        self.set(device, |info| {
            (info.pcie_sent_bytes_per_second, info.pcie_received_bytes_per_second) = (sent, received);
        })
    }

    /// Sets the PCI Express link: its generation and its lanes.
    ///
    /// # Errors
    /// As [`set_sensors`](Self::set_sensors).
    pub fn set_pcie_link(&self, device: u32, generation: Option<u32>, lanes: Option<u32>) -> Result<()> {
        self.set(device, |info| (info.pcie_generation, info.pcie_lanes) = (generation, lanes))
    }

    /// Sets whether the card is cut into instances, and which. What it reports only: memory is still that of the whole card.
    ///
    /// # Errors
    /// As [`set_sensors`](Self::set_sensors).
    pub fn set_mig(&self, device: u32, mig: Option<Mig>) -> Result<()> {
        self.set(device, |info| info.mig = mig)
    }

    fn set(&self, device: u32, change: impl FnOnce(&mut DeviceInfo)) -> Result<()> {
        change(&mut self.lock(device)?.info);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, GpuProbe, MigInstance};

    #[test]
    fn a_card_reports_what_it_was_set_to() {
        let gpu = SimulatedGpu::default();
        gpu.set_power(0, Some(31_000), Some(75_000)).unwrap();
        gpu.set_pcie(0, Some(1), Some(2)).unwrap();
        gpu.set_pcie_link(0, Some(4), Some(16)).unwrap();
        gpu.set_mig(0, Some(Mig::new(true, vec![MigInstance::new(0)]))).unwrap();
        let info = gpu.devices().unwrap().remove(0);
        assert_eq!((info.power_milliwatts, info.power_limit_milliwatts), (Some(31_000), Some(75_000)));
        assert_eq!(
            (info.pcie_sent_bytes_per_second, info.pcie_received_bytes_per_second),
            (Some(1), Some(2))
        );
        assert_eq!((info.pcie_generation, info.pcie_lanes), (Some(4), Some(16)));
        assert!(info.mig.is_some_and(|mig| mig.enabled && mig.instances.len() == 1));
        assert!(matches!(gpu.set_power(1, None, None), Err(Error::NoSuchDevice { .. })));
    }
}
