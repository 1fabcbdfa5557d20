//! Bringing a memory back into VRAM: allocate, decompress, write in chunks. What cannot be brought back whole is
//! freed again, so that a failure leaks nothing.

use std::io::{self, Write};

use gpu_probe::{Allocation, DeviceMemory};
use memory_store::{ContentHash, Memory};
use softhair_compress::DType;

use crate::{
    Consolidator, Error, NamedTensor, ProcessContext, Result, StillHeld, TensorStream, TraceWarning,
    kernels::restores_on_card, source::TRANSFER_BYTES,
};

/// A memory on the device.
#[derive(Debug)]
#[must_use = "its tensors hold device memory"]
pub struct ReactivatedOnDevice {
    /// What the store knows of it.
    pub memory: Memory,
    /// Its tensors, in the order in which they were consolidated.
    pub tensors: Vec<DeviceTensor>,
    /// Set if the context was not in the activation trace.
    pub warning: Option<TraceWarning>,
}

/// A tensor on the device. It can be consolidated again: see [`NamedTensor::from`].
#[derive(Debug)]
pub struct DeviceTensor {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension.
    pub shape: Vec<usize>,
    /// What holds its elements, row-major and little-endian.
    pub allocation: Allocation,
}

impl From<DeviceTensor> for NamedTensor<'static> {
    fn from(tensor: DeviceTensor) -> Self {
        NamedTensor::device(tensor.name, tensor.dtype, tensor.shape, tensor.allocation)
    }
}

impl Consolidator {
    /// Brings a memory back onto the device of this consolidator, with a few MiB in host memory whatever its size.
    ///
    /// # Errors
    /// As [`Self::reactivate`]; without a GPU; or if the device has no room or fails. Nothing stays allocated then, unless
    /// the error is [`Error::NotUndone`], which hands over what could not be freed.
    pub fn reactivate_on_device(
        &self,
        content_hash: &ContentHash,
        context: &ProcessContext,
    ) -> Result<ReactivatedOnDevice> {
        let mut tensors = Vec::new();
        let restored = self.reactivate_each(content_hash, context, |stream| self.put(stream, &mut tensors));
        match restored {
            Ok((memory, warning)) => Ok(ReactivatedOnDevice { memory, tensors, warning }),
            Err(error) => Err(self.undo(tensors, error)),
        }
    }

    /// The allocation is among `tensors` before it is filled, so that it is freed if filling fails.
    fn put(&self, stream: TensorStream<'_>, tensors: &mut Vec<DeviceTensor>) -> Result<()> {
        let name = stream.name().to_owned();
        let Some(gpu) = self.gpu.as_deref() else { return Err(Error::NoGpu { tensor: name }) };
        let header = stream.header();
        let allocation = gpu
            .allocate(self.device, header.original_bytes())
            .map_err(|source| Error::Device { tensor: name.clone(), source })?;
        tensors.push(DeviceTensor { name, dtype: header.dtype, shape: header.shape.clone(), allocation });
        let Some(DeviceTensor { allocation, .. }) = tensors.last() else { return Ok(()) };
        self.fill(stream, gpu, allocation).map(drop)
    }

    /// Writes a tensor into memory that is there for it, and returns the BLAKE3 of what was written.
    pub(crate) fn fill(
        &self,
        stream: TensorStream<'_>,
        gpu: &dyn DeviceMemory,
        allocation: &Allocation,
    ) -> Result<blake3::Hash> {
        let stream = match self.fill_on_card(stream, gpu, allocation)? {
            Filled::Whole(digest) => return Ok(digest),
            Filled::NotYet(stream) => stream,
        };
        let mut writer = DeviceWriter { gpu, allocation, at: 0, hasher: blake3::Hasher::new() };
        stream.write_to(&mut writer)?;
        Ok(writer.hasher.finalize())
    }

    /// By kernels, if the card has them. Gives the tensor back, from its beginning, if that is not possible here.
    fn fill_on_card<'s>(
        &self,
        stream: TensorStream<'s>,
        gpu: &dyn DeviceMemory,
        allocation: &Allocation,
    ) -> Result<Filled<'s>> {
        let (address, bytes) = (allocation.address(), allocation.bytes());
        if !restores_on_card(stream.header(), address) || !self.has_kernels(allocation.device()) {
            return Ok(Filled::NotYet(Box::new(stream)));
        }
        let TensorStream { memory, tensor, frame } = stream;
        let of_memory = |error: Error| error.of_memory(memory, &tensor.name);
        // What is overwritten by this is overwritten anyway.
        let touch = || gpu.write(allocation, 0, &[0]);
        let restored = self.on_card(allocation.device(), touch, |codec| {
            codec.restore(frame, address)?;
            codec.digest(address, bytes)
        });
        match restored.map_err(|error| of_memory(Error::from_codec(&tensor.name, error)))? {
            Some(digest) => Ok(Filled::Whole(digest)),
            None => self.stream(memory, tensor).map(Box::new).map(Filled::NotYet).map_err(of_memory),
        }
    }

    fn undo(&self, tensors: Vec<DeviceTensor>, error: Error) -> Error {
        let Some(gpu) = &self.gpu else { return error };
        let held = |tensor: DeviceTensor| match gpu.free(tensor.allocation) {
            Ok(_) => None,
            Err(failed) => {
                Some(StillHeld { tensor: tensor.name, allocation: failed.allocation, error: failed.source })
            }
        };
        let still_held: Vec<_> = tensors.into_iter().filter_map(held).collect();
        if still_held.is_empty() { error } else { Error::NotUndone { source: Box::new(error), still_held } }
    }
}

/// How far kernels came.
enum Filled<'s> {
    Whole(blake3::Hash),
    NotYet(Box<TensorStream<'s>>),
}

struct DeviceWriter<'a> {
    gpu: &'a dyn DeviceMemory,
    allocation: &'a Allocation,
    at: u64,
    hasher: blake3::Hasher,
}

impl Write for DeviceWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(TRANSFER_BYTES)];
        self.gpu.write(self.allocation, self.at, bytes).map_err(io::Error::other)?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
