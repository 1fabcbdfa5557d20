//! Finds the GPU of this machine. Never fails: no GPU is an answer, with its reason.

use std::sync::Arc;

use crate::error::human_bytes;
use crate::none::NoGpu;
use crate::probe::{DeviceMemory, GpuProbe};
use crate::simulated::{SHARED_CARD_VARIABLE, SimulatedGpu};

/// What was found.
#[derive(Debug, Clone)]
pub struct Detected {
    /// The real card, a shared simulated one, or [`NoGpu`]. `probe.source()` says which.
    pub probe: Arc<dyn DeviceMemory>,
    /// One line for people: what was found, or why nothing was.
    pub note: String,
}

/// Takes the real cards where there are some, else [`NoGpu`] with the reason.
///
/// Where the environment variable [`SHARED_CARD_VARIABLE`] names the book of a shared simulated card, that one is taken, and real
/// ones are not looked for; if it cannot be used, that is [`NoGpu`]. So programs that run without hardware compete for one card.
///
/// Looks the driver up at run time; a driver that is missing, too old or broken means [`NoGpu`].
/// Touches no memory of a card: what the driver itself needs is taken at the first question about memory.
#[must_use]
pub fn detect() -> Detected {
    found(false)
}

/// The same for whoever only looks: asking how full a card is takes none of its memory either, where NVML tells.
#[must_use]
pub fn detect_to_look() -> Detected {
    found(true)
}

fn found(only_looks: bool) -> Detected {
    let found = match SimulatedGpu::shared_from_environment() {
        Some(shared) => shared.and_then(simulated).map_err(|error| error.to_string()),
        None => real(only_looks),
    };
    found.unwrap_or_else(|reason| Detected {
        note: format!("no GPU: {reason}"),
        probe: Arc::new(NoGpu::new(reason)),
    })
}

fn simulated(gpu: SimulatedGpu) -> crate::Result<Detected> {
    let memory = gpu.memory(0)?;
    let note = format!(
        "a simulated GPU with {}, shared by several processes, because {SHARED_CARD_VARIABLE} is set; no real one was looked for",
        human_bytes(memory.total_bytes)
    );
    Ok(Detected { note, probe: Arc::new(gpu) })
}

#[cfg(all(feature = "cuda", any(target_os = "linux", windows)))]
fn real(only_looks: bool) -> Result<Detected, String> {
    let gpu = crate::CudaGpu::new().map_err(|error| match error {
        crate::Error::NoDriver { reason } => reason,
        other => other.to_string(),
    })?;
    let gpu = if only_looks { gpu.only_looking() } else { gpu };
    Ok(Detected { note: gpu.note(), probe: Arc::new(gpu) })
}

#[cfg(not(all(feature = "cuda", any(target_os = "linux", windows))))]
fn real(_: bool) -> Result<Detected, String> {
    Err("this build knows no driver (feature `cuda` is off, or the system is neither Linux nor Windows)"
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detecting_always_answers_and_says_what_it_found() {
        // R28
        let found = detect();
        assert!(!found.note.is_empty());
        let devices = found.probe.devices().unwrap();
        assert_eq!(devices.is_empty(), found.probe.source() == "none", "{}", found.note);
    }
}
