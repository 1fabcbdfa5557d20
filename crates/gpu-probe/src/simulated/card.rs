//! One simulated card: its address space, live allocations, other processes and failures to come.
//!
//! Not thread-safe; [`SimulatedGpu`](super::SimulatedGpu) locks it. Copies of contents happen outside that
//! lock.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::book::Row;
use super::contents::Contents;
use super::fault::{Faults, Operation, Strike};
use super::live::{Allocations, Found, Live, Place, Shared};
use super::space::{AddressSpace, GRANULE_BYTES, Holder, padded};
use super::{Allocator, SimulatedCard};
use crate::error::{Error, OomCause, OutOfMemory, Result, human_bytes};
use crate::info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo};
use crate::probe::not_anchored;

/// Card memory begins here, so that no address is 0 and none looks like an offset.
const BASE_ADDRESS: u64 = 0x7f00_0000_0000;

/// Anchored addresses begin here, far above any card. None is used twice, so that none can be taken for another.
const ANCHOR_ADDRESS: u64 = 1 << 48;

#[derive(Debug)]
pub(super) struct Card {
    pub(super) info: DeviceInfo,
    pub(super) faults: Faults,
    allocator: Allocator,
    space: AddressSpace,
    page_bytes: u64,
    next_anchor: u64,
    live: Allocations,
    processes: BTreeMap<u32, Other>,
    /// What was seen last of those who share the card; nobody where it is this process's alone.
    elsewhere: Elsewhere,
}

/// Who else holds memory of a shared card.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Other processes.
    pub(super) processes: Vec<Row>,
    /// What this process holds beside this card's own allocations.
    pub(super) beside_bytes: u64,
}

/// A copy that may be made, or as much of it as happens before it breaks off.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) contents: Shared,
    /// Where the allocation begins in the contents.
    pub(super) base: u64,
    /// How much is copied.
    pub(super) bytes: usize,
    /// What is reported afterwards.
    pub(super) end: Result<()>,
}

#[derive(Debug)]
struct Other {
    name: String,
    bytes: u64,
}

impl Card {
    pub(super) fn new(index: u32, card: SimulatedCard) -> Self {
        let capacity = card.capacity_bytes - card.capacity_bytes % GRANULE_BYTES;
        let mut info = DeviceInfo::new(index, card.name, capacity);
        info.uuid = Some(format!("SIM-{index}"));
        info.utilisation_percent = Some(0);
        info.temperature_celsius = Some(40);
        Self {
            info,
            faults: Faults::default(),
            allocator: card.allocator,
            space: AddressSpace::new(capacity),
            page_bytes: padded(card.page_bytes).unwrap_or(GRANULE_BYTES).max(GRANULE_BYTES),
            next_anchor: ANCHOR_ADDRESS,
            live: Allocations::default(),
            processes: BTreeMap::new(),
            elsewhere: Elsewhere::default(),
        }
    }

    /// Takes note of what others hold of a shared card, and of how much that leaves for this process.
    pub(super) fn set_elsewhere(&mut self, elsewhere: Elsewhere, limit_bytes: u64) {
        self.elsewhere = elsewhere;
        self.space.set_limit(limit_bytes);
    }

    /// Everything that is held here: allocations, caches, and other processes that were made up.
    pub(super) fn held_bytes(&self) -> u64 {
        self.space.held_bytes()
    }

    pub(super) fn check_present(&self) -> Result<()> {
        if self.faults.is_lost() { Err(Error::DeviceLost { device: self.info.index }) } else { Ok(()) }
    }

    pub(super) fn memory(&self) -> MemoryInfo {
        MemoryInfo::new(self.space.capacity(), self.space.free_bytes())
    }

    pub(super) fn fragmentation(&self) -> Fragmentation {
        Fragmentation {
            free_bytes: self.space.free_bytes(),
            largest_free_bytes: Some(self.space.largest_gap()),
            free_blocks: Some(self.space.gaps().count() as u64),
            allocated_bytes: self.allocated(),
            reserved_bytes: Some(self.reserved()),
        }
    }

    pub(super) fn processes(&self) -> Vec<GpuProcess> {
        let mut all = self.other_processes();
        let held = self.reserved().saturating_add(self.elsewhere.beside_bytes);
        if held > 0 {
            all.push(GpuProcess::new(std::process::id(), own_name(), Some(held)));
        }
        all.sort_by_key(|process| process.pid);
        all
    }

    /// Takes memory in one piece, to be [registered](Self::register).
    pub(super) fn allocate(&mut self, bytes: u64) -> Result<Live> {
        self.before_allocation(Operation::Allocate { bytes }, bytes)?;
        let start = match padded(bytes) {
            Some(0) => None,
            Some(size) => Some(self.place(size).ok_or_else(|| self.too_little(bytes, size))?),
            None => return Err(self.out_of_memory(bytes, OomCause::CardFull)),
        };
        let address = start.map_or(0, |start| BASE_ADDRESS + start);
        Ok(Live::new(address, bytes, Place::Piece(start), Contents::new(bytes)))
    }

