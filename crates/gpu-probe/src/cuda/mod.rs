//! A real card, through the CUDA driver and NVML. Both are looked up at run time; neither is needed to build
//! or to start.
//!
//! Memory comes from the driver (`cuMemGetInfo`), since that is what this process can get; processes, load
//! and temperature come from NVML. Without NVML those are `None`, or [`Error::NotReported`], and everything
//! else works.
//!
//! The first question about memory takes a share in the card's *primary context*. A process that already uses
//! the card (`PyTorch`, say) has it; in any other, the driver makes one, which takes some hundred MiB of the
//! card until the [`CudaGpu`] is dropped. Where the card is too full for that, the answer comes from NVML
//! instead.

mod driver;
mod nvml;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::driver::{Context, Device, Driver, Failure, explain};
use self::nvml::Management;
use crate::error::{Error, FreeError, OomCause, OutOfMemory, Result, human_bytes};
use crate::info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo};
use crate::probe::{Allocation, DeviceMemory, GpuProbe, Issuer};

/// The NVIDIA cards of this machine. Calls may come from any thread, and leave the thread's current context
/// as it was.
///
/// What was allocated and not freed is freed when this is dropped.
#[derive(Debug)]
pub struct CudaGpu {
    driver: Driver,
    management: Management,
    cards: Vec<Card>,
    issuer: Issuer,
}

#[derive(Debug)]
struct Card {
    device: Device,
    /// What never changes; load and temperature are asked for each time.
    info: DeviceInfo,
    context: Mutex<Option<Context>>,
    live: Mutex<HashMap<u64, Live>>,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    address: u64,
    bytes: u64,
}

/// Every lock here guards a value that is whole between calls, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CudaGpu {
    /// Finds the cards. Takes none of their memory.
    ///
    /// # Errors
    /// [`Error::NoDriver`] where there is no driver, no card, or a driver that does not work.
    pub fn new() -> Result<Self> {
        let broken = |error| Error::NoDriver {
            reason: format!("the CUDA driver does not answer: {}", explain(error)),
        };
        let driver = Driver::load().map_err(|reason| Error::NoDriver { reason })?;
        let mut cards = Vec::new();
        for (index, device) in (0..).zip(driver.devices().map_err(broken)?) {
            let name = driver.name(device).map_err(broken)?;
            let mut info = DeviceInfo::new(index, name, driver.total_bytes(device).map_err(broken)?);
            info.pci_bus_id = driver.pci_bus_id(device).ok();
            cards.push(Card { device, info, context: Mutex::new(None), live: Mutex::new(HashMap::new()) });
        }
        if cards.is_empty() {
            return Err(Error::NoDriver {
                reason: "the CUDA driver works, but shows no card; see CUDA_VISIBLE_DEVICES".into(),
            });
        }
        Ok(Self { driver, management: Management::load(), cards, issuer: Issuer::new() })
    }

    /// One line for people: the cards, the versions, and what is missing.
    #[must_use]
    pub fn note(&self) -> String {
        let names: Vec<&str> = self.cards.iter().map(|card| card.info.name.as_str()).collect();
        let cuda = self.driver.version().map_or_else(String::new, |version| format!(", CUDA {version}"));
        let nvml = match self.management.version() {
            Ok(version) => format!(", driver {version}"),
            Err(reason) => format!("; no processes, load or temperature, since NVML is not usable: {reason}"),
        };
        format!("{}{cuda}{nvml}", names.join(", "))
    }

    fn card(&self, device: u32) -> Result<&Card> {
        self.cards.get(device as usize).ok_or(Error::NoSuchDevice { device, count: self.cards.len() as u32 })
    }

    fn context(&self, card: &Card) -> Result<Context, Failure> {
        let mut context = lock(&card.context);
        if let Some(context) = *context {
            return Ok(context);
        }
        Ok(*context.insert(self.driver.retain(card.device)?))
    }

    /// From the driver; from NVML where the card is too full to talk to the driver about its memory.
    fn look(&self, card: &Card) -> Result<MemoryInfo> {
        let asked = self.context(card).and_then(|context| self.driver.memory(context));
        let (free, total) = match asked {
            Ok(answer) => answer,
            Err(Failure::OutOfMemory) => {
                self.management.memory(card.info.pci_bus_id.as_deref()).map_err(|reason| {
                    Error::NotReported {
                        device: card.info.index,
                        what: "its memory",
                        reason: format!("it is too full for this process to open it, and {reason}"),
                    }
                })?
            }
            Err(failure) => return Err(card.driver_error("asking for free memory".into(), failure)),
        };
        Ok(MemoryInfo::new(total, free))
    }

    fn out_of_memory(&self, card: &Card, requested_bytes: u64) -> Error {
        let memory = self.look(card).unwrap_or_else(|_| MemoryInfo::new(card.info.total_bytes, 0));
        let me = std::process::id();
        let processes = self.management.processes(card.info.pci_bus_id.as_deref()).unwrap_or_default();
        let (ours, other_processes): (Vec<_>, Vec<_>) =
            processes.into_iter().partition(|process| process.pid == me);
        Error::OutOfMemory(Box::new(OutOfMemory {
            device: card.info.index,
            cause: if requested_bytes > memory.free_bytes { OomCause::CardFull } else { OomCause::Driver },
            requested_bytes,
            free_bytes: memory.free_bytes,
            largest_free_bytes: None,
            total_bytes: memory.total_bytes,
            allocated_bytes: card.allocated_bytes(),
            reserved_bytes: ours.first().and_then(|process| process.used_bytes),
            other_processes,
        }))
    }

    fn free_now(&self, allocation: &Allocation) -> Result<u64> {
        self.issuer.check(allocation)?;
        let card = self.card(allocation.device())?;
        if allocation.bytes() > 0 {
            self.context(card)
                .and_then(|context| self.driver.free(context, allocation.address()))
                .map_err(|failure| card.driver_error("freeing memory".into(), failure))?;
        }
        lock(&card.live).remove(&allocation.id());
        Ok(allocation.bytes())
    }
}

