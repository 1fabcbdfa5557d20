//! How full cards are, for who watches them for weeks: NVML alone, without the CUDA driver.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use crate::error::{Error, Result};
use crate::info::MemoryInfo;

/// Tells how full the NVIDIA cards of this machine are. It loads NVML and nothing else, so that it takes a few MiB where the CUDA
/// driver takes some ten, nothing of any card, and works in a sandbox that lets a process do little.
///
/// Cards are counted as `nvidia-smi` counts them, by where they are plugged in; `CUDA_VISIBLE_DEVICES` does not count. Of a card
/// that is cut into instances it tells all of it.
///
/// ```
/// use gpu_probe::MemoryMeter;
///
/// match MemoryMeter::open() {
///     Ok(meter) => println!("{} of {} bytes are free", meter.memory(0)?.free_bytes, meter.memory(0)?.total_bytes),
///     Err(error) => println!("{error}"), // a machine without a card is a usual one
/// }
/// # Ok::<(), gpu_probe::Error>(())
/// ```
#[derive(Debug)]
pub struct MemoryMeter {
    /// A table of all its functions, 12 KB.
    library: Box<Nvml>,
    count: u32,
    note: String,
}

impl MemoryMeter {
    /// Looks for NVML and for cards.
    ///
    /// # Errors
    /// [`Error::NoDriver`] where there is no NVML, no card, or an NVML that does not work.
    pub fn open() -> Result<Self> {
        let none = |error: NvmlError| Error::NoDriver { reason: format!("NVML is not usable: {error}") };
        let library = Nvml::init().map(Box::new).map_err(none)?;
        let count = library.device_count().map_err(none)?;
        if count == 0 {
            return Err(Error::NoDriver { reason: "NVML works, but shows no card".into() });
        }
        let name = |index| library.device_by_index(index).and_then(|card| card.name());
        let names: Vec<String> =
            (0..count).map(|index| name(index).unwrap_or_else(|_| "unnamed".into())).collect();
        Ok(Self { count, note: names.join(", "), library })
    }

    /// How many cards there are, at least one.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// One line for people: the cards' names.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// How full a card is.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`], [`Error::DeviceLost`] or [`Error::NotReported`].
    pub fn memory(&self, device: u32) -> Result<MemoryInfo> {
        if device >= self.count {
            return Err(Error::NoSuchDevice { device, count: self.count });
        }
        let memory = self.library.device_by_index(device).and_then(|card| card.memory_info());
        match memory {
            Ok(memory) => Ok(MemoryInfo::new(memory.total, memory.free)),
            Err(NvmlError::GpuLost) => Err(Error::DeviceLost { device }),
            Err(error) => Err(Error::NotReported { device, what: "its memory", reason: error.to_string() }),
        }
    }
}
