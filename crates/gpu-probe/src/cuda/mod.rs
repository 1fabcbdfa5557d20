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
//!
//! Anchored memory, adopting and kernels need parts of the driver that not every one has; where they are missing,
//! that is [`Error::Unsupported`], and everything else works.

mod driver;
mod meter;
mod nvml;
mod ptx;
mod queue;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use self::meter::MemoryMeter;

use self::driver::{Anchors, Context, Device, Driver, Elsewhere, Failure, explain};
use self::nvml::Management;
use self::queue::{CudaQueue, NotMade};
use crate::error::{Error, FreeError, OomCause, OutOfMemory, Result, human_bytes};
use crate::info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo};
use crate::kernels::{KernelQueue, KernelSetup};
use crate::probe::{Allocation, DeviceMemory, GpuProbe, Issuer, not_anchored};

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
    only_looks: bool,
}

#[derive(Debug)]
struct Card {
    device: Device,
    /// What never changes; load and temperature are asked for each time.
    info: DeviceInfo,
    context: Mutex<Option<Context>>,
    live: Mutex<HashMap<u64, Live>>,
}

#[derive(Debug, Clone)]
struct Live {
    address: u64,
    bytes: u64,
    held: Held,
}

/// How the memory of an allocation is held.
#[derive(Debug, Clone)]
enum Held {
    Plain,
    Anchored(Arc<Anchor>),
    /// It is somebody else's.
    Adopted,
}

/// A reserved address. Copies lock it to read, so that its memory does not go away under them.
#[derive(Debug)]
struct Anchor {
    anchors: Anchors,
    /// The whole pages that are reserved, and taken where it is occupied.
    size: usize,
    occupied: RwLock<bool>,
}

