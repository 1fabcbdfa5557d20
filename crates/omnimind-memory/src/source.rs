//! Reading the elements of a tensor in order, wherever they are, a few MiB at a time. Knows nothing of what they are
//! read for.

use std::io::{self, Read};

use gpu_probe::{Allocation, DeviceMemory};

use crate::{Error, NamedTensor, Result, TensorData};

/// Most bytes of one transfer from a device: long enough for the bus, short enough for the host.
pub(crate) const TRANSFER_BYTES: usize = 4 << 20;

/// The elements of a tensor as a stream.
pub(crate) enum Source<'a> {
    Host(&'a [u8]),
    Device { gpu: &'a dyn DeviceMemory, held: Held<'a>, at: u64 },
}

/// Where elements are on a device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) device: u32,
    pub(crate) address: u64,
    pub(crate) bytes: u64,
}

/// Memory on a device, to be read.
pub(crate) enum Held<'a> {
    Own(&'a Allocation),
    Others(Adopted<'a>),
}

/// Memory of somebody else that a device knows by a name of its own, until this is dropped.
pub(crate) struct Adopted<'a> {
    gpu: &'a dyn DeviceMemory,
    allocation: Option<Allocation>,
}

impl<'a> Adopted<'a> {
    pub(crate) fn new(gpu: &'a dyn DeviceMemory, allocation: Allocation) -> Self {
        Self { gpu, allocation: Some(allocation) }
    }
}

impl Drop for Adopted<'_> {
    fn drop(&mut self) {
        // Freeing what is adopted only forgets the name. A device that cannot even do that keeps a name, and no memory.
        if let Some(allocation) = self.allocation.take()
            && let Err(failed) = self.gpu.free(allocation)
        {
            drop(self.gpu.free(failed.allocation));
        }
    }
}

impl Held<'_> {
    fn allocation(&self) -> Option<&Allocation> {
        match self {
            Self::Own(allocation) => Some(allocation),
            Self::Others(adopted) => adopted.allocation.as_ref(),
        }
    }
}

impl<'a> Source<'a> {
    /// A stream from the first element on.
    pub(crate) fn new(tensor: &'a NamedTensor<'_>, gpu: Option<&'a dyn DeviceMemory>) -> Result<Self> {
        let gpu = || gpu.ok_or_else(|| Error::NoGpu { tensor: tensor.name.clone() });
        match &tensor.data {
            TensorData::Host(bytes) => Ok(Self::Host(bytes)),
            TensorData::Device(allocation) | &TensorData::Kept(allocation) => {
                Ok(Self::Device { gpu: gpu()?, held: Held::Own(allocation), at: 0 })
            }
            TensorData::Borrowed(borrowed) => match (borrowed.host_bytes(), borrowed.device()) {
                (Some(bytes), _) => Ok(Self::Host(bytes)),
                (None, device) => {
                    let gpu = gpu()?;
                    let held = Held::Others(borrowed.adopt(&tensor.name, device.unwrap_or_default(), gpu)?);
                    Ok(Self::Device { gpu, held, at: 0 })
                }
            },
        }
    }

    /// Where the elements are, if there are any on a device.
    pub(crate) fn span(&self) -> Option<Span> {
        let Self::Device { held, .. } = self else { return None };
        let allocation = held.allocation().filter(|allocation| allocation.bytes() > 0)?;
        let (device, address, bytes) = (allocation.device(), allocation.address(), allocation.bytes());
        Some(Span { device, address, bytes })
    }

    /// Reads one byte, so that a device refuses an allocation that is not its own, or vacant.
    pub(crate) fn touch(&self) -> gpu_probe::Result<()> {
        let Self::Device { gpu, held, .. } = self else { return Ok(()) };
        held.allocation().map_or(Ok(()), |allocation| gpu.read(allocation, 0, &mut [0]))
    }

    /// BLAKE3 of all elements.
    pub(crate) fn digest(mut self) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        if let Self::Host(bytes) = &self {
            hasher.update(bytes);
        } else {
            let mut buffer = vec![0; TRANSFER_BYTES];
            loop {
                let count = self.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                hasher.update(&buffer[..count]);
            }
        }
        Ok(hasher.finalize())
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Host(bytes) => bytes.read(buffer),
            Self::Device { gpu, held, at } => {
                let Some(allocation) = held.allocation() else { return Ok(0) };
                let left = usize::try_from(allocation.bytes() - *at).unwrap_or(usize::MAX);
                let count = left.min(buffer.len()).min(TRANSFER_BYTES);
                if count > 0 {
                    gpu.read(allocation, *at, &mut buffer[..count]).map_err(io::Error::other)?;
                }
                *at += count as u64;
                Ok(count)
            }
        }
    }
}

/// A stream that hashes what passes through it.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }

    /// BLAKE3 of what has been read so far.
    pub(crate) fn digest(&self) -> blake3::Hash {
        self.hasher.finalize()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
