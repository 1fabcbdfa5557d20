//! What can go wrong, in words that say which card, why, and what to do next.
//!
//! A missing GPU is not an error: see [`NoGpu`](crate::NoGpu).

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::{Allocation, GpuProcess};

/// The result of looking at, or using, a card.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Whatever was there before the call is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No card has this index.
    #[error("there is no GPU {device}: {}", card_count(*.count))]
    NoSuchDevice {
        /// The index asked for.
        device: u32,
        /// How many cards there are.
        count: u32,
    },
    /// The card could not give the memory asked for. Nothing was taken.
    #[error(transparent)]
    OutOfMemory(Box<OutOfMemory>),
    /// A read or write would have gone past the end of the allocation. Nothing was copied.
    #[error(
        "{len} bytes at offset {offset} go past the end of an allocation of {bytes} bytes on GPU {device}"
    )]
    OutOfRange {
        /// Index of the card.
        device: u32,
        /// Where the copy would have begun, in bytes from the start of the allocation.
        offset: u64,
        /// How many bytes were to be copied.
        len: u64,
        /// Size of the allocation in bytes.
        bytes: u64,
    },
    /// The allocation belongs to another probe.
    #[error(
        "this allocation of {bytes} bytes on GPU {device} belongs to another probe; give it to the one that made it"
    )]
    ForeignAllocation {
        /// Index of the card, in the probe that made the allocation.
        device: u32,
        /// Size of the allocation in bytes.
        bytes: u64,
    },
    /// The card does not answer any more (fell off the bus, was reset, or was made to by a test).
    #[error(
        "GPU {device} is lost: it does not answer any more; restart the process, and reset the card if that does not help"
    )]
    DeviceLost {
        /// Index of the card.
        device: u32,
    },
    /// The allocation is vacant: it has an address, and no memory. Nothing was copied.
    #[error(
        "an allocation of {bytes} bytes on GPU {device} is vacant: it has an address, but no memory; occupy it first"
    )]
    Vacant {
        /// Index of the card.
        device: u32,
        /// Size of the allocation in bytes.
        bytes: u64,
    },
    /// The card found an error in its memory that it cannot correct.
    #[error(
        "GPU {device} found an error in its memory that it cannot correct: what is on the card is not to be trusted; \
         restart the process, and take from a copy elsewhere what was there"
    )]
    Uncorrectable {
        /// Index of the card.
        device: u32,
    },
    /// A program on the card broke off, and took everything with it that this process does on the card. Other processes and
    /// cards go on.
    #[error(
        "{operation} failed on GPU {device}: {reason}; nothing in this process can use that card any more: restart it"
    )]
    Broken {
        /// Index of the card.
        device: u32,
        /// What was being done when it was noticed, which need not be what caused it.
        operation: String,
        /// The driver's own words.
        reason: String,
    },
    /// The driver refused, for a reason other than memory.
    #[error("{operation} failed on GPU {device}: {reason}")]
    Driver {
        /// Index of the card.
        device: u32,
        /// What was being done, such as `copying 512 bytes to the card`.
        operation: String,
        /// The driver's own words.
        reason: String,
    },
    /// There is no usable driver.
    #[error("no GPU: {reason}")]
    NoDriver {
        /// What is missing or broken.
        reason: String,
    },
    /// The card exists, but this cannot be known about it here.
    #[error("GPU {device} does not report {what}: {reason}")]
    NotReported {
        /// Index of the card.
        device: u32,
        /// What was asked for.
        what: &'static str,
        /// Why it cannot be known.
        reason: String,
    },
    /// This card, its driver or this build cannot do that. Everything else goes on working.
    #[error("GPU {device} cannot {what}: {reason}")]
    Unsupported {
        /// Index of the card.
        device: u32,
        /// What was asked for, such as `run kernels`.
        what: &'static str,
        /// What is missing, and what to do about it.
        reason: String,
    },
    /// A simulated process was added twice.
    #[error("process {pid} is already on simulated GPU {device}; grow it, or remove it first")]
    ProcessExists {
        /// Index of the card.
        device: u32,
        /// The process.
        pid: u32,
    },
    /// A simulated process was named that is not there.
    #[error("there is no process {pid} on simulated GPU {device}; add it first")]
    NoSuchProcess {
        /// Index of the card.
        device: u32,
        /// The process.
        pid: u32,
    },
    /// The book of a simulated card that several processes share cannot be used. Nothing was taken or given back.
    #[error("the simulated card shared through {} cannot be used: {reason}", .path.display())]
    SharedCard {
        /// The book.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// The two thresholds do not make a watermark.
    #[error(
        "watermark: enter = {enter}, leave = {leave} is not usable; wanted 0 < leave <= enter < 1, such as 0.85 and 0.75"
    )]
    InvalidWatermark {
        /// Share of memory in use above which to consolidate.
        enter: f64,
        /// Share of memory in use at which to stop.
        leave: f64,
    },
    /// A threshold of placement that nothing or everything would exceed.
    #[error("placement: {name} = {value} is not usable; shares are from 0 to 1, and felt_from is above 0")]
    InvalidPlacement {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: f64,
    },
}