impl Anchor {
    fn is_occupied(&self) -> bool {
        *self.occupied.read().unwrap_or_else(PoisonError::into_inner)
    }
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
        Ok(Self { driver, management: Management::load(), cards, issuer: Issuer::new(), only_looks: false })
    }

    /// For whoever only looks: how full a card is comes from NVML as long as nothing is allocated, so that looking takes no
    /// memory of the card. From the driver, as ever, where NVML is not there, and on a card that is cut into instances.
    #[must_use]
    pub fn only_looking(mut self) -> Self {
        self.only_looks = true;
        self
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

    /// From the driver; from NVML where the card is too full to talk to the driver about its memory, or where that is to take
    /// nothing.
    fn look(&self, card: &Card) -> Result<MemoryInfo> {
        if self.only_looks
            && lock(&card.context).is_none()
            && let Some(free) = self.management.free_bytes_of_whole(card.info.pci_bus_id.as_deref())
        {
            return Ok(MemoryInfo::new(card.info.total_bytes, free));
        }
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

    /// What is known of an allocation of this probe.
    fn live(&self, allocation: &Allocation) -> Result<(&Card, Live)> {
        self.issuer.check(allocation)?;
        let card = self.card(allocation.device())?;
        let live = lock(&card.live).get(&allocation.id()).cloned();
        let (device, bytes) = (allocation.device(), allocation.bytes());
        live.map(|live| (card, live)).ok_or(Error::ForeignAllocation { device, bytes })
    }

    /// Does one copy, if there is memory to copy to or from.
    fn copy(
        &self,
        allocation: &Allocation,
        (offset, len): (u64, usize),
        direction: &str,
        copy: impl FnOnce(Context, u64) -> Result<(), Failure>,
    ) -> Result<()> {
        let (card, live) = self.live(allocation)?;
        allocation.check_range(offset, len)?;
        let anchor = if let Held::Anchored(anchor) = &live.held { Some(anchor) } else { None };
        // Locked until the copy is done.
        let occupied = anchor.map(|anchor| anchor.occupied.read().unwrap_or_else(PoisonError::into_inner));
        if occupied.as_deref() == Some(&false) {
            return Err(Error::Vacant { device: card.info.index, bytes: live.bytes });
        }
        if len == 0 {
            return Ok(());
        }
        let words = || format!("copying {} {direction} the card", human_bytes(len as u64));
        if matches!(live.held, Held::Adopted) {
            self.check_adopted(card, live.address, live.bytes).map_err(|elsewhere| match elsewhere {
                Elsewhere::Failure(failure) => card.driver_error(words(), failure),
                Elsewhere::Reason(reason) => Error::Driver {
                    device: card.info.index,
                    operation: words(),
                    reason: format!("its owner freed this memory: {reason}"),
                },
            })?;
        }
        self.context(card)
            .and_then(|context| copy(context, live.address + offset))
            .map_err(|failure| card.driver_error(words(), failure))
    }

    /// Whether memory of somebody else is where it was said to be, as far as the driver tells.
    fn check_adopted(&self, card: &Card, address: u64, bytes: u64) -> Result<(), Elsewhere> {
        let Some(addresses) = self.driver.addresses() else { return Ok(()) };
        addresses.check(self.context(card)?, card.info.index, address, bytes)
    }

    fn anchors(&self, card: &Card) -> Result<Anchors> {
        self.driver.anchors(card.device).map_err(|reason| Error::Unsupported {
            device: card.info.index,
            what: "keep an address without memory",
            reason,
        })
    }

    /// Reserves an address for `bytes` bytes, which is not 0, and puts memory under it.
    fn anchor(&self, card: &Card, bytes: u64) -> Result<(u64, Anchor)> {
        let failed = |failure| match failure {
            Failure::OutOfMemory => self.out_of_memory(card, bytes),
            failure => card
                .driver_error(format!("allocating {} at an address that stays", human_bytes(bytes)), failure),
        };
        let anchors = self.anchors(card)?;
        let context = self.context(card).map_err(failed)?;
        let page = anchors.page_bytes(context).map_err(failed)?;
        let size = usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_next_multiple_of(page));
        // More than the card has is refused before an address is looked for, which would be another error.
        let Some(size) = size.filter(|&size| size as u64 <= card.info.total_bytes) else {
            return Err(self.out_of_memory(card, bytes));
        };
        let address = anchors.reserve(context, size).map_err(failed)?;
        if let Err(failure) = anchors.occupy(context, address, size) {
            // There is nobody to tell; what stays is an address, and no memory.
            let _ = anchors.give_up(context, address, size);
            return Err(failed(failure));
        }
        Ok((address, Anchor { anchors, size, occupied: RwLock::new(true) }))
    }

    fn issue(&self, card: &Card, address: u64, bytes: u64, held: Held) -> Allocation {
        let allocation = self.issuer.issue(card.info.index, bytes, address);
        lock(&card.live).insert(allocation.id(), Live { address, bytes, held });
        allocation
    }

    fn free_now(&self, allocation: &Allocation) -> Result<u64> {
        let (card, live) = self.live(allocation)?;
        let freed = if live.bytes == 0 {
            0
        } else {
            self.context(card)
                .and_then(|context| self.give_back(context, &live))
                .map_err(|failure| card.driver_error("freeing memory".into(), failure))?
        };
        lock(&card.live).remove(&allocation.id());
        Ok(freed)
    }

    /// Ends one allocation of more than no bytes. Where a step fails, those before it are not done again by the next try.
    fn give_back(&self, context: Context, live: &Live) -> Result<u64, Failure> {
        match &live.held {
            Held::Plain => self.driver.free(context, live.address).map(|()| live.bytes),
            Held::Adopted => Ok(0),
            Held::Anchored(anchor) => {
                let freed = anchor.vacate(context, live.address)?;
                anchor.anchors.give_up(context, live.address, anchor.size)?;
                Ok(freed)
            }
        }
    }
}

impl Anchor {
    /// Waits for copies and for the card, and gives the memory back. Returns how many bytes became free.
    fn vacate(&self, context: Context, address: u64) -> Result<u64, Failure> {
        let mut occupied = self.occupied.write().unwrap_or_else(PoisonError::into_inner);
        if !*occupied {
            return Ok(0);
        }
        self.anchors.vacate(context, address, self.size)?;
        *occupied = false;
        Ok(self.size as u64)
    }

    fn occupy(&self, context: Context, address: u64) -> Result<(), Failure> {
        let mut occupied = self.occupied.write().unwrap_or_else(PoisonError::into_inner);
        if !*occupied {
            self.anchors.occupy(context, address, self.size)?;
            *occupied = true;
        }
        Ok(())
    }
}

impl Card {
    fn allocated_bytes(&self) -> u64 {
        // Copied first: what is being vacated or occupied is waited for, and others are not kept waiting for it.
        let live: Vec<Live> = lock(&self.live).values().cloned().collect();
        let there = |live: &Live| match &live.held {
            Held::Plain => live.bytes,
            Held::Anchored(anchor) if anchor.is_occupied() => live.bytes,
            Held::Anchored(_) | Held::Adopted => 0,
        };
        live.iter().map(there).sum()
    }