    /// Takes an address that stays, with memory under it, to be [registered](Self::register).
    pub(super) fn allocate_anchored(&mut self, bytes: u64) -> Result<Live> {
        self.before_allocation(Operation::Allocate { bytes }, bytes)?;
        let pages = self.place_pages(bytes)?;
        let address = if bytes == 0 { 0 } else { self.next_anchor };
        self.next_anchor += bytes.next_multiple_of(self.page_bytes);
        Ok(Live::new(address, bytes, Place::Pages(pages), Contents::poisoned(bytes)))
    }

    /// Names a range of an allocation, to be [registered](Self::register).
    pub(super) fn adopt(&self, address: u64, bytes: u64) -> Result<Live> {
        if bytes == 0 {
            return Ok(Live::new(0, 0, Place::Piece(None), Contents::new(0)));
        }
        let Some((owner, offset)) = self.live.owner(address, bytes) else {
            return Err(Error::Unsupported {
                device: self.info.index,
                what: "adopt foreign memory",
                reason: format!("no live allocation of this card holds {bytes} bytes at {address:#x}"),
            });
        };
        if let Some(Found::Vacant) = self.live.find(owner) {
            return Err(Error::Vacant { device: self.info.index, bytes });
        }
        Ok(Live::new(address, bytes, Place::Adopted { owner, offset }, Contents::new(0)))
    }

    /// Remembers what was taken under the number of its allocation.
    pub(super) fn register(&mut self, id: u64, live: Live) {
        self.live.insert(id, live);
    }

    /// Begins a copy to or from a live allocation of `bytes` bytes.
    pub(super) fn copy(&mut self, id: u64, bytes: u64, operation: Operation, len: usize) -> Result<Copying> {
        let device = self.info.index;
        let direction = if operation == Operation::Write { "to" } else { "from" };
        let words = || format!("copying {} {direction} the card", human_bytes(len as u64));
        let (contents, base) = match self.live.find(id) {
            Some(Found::Memory(contents, base)) => (contents, base),
            Some(Found::Vacant) => return Err(Error::Vacant { device, bytes }),
            Some(Found::OwnerGone) => {
                let reason = "its owner freed this memory".into();
                return Err(Error::Driver { device, operation: words(), reason });
            }
            None => return Err(Error::DeviceLost { device }),
        };
        let (bytes, end) = match self.faults.strikes(operation) {
            None => (len, Ok(())),
            Some(Strike::Refused) => return Err(self.injected(words())),
            Some(Strike::Uncorrectable) => return Err(Error::Uncorrectable { device }),
            Some(Strike::Lost) => (len / 2, Err(Error::DeviceLost { device })),
        };
        Ok(Copying { contents, base, bytes, end })
    }

    /// Gives the memory of an anchored allocation back, and returns how many bytes became free.
    pub(super) fn vacate(&mut self, id: u64) -> Result<u64> {
        let device = self.info.index;
        let live = self.live.get_mut(id).ok_or(Error::DeviceLost { device })?;
        let pages = match &live.place {
            Place::Vacant => return Ok(0),
            Place::Pages(pages) if pages.is_empty() => return Ok(0),
            Place::Pages(_) if self.faults.strikes(Operation::Vacate).is_some() => {
                return Err(self.injected("vacating memory".into()));
            }
            Place::Pages(pages) => pages,
            Place::Piece(_) | Place::Adopted { .. } => return Err(not_anchored(device)),
        };
        let freed = pages.iter().map(|&start| self.space.release(start)).sum();
        live.place = Place::Vacant;
        // A copy in progress keeps the old contents until it is done.
        live.contents = Arc::new(RwLock::new(Contents::poisoned(live.bytes)));
        Ok(freed)
    }

    /// Puts memory under a vacant allocation.
    pub(super) fn occupy(&mut self, id: u64) -> Result<()> {
        let device = self.info.index;
        let live = self.live.get_mut(id).ok_or(Error::DeviceLost { device })?;
        match live.place {
            Place::Vacant => {}
            Place::Pages(_) => return Ok(()),
            Place::Piece(_) | Place::Adopted { .. } => return Err(not_anchored(device)),
        }
        let bytes = live.bytes;
        self.before_allocation(Operation::Occupy, bytes)?;
        let pages = self.place_pages(bytes)?;
        if let Some(live) = self.live.get_mut(id) {
            live.place = Place::Pages(pages);
        }
        Ok(())
    }

    /// Ends an allocation and returns how many bytes became free for everybody.
    pub(super) fn free(&mut self, id: u64) -> Result<u64> {
        if self.faults.strikes(Operation::Free).is_some() {
            return Err(self.injected("freeing memory".into()));
        }
        let Some(live) = self.live.remove(id) else {
            return Err(Error::DeviceLost { device: self.info.index });
        };
        match live.place {
            Place::Piece(None) | Place::Vacant | Place::Adopted { .. } => Ok(0),
            Place::Piece(Some(start)) if self.allocator == Allocator::Caching => {
                self.space.cache(start);
                Ok(0)
            }
            Place::Piece(Some(start)) => Ok(self.space.release(start)),
            Place::Pages(pages) => Ok(pages.into_iter().map(|start| self.space.release(start)).sum()),
        }
    }

