//! A machine without a usable GPU. It answers every question; it only has no memory to give.

use crate::error::{Error, FreeError, Result};
use crate::info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo};
use crate::kernels::{KernelQueue, KernelSetup};
use crate::probe::{Allocation, DeviceMemory, GpuProbe};

/// No card, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoGpu {
    reason: String,
}

impl NoGpu {
    /// A machine without a GPU, with the reason for people.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// Why there is none.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn no_such<T>(device: u32) -> Result<T> {
    Err(Error::NoSuchDevice { device, count: 0 })
}

fn foreign(allocation: &Allocation) -> Error {
    Error::ForeignAllocation { device: allocation.device(), bytes: allocation.bytes() }
}

impl GpuProbe for NoGpu {
    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        Ok(Vec::new())
    }

    fn memory(&self, device: u32) -> Result<MemoryInfo> {
        no_such(device)
    }

    fn processes(&self, device: u32) -> Result<Vec<GpuProcess>> {
        no_such(device)
    }

    fn fragmentation(&self, device: u32) -> Result<Fragmentation> {
        no_such(device)
    }

    fn source(&self) -> &'static str {
        "none"
    }
}

impl DeviceMemory for NoGpu {
    fn allocate(&self, device: u32, _bytes: u64) -> Result<Allocation> {
        no_such(device)
    }

    fn write(&self, allocation: &Allocation, _offset: u64, _data: &[u8]) -> Result<()> {
        Err(foreign(allocation))
    }

    fn read(&self, allocation: &Allocation, _offset: u64, _out: &mut [u8]) -> Result<()> {
        Err(foreign(allocation))
    }

    fn free(&self, allocation: Allocation) -> Result<u64, FreeError> {
        let source = foreign(&allocation);
        Err(FreeError { allocation, source })
    }

    fn allocate_anchored(&self, device: u32, _bytes: u64) -> Result<Allocation> {
        no_such(device)
    }

    fn vacate(&self, allocation: &Allocation) -> Result<u64> {
        Err(foreign(allocation))
    }

    fn occupy(&self, allocation: &Allocation) -> Result<()> {
        Err(foreign(allocation))
    }

    #[expect(unsafe_code, reason = "there is no card; the address is not looked at")]
    unsafe fn adopt(&self, device: u32, _address: u64, _bytes: u64) -> Result<Allocation> {
        no_such(device)
    }

    fn kernels(&self, device: u32, _setup: &KernelSetup<'_>) -> Result<Box<dyn KernelQueue>> {
        no_such(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_gpu_has_no_devices_and_says_why() {
        // R28
        let none = NoGpu::new("libcuda is not installed");
        assert_eq!(none.devices().unwrap(), []);
        assert_eq!(none.source(), "none");
        assert_eq!(none.reason(), "libcuda is not installed");
        assert_eq!(none.memory(0).unwrap_err().to_string(), "there is no GPU 0: no GPU was found");
        assert!(matches!(none.allocate(0, 1), Err(Error::NoSuchDevice { .. })));
    }
}
