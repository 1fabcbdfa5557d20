//! A consolidator over an empty store and a simulated GPU, and the few things that every test does with them.

use std::{path::Path, sync::Arc};

use gpu_probe::{DeviceMemory, SimulatedGpu};
use omnimind_memory::{Builder, Consolidator, DType, GpuProbe, NamedTensor, ProcessContext};
use tempfile::TempDir;

use crate::StoredTensor;

/// A consolidator to experiment on. Its store goes with it.
#[derive(Debug)]
pub struct Rig {
    /// Where the store is.
    pub dir: TempDir,
    /// The simulated GPU, for faults and for looking at.
    pub gpu: Arc<SimulatedGpu>,
    /// What is tested.
    pub consolidator: Consolidator,
}

impl Rig {
    /// On a GPU of 3.81 GiB.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// As [`Self::new`], with more said about the consolidator.
    ///
    /// # Panics
    /// As [`Self::new`], or if what is said makes no sense.
    #[must_use]
    pub fn with(more: impl FnOnce(Builder) -> Builder) -> Self {
        Self::with_dir(|builder, _| more(builder))
    }

    /// As [`Self::with`], told the directory in which the store will be.
    ///
    /// # Panics
    /// As [`Self::with`].
    #[must_use]
    pub fn with_dir(more: impl FnOnce(Builder, &Path) -> Builder) -> Self {
        let dir = tempfile::tempdir().expect("room for a store");
        let gpu = Arc::new(SimulatedGpu::default());
        let builder = Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone());
        let consolidator = more(builder, dir.path()).build().expect("a consolidator");
        Self { dir, gpu, consolidator }
    }

    /// Bytes in use on the GPU.
    ///
    /// # Panics
    /// If the GPU is lost.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.gpu.memory(0).expect("a GPU").used_bytes
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

/// A process context.
///
/// # Panics
/// If the name cannot be one.
#[must_use]
pub fn context(name: &str) -> ProcessContext {
    ProcessContext::new(name).expect("a context")
}

/// The tensors, on the GPU.
///
/// # Panics
/// If the GPU has no room.
#[must_use]
pub fn upload(gpu: &dyn DeviceMemory, tensors: &[StoredTensor]) -> Vec<NamedTensor<'static>> {
    let one = |tensor: &StoredTensor| {
        let allocation = gpu.allocate(0, tensor.bytes.len() as u64).expect("room on the GPU");
        gpu.write(&allocation, 0, &tensor.bytes).expect("a GPU that can be written");
        NamedTensor::device(&tensor.name, tensor.dtype, tensor.shape.clone(), allocation)
    };
    tensors.iter().map(one).collect()
}

/// ‖a − b‖₂ / ‖a‖₂ of float32 elements, computed here and not by the codec that promised it.
///
/// # Panics
/// If the tensors are not float32 of one length.
#[must_use]
pub fn rel_l2(dtype: DType, original: &[u8], restored: &[u8]) -> f64 {
    assert_eq!((dtype, original.len()), (DType::F32, restored.len()));
    let values = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks::<4>().0.iter().map(|&value| f64::from(f32::from_le_bytes(value))).collect()
    };
    let (original, restored) = (values(original), values(restored));
    let error: f64 = original.iter().zip(&restored).map(|(a, b)| (a - b) * (a - b)).sum();
    let norm: f64 = original.iter().map(|a| a * a).sum();
    if error == 0.0 { 0.0 } else { (error / norm).sqrt() }
}
