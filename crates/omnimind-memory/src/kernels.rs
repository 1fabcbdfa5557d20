//! The card's own kernels, for compressing, restoring and hashing tensors where they are. What they do is `softhair-compress`'s, and
//! how they get to run `gpu-probe`'s; here the two are put together, and it is decided when the processor has to do it
//! instead. A card without kernels is a normal case.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gpu_probe::{DeviceMemory, KernelQueue, KernelSetup};
use softhair_compress::{
    Error as CodecError, Family, FrameHeader, Policy,
    device::{Card, DeviceCodec, LANE_SCRATCH_BYTES, LANE_STAGING_BYTES, LANES, PTX, runs_on_card},
};

use crate::{Consolidator, NamedTensor, Notice, source::Span};

/// Below this a copy and the processor are done before a kernel has begun.
const WORTH_HASHING_BYTES: u64 = 1 << 20;

/// What kernels may assume of an address; every allocation of a card is aligned so, and most views into one.
const ALIGNMENT_BYTES: u64 = 16;

/// The kernels of each card, made ready before they are needed: when the card is full it is too late.
#[derive(Debug, Default)]
pub(crate) struct Kernels {
    /// None for a card that has none.
    by_device: Mutex<BTreeMap<u32, Option<Arc<Mutex<OnCard>>>>>,
}

/// The codec on a card.
pub(crate) type OnCard = DeviceCodec<CardQueue>;

/// A queue of `gpu-probe` as `softhair-compress` wants it, so that a [`DeviceCodec`] works on a real card. The consolidator makes its
/// own; this is for programs that use the codec on a card directly.
///
/// ```no_run
/// use omnimind_memory::{CardQueue, DType, DeviceCodec, DeviceMemory, Policy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gpu = omnimind_memory::detect().probe;
/// let weights = gpu.allocate(0, 4 * 4096 * 4096)?;
/// let mut codec = DeviceCodec::new(CardQueue(gpu.kernels(0, &CardQueue::SETUP)?))?;
/// let mut frame = std::io::Cursor::new(Vec::new());
/// codec.card().0.join()?; // what was given to the card before is done
/// codec.compress_to(DType::F32, &[4096, 4096], weights.address(), Policy::Default, &mut frame)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CardQueue(pub Box<dyn KernelQueue>);

impl CardQueue {
    /// As much of a card as keeps it, its bus and the processor busy: what a consolidator takes.
    pub const SETUP: KernelSetup<'static> = KernelSetup {
        ptx: PTX,
        lanes: LANES,
        scratch_bytes: LANE_SCRATCH_BYTES,
        staging_bytes: LANE_STAGING_BYTES,
    };
}

impl Card for CardQueue {
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

impl Kernels {
    /// Those of this card, made ready if they are not.
    pub(crate) fn of(&self, gpu: &dyn DeviceMemory, device: u32) -> Option<Arc<Mutex<OnCard>>> {
        let mut by_device = locked(&self.by_device);
        if let Some(known) = by_device.get(&device) {
            return known.clone();
        }
        let made = match gpu.kernels(device, &CardQueue::SETUP) {
            Ok(queue) => DeviceCodec::new(CardQueue(queue)).ok().map(|codec| Arc::new(Mutex::new(codec))),
            // There may be room for them the next time.
            Err(gpu_probe::Error::OutOfMemory(_)) => return None,
            Err(_) => None,
        };
        by_device.insert(device, made.clone());
        made
    }

    /// Does without the kernels of this card from now on.
    fn forget(&self, device: u32) {
        locked(&self.by_device).insert(device, None);
    }
}

impl Consolidator {
    /// Whether a card has kernels, and they are to be used.
    pub(crate) fn has_kernels(&self, device: u32) -> bool {
        let gpu = self.gpu.as_deref().filter(|_| self.uses_kernels);
        gpu.is_some_and(|gpu| self.kernels.of(gpu, device).is_some())
    }

    /// Runs `work` on a card's kernels. None if it has none, or if they failed and the processor can do the same work with
    /// copies; that is told in a [notice](Consolidator::notices).
    ///
    /// Kernels must only be sent where memory is, or everything that this process has on the card is lost: `touch` makes the card
    /// look at an allocation first. If that fails, copies will say why. Whatever comes of it, nothing that was given to the card
    /// is under way any more when this returns.
    ///
    /// # Errors
    /// What has to do with the data or the frame, and a card that cannot be used any more.
    pub(crate) fn on_card<T>(
        &self,
        device: u32,
        touch: impl FnOnce() -> gpu_probe::Result<()>,
        work: impl FnOnce(&mut OnCard) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        let Some(gpu) = self.gpu.as_deref().filter(|_| self.uses_kernels) else { return Ok(None) };
        let Some(codec) = self.kernels.of(gpu, device) else { return Ok(None) };
        if touch().is_err() {
            return Ok(None);
        }
        let mut codec = locked(&codec);
        let done = join(&mut codec).and_then(|()| work(&mut codec));
        let Err(error) = done else { return done.map(Some) };
        // What is still under way would go on writing where somebody else's memory is soon.
        let joined = join(&mut codec);
        match (failure(&error), joined) {
            (None, _) => Err(error),
            (Some(failure), Ok(())) if is_passing(failure) => {
                let reason = failure.to_string();
                self.index.tell(Notice::WithoutKernels { device, reason });
                Ok(None)
            }
            (Some(_), _) => {
                self.kernels.forget(device);
                Err(error)
            }
        }
    }
}

/// Whether kernels hash what is there.
pub(crate) fn hashes_on_card(span: Span) -> bool {
    span.bytes >= WORTH_HASHING_BYTES && is_aligned(span.address)
}

/// Whether kernels compress a tensor that is there.
pub(crate) fn compresses_on_card(tensor: &NamedTensor<'_>, policy: Policy, span: Span) -> bool {
    is_aligned(span.address) && runs_on_card(tensor.dtype, &tensor.shape, policy)
}

/// Whether kernels restore a frame to this address.
pub(crate) fn restores_on_card(header: &FrameHeader, address: u64) -> bool {
    header.family == Family::Grain
        && is_aligned(address)
        && runs_on_card(header.dtype, &header.shape, header.policy)
}

fn is_aligned(address: u64) -> bool {
    address.is_multiple_of(ALIGNMENT_BYTES)
}

fn join(codec: &mut OnCard) -> Result<(), CodecError> {
    let joined = codec.card().0.join();
    joined.map_err(|source| CodecError::Device { doing: "waiting for the card", source: Box::new(source) })
}

/// What the card said, if it is the card that failed and not the data.
fn failure(error: &CodecError) -> Option<&gpu_probe::Error> {
    match error {
        CodecError::Device { source, .. } => source.downcast_ref(),
        CodecError::Io { source, .. } => source.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Whether the card can still be read by copies, and what is read be trusted.
fn is_passing(failure: &gpu_probe::Error) -> bool {
    use gpu_probe::Error::{Broken, DeviceLost, Uncorrectable};
    !matches!(failure, Broken { .. } | DeviceLost { .. } | Uncorrectable { .. })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