    fn driver_error(&self, operation: String, failure: Failure) -> Error {
        failure.into_error(self.info.index, operation)
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
        Ok(self.issue(card, address, bytes, Held::Plain))
    }

    fn write(&self, allocation: &Allocation, offset: u64, data: &[u8]) -> Result<()> {
        self.copy(allocation, (offset, data.len()), "to", |context, address| {
            self.driver.copy_to(context, address, data)
        })
    }

    fn read(&self, allocation: &Allocation, offset: u64, out: &mut [u8]) -> Result<()> {
        self.copy(allocation, (offset, out.len()), "from", |context, address| {
            self.driver.copy_from(context, address, out)
        })
    }

    fn free(&self, allocation: Allocation) -> Result<u64, FreeError> {
        self.free_now(&allocation).map_err(|source| FreeError { allocation, source })
    }

    fn allocate_anchored(&self, device: u32, bytes: u64) -> Result<Allocation> {
        let card = self.card(device)?;
        let anchor = if bytes == 0 {
            let anchors = self.anchors(card)?;
            (0, Anchor { anchors, size: 0, occupied: RwLock::new(true) })
        } else {
            self.anchor(card, bytes)?
        };
        Ok(self.issue(card, anchor.0, bytes, Held::Anchored(Arc::new(anchor.1))))
    }

    fn vacate(&self, allocation: &Allocation) -> Result<u64> {
        let (card, live) = self.live(allocation)?;
        let Held::Anchored(anchor) = &live.held else { return Err(not_anchored(card.info.index)) };
        if live.bytes == 0 {
            return Ok(0);
        }
        self.context(card)
            .and_then(|context| anchor.vacate(context, live.address))
            .map_err(|failure| card.driver_error("vacating memory".into(), failure))
    }

    fn occupy(&self, allocation: &Allocation) -> Result<()> {
        let (card, live) = self.live(allocation)?;
        let Held::Anchored(anchor) = &live.held else { return Err(not_anchored(card.info.index)) };
        if live.bytes == 0 {
            return Ok(());
        }
        match self.context(card).and_then(|context| anchor.occupy(context, live.address)) {
            Ok(()) => Ok(()),
            Err(Failure::OutOfMemory) => Err(self.out_of_memory(card, live.bytes)),
            Err(failure) => {
                let operation = format!("occupying {} at an address", human_bytes(live.bytes));
                Err(card.driver_error(operation, failure))
            }
        }
    }

    #[expect(unsafe_code, reason = "the promise is the caller's; what the driver knows is checked")]
    unsafe fn adopt(&self, device: u32, address: u64, bytes: u64) -> Result<Allocation> {
        let card = self.card(device)?;
        if bytes == 0 {
            return Ok(self.issue(card, 0, 0, Held::Adopted));
        }
        let what = "adopt foreign memory";
        if bytes > card.info.total_bytes || address.checked_add(bytes).is_none() {
            let reason = format!("{bytes} bytes at {address:#x} are more than it has");
            return Err(Error::Unsupported { device, what, reason });
        }
        match self.check_adopted(card, address, bytes) {
            Ok(()) => Ok(self.issue(card, address, bytes, Held::Adopted)),
            Err(Elsewhere::Reason(reason)) => Err(Error::Unsupported { device, what, reason }),
            Err(Elsewhere::Failure(failure)) => {
                Err(card.driver_error(format!("looking for the memory at {address:#x}"), failure))
            }
        }
    }

    fn kernels(&self, device: u32, setup: &KernelSetup<'_>) -> Result<Box<dyn KernelQueue>> {
        let card = self.card(device)?;
        match CudaQueue::new(self.driver, card.device, device, setup) {
            Ok(queue) => Ok(Box::new(queue)),
            Err(NotMade::CardFull { bytes }) => Err(self.out_of_memory(card, bytes)),
            Err(NotMade::Error(error)) => Err(error),
        }
    }
}

impl Drop for CudaGpu {
    fn drop(&mut self) {
        for card in &self.cards {
            let Some(context) = *lock(&card.context) else { continue };
            for live in lock(&card.live).values().filter(|live| live.bytes > 0) {
                // There is nobody to tell; the driver frees what is left when the process ends.
                let _ = self.give_back(context, live);
            }
            self.driver.release(card.device);
        }
    }
}
