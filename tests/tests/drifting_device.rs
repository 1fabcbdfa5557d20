//! Device memory that somebody goes on writing to while it is consolidated (R4).

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use encrypted_unconscious::Identity;
use end_to_end::{Rig, context, minilm_slice, upload};
use gpu_probe::{
    Allocation, DeviceInfo, DeviceMemory, Fragmentation, FreeError, GpuProbe, GpuProcess, MemoryInfo, Result,
    SimulatedGpu,
};
use omnimind_memory::{Error, Item, Signals};

/// Every reading differs from the one before.
#[derive(Debug, Default)]
struct DriftingGpu {
    inner: SimulatedGpu,
    readings: AtomicU8,
}

impl GpuProbe for DriftingGpu {
    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        self.inner.devices()
    }

    fn memory(&self, device: u32) -> Result<MemoryInfo> {
        self.inner.memory(device)
    }

    fn processes(&self, device: u32) -> Result<Vec<GpuProcess>> {
        self.inner.processes(device)
    }

    fn fragmentation(&self, device: u32) -> Result<Fragmentation> {
        self.inner.fragmentation(device)
    }

    fn source(&self) -> &'static str {
        "drifting"
    }
}

impl DeviceMemory for DriftingGpu {
    fn allocate(&self, device: u32, bytes: u64) -> Result<Allocation> {
        self.inner.allocate(device, bytes)
    }

    fn write(&self, allocation: &Allocation, offset: u64, data: &[u8]) -> Result<()> {
        self.inner.write(allocation, offset, data)
    }

    fn read(&self, allocation: &Allocation, offset: u64, out: &mut [u8]) -> Result<()> {
        self.inner.read(allocation, offset, out)?;
        out[0] ^= self.readings.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn free(&self, allocation: Allocation) -> Result<u64, FreeError> {
        self.inner.free(allocation)
    }
}

#[test]
fn a_tensor_that_changes_while_it_is_consolidated_is_given_back_whichever_layer_it_was_for() {
    // R4, R5: what would be stored under the hash is no state that the tensor ever had.
    let gpu = Arc::new(DriftingGpu::default());
    let keyholder = Identity::generate().recipient().clone();
    let rig = Rig::with(|builder| builder.gpu(gpu.clone()).keyholder(keyholder));
    let model = minilm_slice().unwrap();
    for error_type in [None, Some("fatal crash, structural failure".to_owned())] {
        let mut item = Item::new("model", upload(&*gpu, &model[1..2]));
        item.signals = Signals { error_type, severity: Some("high".to_owned()), ..Signals::default() };
        let used = gpu.memory(0).unwrap().used_bytes;
        let mut consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
        let failed = consolidated.failed.pop().unwrap();
        assert!(matches!(failed.error, Error::TensorChanged { .. }), "{}", failed.error);
        assert!(failed.error.to_string().contains(&model[1].name), "{}", failed.error);
        assert_eq!(gpu.memory(0).unwrap().used_bytes, used, "nothing was freed");
    }
    assert_eq!(rig.consolidator.stats().unwrap().total_consolidated, 0);
}
