//! A queue of `gpu-probe` as `softhair-compress` wants it, for tests that go below the facade.

use gpu_probe::{DeviceMemory, KernelQueue, KernelSetup};
use softhair_compress::device::{Card, DeviceCodec, LANE_SCRATCH_BYTES, LANE_STAGING_BYTES, LANES, PTX};

/// What the kernels of a card are driven through.
#[derive(Debug)]
pub struct Queue(pub Box<dyn KernelQueue>);

/// As much of a card as the facade takes.
pub const FULL: KernelSetup<'static> = KernelSetup {
    ptx: PTX,
    lanes: LANES,
    scratch_bytes: LANE_SCRATCH_BYTES,
    staging_bytes: LANE_STAGING_BYTES,
};

/// The codec on the first card.
///
/// # Panics
/// If the card does not run kernels.
#[must_use]
pub fn codec_on(gpu: &dyn DeviceMemory, setup: KernelSetup<'_>) -> DeviceCodec<Queue> {
    let mut queue = gpu.kernels(0, &setup).expect("a card that runs kernels");
    queue.join().expect("a card that answers");
    DeviceCodec::new(Queue(queue)).expect("enough of each lane")
}

impl Card for Queue {
    type Error = gpu_probe::Error;

    fn lanes(&self) -> usize {
        self.0.lanes()
    }

    fn scratch(&self, lane: usize) -> (u64, u64) {
        let span = self.0.scratch(lane);
        (span.address, span.bytes)
    }

    fn staging_bytes(&self) -> usize {
        self.0.staging_bytes()
    }

    fn launch(
        &mut self,
        lane: usize,
        kernel: &str,
        grid: u32,
        threads: u32,
        arguments: &[u64],
    ) -> gpu_probe::Result<()> {
        self.0.launch(lane, kernel, grid, threads, arguments)
    }

    fn fetch(
        &mut self,
        lane: usize,
        from_address: u64,
        to_staging: usize,
        bytes: usize,
    ) -> gpu_probe::Result<()> {
        self.0.fetch(lane, from_address, to_staging, bytes)
    }

    fn send(
        &mut self,
        lane: usize,
        from_staging: usize,
        to_address: u64,
        bytes: usize,
    ) -> gpu_probe::Result<()> {
        self.0.send(lane, from_staging, to_address, bytes)
    }

    fn staging(&mut self, lane: usize) -> gpu_probe::Result<&mut [u8]> {
        self.0.staging(lane)
    }
}