fn card_count(count: u32) -> String {
    match count {
        0 => "no GPU was found".into(),
        1 => "there is one, with index 0".into(),
        n => format!("there are {n}, with indices 0 to {}", n - 1),
    }
}

/// Why the memory was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OomCause {
    /// Less is free than was asked for.
    CardFull,
    /// Enough is free, but not in one piece.
    Fragmented,
    /// The driver says so; it does not tell free blocks, so the two cannot be told apart.
    Driver,
    /// A test asked for this failure.
    Injected,
}

/// An allocation that failed, and the state of the card at that moment.
///
/// Its message has the shape of `PyTorch`'s, so that what recognises the one recognises the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutOfMemory {
    /// Index of the card.
    pub device: u32,
    /// Why.
    pub cause: OomCause,
    /// Bytes asked for.
    pub requested_bytes: u64,
    /// Bytes free on the card.
    pub free_bytes: u64,
    /// Largest free block in bytes, where it can be known.
    pub largest_free_bytes: Option<u64>,
    /// Capacity of the card in bytes.
    pub total_bytes: u64,
    /// Bytes that this process asked for through this probe and still holds.
    pub allocated_bytes: u64,
    /// Bytes that this process holds, with rounding and caches, where it can be known.
    pub reserved_bytes: Option<u64>,
    /// The other processes on the card, as far as they are known.
    pub other_processes: Vec<GpuProcess>,
}

impl std::error::Error for OutOfMemory {}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CUDA out of memory. Tried to allocate {}. GPU {} has a total capacity of {} of which {} is free",
            human_bytes(self.requested_bytes),
            self.device,
            human_bytes(self.total_bytes),
            human_bytes(self.free_bytes),
        )?;
        if let Some(largest) = self.largest_free_bytes {
            write!(f, ", {} of it in one piece", human_bytes(largest))?;
        }
        f.write_str(".")?;
        for process in &self.other_processes {
            write!(f, " Process {}", process.pid)?;
            if let Some(name) = &process.name {
                write!(f, " ({name})")?;
            }
            match process.used_bytes {
                Some(used) => write!(f, " has {} memory in use.", human_bytes(used))?,
                None => f.write_str(" has memory in use.")?,
            }
        }
        match self.reserved_bytes {
            Some(reserved) => write!(
                f,
                " This process has {} memory in use: {} allocated, {} reserved but unallocated.",
                human_bytes(reserved),
                human_bytes(self.allocated_bytes),
                human_bytes(reserved.saturating_sub(self.allocated_bytes)),
            )?,
            None => write!(f, " This process has allocated {}.", human_bytes(self.allocated_bytes))?,
        }
        match self.cause {
            OomCause::Fragmented => write!(
                f,
                " Memory is fragmented: {} is {} bytes, the largest free block {} bytes. \
                 Consolidate neighbours of a free block, or allocate in smaller pieces.",
                human_bytes(self.free_bytes),
                self.free_bytes,
                self.largest_free_bytes.unwrap_or(0),
            ),
            OomCause::CardFull | OomCause::Driver => {
                f.write_str(" Consolidate what is idle, or allocate less.")
            }
            OomCause::Injected => f.write_str(" This failure was injected."),
        }
    }
}

/// A `free` that failed, with the allocation that is therefore still there.
#[derive(Debug, thiserror::Error)]
#[error("{source}; the allocation of {} bytes is still there", .allocation.bytes())]
pub struct FreeError {
    /// The allocation, to be freed again later.
    pub allocation: Allocation,
    /// Why it was not freed.
    pub source: Error,
}

impl From<FreeError> for Error {
    /// Keeps the reason and lets go of the allocation, which then lives until its probe is dropped.
    fn from(failed: FreeError) -> Self {
        failed.source
    }
}

/// A number of bytes for people, in binary units: `3.81 GiB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.995 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printed_in_the_unit_that_fits() {
        assert_eq!(human_bytes(0), "0 bytes");
        assert_eq!(human_bytes(1023), "1023 bytes");
        assert_eq!(human_bytes(1536), "1.50 KiB");
        assert_eq!(human_bytes((1 << 20) - 1), "1.00 MiB");
        assert_eq!(human_bytes(crate::DEFAULT_CAPACITY_BYTES), "3.81 GiB");
        assert_eq!(human_bytes(u64::MAX), "16.00 EiB");
    }

    #[test]
    fn an_out_of_memory_message_names_every_number_and_every_other_process() {
        let oom = OutOfMemory {
            device: 0,
            cause: OomCause::Fragmented,
            requested_bytes: 2 << 30,
            free_bytes: 3 << 30,
            largest_free_bytes: Some(1 << 30),
            total_bytes: 4 << 30,
            allocated_bytes: 1 << 20,
            reserved_bytes: Some(3 << 20),
            other_processes: vec![GpuProcess::new(7, Some("python".into()), Some(512 << 20))],
        };
        let text = oom.to_string();
        for part in [
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4.00 GiB of which 3.00 GiB is free",
            "1.00 GiB of it in one piece",
            "Process 7 (python) has 512.00 MiB memory in use.",
            "This process has 3.00 MiB memory in use: 1.00 MiB allocated, 2.00 MiB reserved but unallocated.",
            "fragmented",
        ] {
            assert!(text.contains(part), "{part:?} is missing from {text:?}");
        }
    }
}
