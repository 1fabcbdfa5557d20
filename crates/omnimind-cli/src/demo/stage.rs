//! The GPU of the demo: the real one where there is one with room to spare, else a simulated one, and other processes
//! that hold most of it. Everything taken from a real GPU is given back.

use std::sync::Arc;

use gpu_probe::{Allocation, DeviceMemory, GpuProbe, MemoryInfo, SimulatedGpu};
use omnimind_memory::{DType, NamedTensor};

use super::data::HostTensor;
use crate::failure::Failure;
use crate::output::Bytes;
use crate::session::Session;

/// The share in use once everything is loaded; above the threshold of 85 %.
const CROWDED: f64 = 0.86;
/// The share that other processes hold; below the threshold at which consolidating ends.
const OTHERS: f64 = 0.745;
/// What stays free of a real GPU, whatever the demo does.
const RESERVE: f64 = 0.05;
/// A real GPU is filled in pieces, because no single one may be as large as what is free.
const BALLAST_BYTES: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) gpu: Arc<dyn DeviceMemory>,
    pub(super) device: u32,
    pub(super) name: String,
    /// Why it is this one.
    pub(super) note: String,
    /// Who else holds memory, in words.
    pub(super) others: String,
    ballast: Vec<Allocation>,
}

impl Stage {
    /// A GPU in which others hold so much that `our_bytes` more make it crowded.
    pub(super) fn set(session: &Session, our_bytes: u64, simulated: bool) -> Result<Self, Failure> {
        let config = &session.config().gpu;
        let mut note = "asked for with --simulated".to_owned();
        if !simulated {
            let (gpu, found) = session.gpu();
            note = found;
            if gpu.source() == "cuda" {
                match Self::real(gpu, config.device, our_bytes, note) {
                    Ok(stage) => return Ok(stage),
                    Err(reason) => note = reason,
                }
            }
        }
        Self::simulated(config.simulated_bytes, our_bytes, note)
    }

    fn simulated(capacity: u64, our_bytes: u64, note: String) -> Result<Self, Failure> {
        let gpu = SimulatedGpu::new(capacity);
        let memory = gpu.memory(0).map_err(Failure::from_gpu)?;
        let others = held_by_others(&memory, our_bytes);
        let (runner, second) = (others / 2, others / 3);
        for (pid, name, bytes) in [
            (2101, "pytest, worker 1", runner),
            (2102, "pytest, worker 2", second),
            (1207, "desktop", others - runner - second),
        ] {
            gpu.add_process(0, pid, name, bytes).map_err(Failure::from_gpu)?;
        }
        Ok(Self {
            gpu: Arc::new(gpu),
            device: 0,
            name: "simulated".to_owned(),
            note,
            others: format!("two test workers and the desktop hold {}", Bytes(others)),
            ballast: Vec::new(),
        })
    }

    /// Says why not, if the card has no room.
    fn real(gpu: Arc<dyn DeviceMemory>, device: u32, our_bytes: u64, note: String) -> Result<Self, String> {
        let name = gpu.devices().map_err(|error| error.to_string())?.into_iter().nth(device as usize);
        let name = name.ok_or_else(|| format!("there is no GPU {device}"))?.name;
        // Asked twice: the driver takes its own share with the first allocation.
        let probe = gpu.allocate(device, 1).map_err(|error| error.to_string())?;
        drop(gpu.free(probe));
        let memory = gpu.memory(device).map_err(|error| error.to_string())?;
        let reserve = (RESERVE * memory.total_bytes as f64) as u64;
        if memory.free_bytes < our_bytes + reserve {
            return Err(format!("{name} has too little free memory for the demo"));
        }
        let most = memory.free_bytes - our_bytes - reserve;
        let wanted = held_by_others(&memory, our_bytes).saturating_sub(memory.used_bytes).min(most);
        let others =
            format!("other processes, and {} of ballast that stands for more of them", Bytes(wanted));
        let mut stage = Self { gpu, device, name, note, others, ballast: Vec::new() };
        let mut taken = 0;
        while taken < wanted {
            let bytes = BALLAST_BYTES.min(wanted - taken);
            stage.ballast.push(stage.gpu.allocate(device, bytes).map_err(|error| error.to_string())?);
            taken += bytes;
        }
        Ok(stage)
    }

    /// Moves tensors into VRAM.
    pub(super) fn upload(&self, tensors: &[HostTensor]) -> Result<Vec<NamedTensor<'static>>, Failure> {
        let upload = |tensor: &HostTensor| {
            let allocation =
                self.gpu.allocate(self.device, tensor.bytes.len() as u64).map_err(Failure::from_gpu)?;
            self.gpu.write(&allocation, 0, &tensor.bytes).map_err(Failure::from_gpu)?;
            Ok(NamedTensor::device(tensor.name.clone(), tensor.dtype, tensor.shape.clone(), allocation))
        };
        tensors.iter().map(upload).collect()
    }

    /// Copies a tensor back out of VRAM.
    pub(super) fn download(&self, allocation: &Allocation) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; allocation.bytes() as usize];
        self.gpu.read(allocation, 0, &mut bytes).map_err(Failure::from_gpu)?;
        Ok(bytes)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for allocation in self.ballast.drain(..) {
            // The process ends soon, and the driver frees what is left.
            drop(self.gpu.free(allocation));
        }
    }
}

/// So much that freeing ours brings the card back below the lower threshold, if ours are that large a part of it.
fn held_by_others(memory: &MemoryInfo, our_bytes: u64) -> u64 {
    let total = memory.total_bytes as f64;
    let crowded = (CROWDED * total).max(OTHERS * total + our_bytes as f64);
    (crowded as u64).saturating_sub(our_bytes)
}

/// The type in which all tensors of the demo are.
pub(super) const fn is_compared(dtype: DType) -> bool {
    matches!(dtype, DType::F32)
}
