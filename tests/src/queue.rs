//! The codec on a card, for tests that go below the consolidator.

use gpu_probe::{DeviceMemory, KernelSetup};
use omnimind_memory::CardQueue;
use softhair_compress::device::DeviceCodec;

/// As much of a card as the facade takes.
pub const FULL: KernelSetup<'static> = CardQueue::SETUP;

/// The codec on the first card.
///
/// # Panics
/// If the card does not run kernels.
#[must_use]
pub fn codec_on(gpu: &dyn DeviceMemory, setup: KernelSetup<'_>) -> DeviceCodec<CardQueue> {
    let mut queue = gpu.kernels(0, &setup).expect("a card that runs kernels");
    queue.join().expect("a card that answers");
    DeviceCodec::new(CardQueue(queue)).expect("enough of each lane")
}
