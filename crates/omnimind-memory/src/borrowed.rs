//! Memory that somebody else owns: a framework's tensor, read where it lies and given back to its owner once its content is
//! durable. Nothing is copied, and nothing of it is freed here.
#![expect(
    unsafe_code,
    reason = "memory of others is known by its address only, which the caller vouches for"
)]

use std::{
    any::Any,
    fmt,
    sync::{Mutex, PoisonError},
};

use gpu_probe::DeviceMemory;
use softhair_compress::DType;

use crate::{
    Error, NamedTensor, Result, TensorData,
    layout::{Dense, byte_count},
    source::Adopted,
};

/// Memory on a card or in the host that somebody else owns, and what keeps it alive.
///
/// The owner is dropped only after the memory is durable: that is what lets a framework free or reuse it. An item that fails
/// is handed back with its owner in it.
pub struct Borrowed {
    place: Place,
    bytes: u64,
    /// Never used but to be dropped or handed back; behind a lock, so that it need not be shareable itself.
    owner: Mutex<Box<dyn Any + Send>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Host { address: usize },
    Device { device: u32, address: u64 },
}

impl Borrowed {
    /// Index of the card; none for host memory.
    #[must_use]
    pub fn device(&self) -> Option<u32> {
        match self.place {
            Place::Device { device, .. } => Some(device),
            Place::Host { .. } => None,
        }
    }

    /// Where its first byte is, on the card or in the host.
    #[must_use]
    pub fn address(&self) -> u64 {
        match self.place {
            Place::Device { address, .. } => address,
            Place::Host { address } => address as u64,
        }
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives up the memory and returns its owner, untouched.
    #[must_use]
    pub fn into_owner(self) -> Box<dyn Any + Send> {
        self.owner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the owner, so that it can free the memory. One that panics meanwhile must not take the other items with it; what
    /// became of its memory is then unknown, which is what this says.
    pub(crate) fn let_go(self, tensor: &str) -> Option<String> {
        let owner = self.into_owner();
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(owner)));
        dropped.err().map(|_| {
            format!("the owner of tensor {tensor:?} panicked while it was dropped; its device memory may not be free")
        })
    }

    /// The bytes, if they are in host memory or there are none.
    pub(crate) fn host_bytes(&self) -> Option<&[u8]> {
        match self.place {
            _ if self.bytes == 0 => Some(&[]),
            Place::Device { .. } => None,
            // SAFETY: whoever made this promised that these bytes may be read and do not change until the owner is dropped,
            // and the owner lives as long as `self`. `Dense` made sure that their number fits into an `isize`.
            Place::Host { address } => Some(unsafe {
                std::slice::from_raw_parts(address as *const u8, usize::try_from(self.bytes).unwrap_or(0))
            }),
        }
    }

    /// The memory as the card names it, to be read.
    pub(crate) fn adopt<'a>(
        &self,
        tensor: &str,
        device: u32,
        gpu: &'a dyn DeviceMemory,
    ) -> Result<Adopted<'a>> {
        // SAFETY: whoever made this promised that the memory may be used until the owner is dropped, and what is adopted is
        // forgotten before that: it is only adopted while an item is borrowed.
        let adopted = unsafe { gpu.adopt(device, self.address(), self.bytes) };
        let allocation = adopted.map_err(|source| Error::Device { tensor: tensor.to_owned(), source })?;
        Ok(Adopted::new(gpu, allocation))
    }

    /// Host memory.
    pub(crate) fn host(dense: &Dense, owner: impl Send + 'static) -> Self {
        let address = usize::try_from(dense.address).unwrap_or_default();
        Self { place: Place::Host { address }, bytes: dense.bytes, owner: Mutex::new(Box::new(owner)) }
    }

    /// Memory on a card.
    pub(crate) fn on_device(device: u32, address: u64, bytes: u64, owner: impl Send + 'static) -> Self {
        Self { place: Place::Device { device, address }, bytes, owner: Mutex::new(Box::new(owner)) }
    }
}

impl fmt::Debug for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrowed")
            .field("place", &self.place)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl NamedTensor<'static> {
    /// A tensor in memory of card `device` that somebody else owns: dense, row-major, little-endian, its first element at
    /// `address`. It is read where it is. `owner` is what keeps it alive (the framework's own tensor, say); it is dropped once
    /// the memory is durable, and not before, and an item that fails has it still.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use omnimind_memory::{Consolidator, DType, DeviceMemory, Item, NamedTensor, ProcessContext, SimulatedGpu};
    ///
    /// # let scratch = tempfile::tempdir()?;
    /// # let dir = scratch.path().join("store");
    /// let gpu = Arc::new(SimulatedGpu::default());
    /// let theirs = gpu.allocate(0, 4 * 64 * 64)?; // stands for a framework's tensor
    /// let address = theirs.address();
    ///
    /// let consolidator = Consolidator::builder().store(dir).gpu(gpu).build()?;
    /// // SAFETY: `theirs` is alive until it is dropped as the owner, and nobody writes to it.
    /// let tensor = unsafe { NamedTensor::borrowed("w", DType::F32, [64, 64], 0, address, theirs) };
    /// let consolidated =
    ///     consolidator.consolidate(vec![Item::new("model", vec![tensor])], &ProcessContext::new("trainer")?);
    /// assert_eq!(consolidated.outcomes[0].released_to_owner_bytes, 4 * 64 * 64);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    /// Until `owner` is dropped, the tensor's bytes at `address` are memory of that card in this process's context, nobody frees
    /// them, and nobody writes to them; whatever was still being written to them when this is called (on a stream, say) is done.
    /// `owner` may be dropped on any thread.
    #[must_use]
    pub unsafe fn borrowed(
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        device: u32,
        address: u64,
        owner: impl Send + 'static,
    ) -> Self {
        let shape = shape.into();
        // More bytes than can be counted are refused when the item is checked.
        let bytes = byte_count(dtype, &shape).unwrap_or(u64::MAX);
        let data = TensorData::Borrowed(Borrowed::on_device(device, address, bytes, owner));
        NamedTensor { name: name.into(), dtype, shape, data }
    }

    /// A dense tensor that is on a card or, without one, in host memory. The promises are those of [`Self::borrowed`].
    pub(crate) fn foreign(
        name: String,
        dense: Dense,
        device: Option<u32>,
        owner: impl Send + 'static,
    ) -> Self {
        let borrowed = match device {
            Some(device) => Borrowed::on_device(device, dense.address, dense.bytes, owner),
            None => Borrowed::host(&dense, owner),
        };
        NamedTensor { name, dtype: dense.dtype, shape: dense.shape, data: TensorData::Borrowed(borrowed) }
    }
}