impl Card {
    fn allocated_bytes(&self) -> u64 {
        lock(&self.live).values().map(|live| live.bytes).sum()
    }

    fn driver_error(&self, operation: String, failure: Failure) -> Error {
        let device = self.info.index;
        match failure {
            Failure::Lost => Error::DeviceLost { device },
            Failure::OutOfMemory => {
                Error::Driver { device, operation, reason: "the driver has no memory left for it".into() }
            }
            Failure::Other(error) => Error::Driver { device, operation, reason: explain(error) },
        }
    }
}

impl GpuProbe for CudaGpu {
    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        Ok(self
            .cards
            .iter()
            .map(|card| {
                let mut info = card.info.clone();
                self.management.describe(&mut info);
                info
            })
            .collect())
    }

    fn memory(&self, device: u32) -> Result<MemoryInfo> {
        self.look(self.card(device)?)
    }

    fn processes(&self, device: u32) -> Result<Vec<GpuProcess>> {
        let card = self.card(device)?;
        self.management.processes(card.info.pci_bus_id.as_deref()).map_err(|reason| Error::NotReported {
            device,
            what: "its processes",
            reason,
        })
    }

    fn fragmentation(&self, device: u32) -> Result<Fragmentation> {
        let card = self.card(device)?;
        let me = std::process::id();
        let processes = self.management.processes(card.info.pci_bus_id.as_deref()).unwrap_or_default();
        Ok(Fragmentation {
            free_bytes: self.look(card)?.free_bytes,
            largest_free_bytes: None,
            free_blocks: None,
            allocated_bytes: card.allocated_bytes(),
            reserved_bytes: processes.iter().find(|process| process.pid == me).and_then(|p| p.used_bytes),
        })
    }

    fn source(&self) -> &'static str {
        "cuda"
    }
}

impl DeviceMemory for CudaGpu {
    fn allocate(&self, device: u32, bytes: u64) -> Result<Allocation> {
        let card = self.card(device)?;
        let address = if bytes == 0 {
            0
        } else {
            let Ok(size) = usize::try_from(bytes) else { return Err(self.out_of_memory(card, bytes)) };
            match self.context(card).and_then(|context| self.driver.allocate(context, size)) {
                Ok(address) => address,
                Err(Failure::OutOfMemory) => return Err(self.out_of_memory(card, bytes)),
                Err(failure) => {
                    return Err(card.driver_error(format!("allocating {}", human_bytes(bytes)), failure));
                }
            }
        };
        let allocation = self.issuer.issue(device, bytes, address);
        lock(&card.live).insert(allocation.id(), Live { address, bytes });
        Ok(allocation)
    }

    fn write(&self, allocation: &Allocation, offset: u64, data: &[u8]) -> Result<()> {
        self.issuer.check(allocation)?;
        allocation.check_range(offset, data.len())?;
        let card = self.card(allocation.device())?;
        if data.is_empty() {
            return Ok(());
        }
        self.context(card)
            .and_then(|context| self.driver.copy_to(context, allocation.address() + offset, data))
            .map_err(|failure| {
                card.driver_error(format!("copying {} to the card", human_bytes(data.len() as u64)), failure)
            })
    }

    fn read(&self, allocation: &Allocation, offset: u64, out: &mut [u8]) -> Result<()> {
        self.issuer.check(allocation)?;
        allocation.check_range(offset, out.len())?;
        let card = self.card(allocation.device())?;
        if out.is_empty() {
            return Ok(());
        }
        let len = out.len() as u64;
        self.context(card)
            .and_then(|context| self.driver.copy_from(context, allocation.address() + offset, out))
            .map_err(|failure| {
                card.driver_error(format!("copying {} from the card", human_bytes(len)), failure)
            })
    }

    fn free(&self, allocation: Allocation) -> Result<u64, FreeError> {
        self.free_now(&allocation).map_err(|source| FreeError { allocation, source })
    }
}

impl Drop for CudaGpu {
    fn drop(&mut self) {
        for card in &self.cards {
            let Some(context) = *lock(&card.context) else { continue };
            for live in lock(&card.live).values().filter(|live| live.bytes > 0) {
                // There is nobody to tell; the driver frees what is left when the process ends.
                let _ = self.driver.free(context, live.address);
            }
            self.driver.release(card.device);
        }
    }
}