    pub(super) fn release_cached(&mut self) -> u64 {
        self.space.release_all(|holder| holder == Holder::Cache)
    }

    pub(super) fn host_bytes(&self) -> u64 {
        let read = |live: &Live| super::read_lock(&live.contents).host_bytes();
        self.live.iter().map(read).sum()
    }

    pub(super) fn add_process(&mut self, pid: u32, name: String, bytes: u64) -> Result<()> {
        if self.processes.contains_key(&pid) {
            return Err(Error::ProcessExists { device: self.info.index, pid });
        }
        let bytes = self.scatter(pid, bytes)?;
        self.processes.insert(pid, Other { name, bytes });
        Ok(())
    }

    pub(super) fn grow_process(&mut self, pid: u32, more: u64) -> Result<()> {
        if !self.processes.contains_key(&pid) {
            return Err(Error::NoSuchProcess { device: self.info.index, pid });
        }
        let more = self.scatter(pid, more)?;
        if let Some(process) = self.processes.get_mut(&pid) {
            process.bytes += more;
        }
        Ok(())
    }

    pub(super) fn remove_process(&mut self, pid: u32) -> Result<u64> {
        match self.processes.remove(&pid) {
            Some(_) => Ok(self.space.release_all(|holder| holder == Holder::Process(pid))),
            None => Err(Error::NoSuchProcess { device: self.info.index, pid }),
        }
    }

    /// What happens before memory is looked for: another process may be quicker, or the call is to fail.
    fn before_allocation(&mut self, operation: Operation, bytes: u64) -> Result<()> {
        if let Some((pid, wanted)) = self.faults.theft() {
            let free = self.space.free_bytes();
            let taken = padded(wanted).map_or(free, |size| size.min(free));
            if self.space.scatter(taken, Holder::Process(pid)).is_some() {
                let thief =
                    self.processes.entry(pid).or_insert_with(|| Other { name: "thief".into(), bytes: 0 });
                thief.bytes += taken;
            }
        }
        match self.faults.strikes(operation) {
            Some(_) => Err(self.out_of_memory(bytes, OomCause::Injected)),
            None => Ok(()),
        }
    }

    /// Whole pages for `bytes` bytes, as the runs they lie in.
    fn place_pages(&mut self, bytes: u64) -> Result<Vec<u64>> {
        let (pages, page) = (bytes.div_ceil(self.page_bytes), self.page_bytes);
        if let Some(runs) = self.space.place_pages(pages, page, Holder::Allocation) {
            return Ok(runs);
        }
        self.release_cached();
        match self.space.place_pages(pages, page, Holder::Allocation) {
            Some(runs) => Ok(runs),
            None => Err(self.too_little(bytes, pages.saturating_mul(page))),
        }
    }

    fn too_little(&self, bytes: u64, size: u64) -> Error {
        let fits = size <= self.space.free_bytes();
        self.out_of_memory(bytes, if fits { OomCause::Fragmented } else { OomCause::CardFull })
    }

    fn place(&mut self, size: u64) -> Option<u64> {
        if self.allocator == Allocator::Caching
            && let Some(start) = self.space.reuse(size)
        {
            return Some(start);
        }
        self.space.place(size, Holder::Allocation).or_else(|| {
            // What PyTorch does before it gives up: hand its cache back and try again.
            self.release_cached();
            self.space.place(size, Holder::Allocation)
        })
    }

    fn scatter(&mut self, pid: u32, bytes: u64) -> Result<u64> {
        let size = padded(bytes).ok_or_else(|| self.out_of_memory(bytes, OomCause::CardFull))?;
        match self.space.scatter(size, Holder::Process(pid)) {
            Some(()) => Ok(size),
            None => Err(self.out_of_memory(bytes, OomCause::CardFull)),
        }
    }

    fn allocated(&self) -> u64 {
        self.live.iter().map(Live::allocated).sum()
    }

    fn reserved(&self) -> u64 {
        self.space.held_by(|holder| matches!(holder, Holder::Allocation | Holder::Cache))
    }

    fn other_processes(&self) -> Vec<GpuProcess> {
        self.processes
            .iter()
            .map(|(&pid, other)| GpuProcess::new(pid, Some(other.name.clone()), Some(other.bytes)))
            .chain(self.elsewhere.processes.iter().map(Row::to_process))
            .collect()
    }

    fn out_of_memory(&self, requested_bytes: u64, cause: OomCause) -> Error {
        Error::OutOfMemory(Box::new(OutOfMemory {
            device: self.info.index,
            cause,
            requested_bytes,
            free_bytes: self.space.free_bytes(),
            largest_free_bytes: Some(self.space.largest_gap()),
            total_bytes: self.space.capacity(),
            allocated_bytes: self.allocated(),
            reserved_bytes: Some(self.reserved()),
            other_processes: self.other_processes(),
        }))
    }

    fn injected(&self, operation: String) -> Error {
        Error::Driver { device: self.info.index, operation, reason: "this failure was injected".into() }
    }
}

/// The name of this program, without its folder.
pub(super) fn own_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}
