//! Whether it is time to consolidate (R2). The thresholds and their hysteresis are `gpu-probe`'s.

use std::sync::PoisonError;

use serde::Serialize;

use crate::{Consolidator, Error, Result};

/// How full the device is, and whether to consolidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pressure {
    /// Whether to consolidate now.
    pub consolidate: bool,
    /// Index of the device.
    pub device: u32,
    /// Bytes in use, by whomever.
    pub used_bytes: u64,
    /// Capacity in bytes; 0 without a GPU.
    pub total_bytes: u64,
    /// Share of the capacity in use, 0 to 1.
    pub used_fraction: f64,
    /// Bytes that must become free before this says no again.
    pub bytes_to_free: u64,
    /// Why, in words.
    pub reason: String,
}

impl Consolidator {
    /// Whether VRAM is so full that it is time to consolidate (R2): yes above the upper threshold, and from then on until
    /// use has fallen to the lower one. No GPU is a normal answer: no, with the reason.
    ///
    /// # Errors
    /// If there is a GPU, but it does not answer, or has no such device.
    pub fn should_consolidate(&self) -> Result<Pressure> {
        let none = |reason: String| Pressure {
            consolidate: false,
            device: self.device,
            used_bytes: 0,
            total_bytes: 0,
            used_fraction: 0.0,
            bytes_to_free: 0,
            reason,
        };
        let Some(gpu) = &self.gpu else {
            return Ok(none("no GPU was given to this consolidator".to_owned()));
        };
        if gpu.devices().map_err(Error::Probe)?.is_empty() {
            return Ok(none("there is no GPU".to_owned()));
        }
        let memory = gpu.memory(self.device).map_err(Error::Probe)?;
        let mut watermark = self.watermark.lock().unwrap_or_else(PoisonError::into_inner);
        let consolidate = watermark.should_consolidate(&memory);
        let (used, config) = (memory.used_fraction(), watermark.config());
        let (verb, threshold) = if consolidate {
            ("consolidate until", config.leave())
        } else {
            ("nothing to do until", config.enter())
        };
        Ok(Pressure {
            consolidate,
            device: self.device,
            used_bytes: memory.used_bytes,
            total_bytes: memory.total_bytes,
            used_fraction: used,
            bytes_to_free: watermark.bytes_to_free(&memory),
            reason: format!("{:.1} % is in use; {verb} {:.0} %", 100.0 * used, 100.0 * threshold),
        })
    }
}
