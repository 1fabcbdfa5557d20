//! One simulated card: its address space, live allocations, other processes and failures to come.
//!
//! Not thread-safe; [`SimulatedGpu`](super::SimulatedGpu) locks it. Copies of contents happen outside that
//! lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use super::contents::Contents;
use super::fault::{Faults, Operation};
use super::space::{AddressSpace, GRANULE_BYTES, Holder, padded};
use super::{Allocator, SimulatedCard};
use crate::error::{Error, OomCause, OutOfMemory, Result, human_bytes};
use crate::info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo};

/// Card memory begins here, so that no address is 0 and none looks like an offset.
const BASE_ADDRESS: u64 = 0x7f00_0000_0000;

#[derive(Debug)]
pub(super) struct Card {
    pub(super) info: DeviceInfo,
    pub(super) faults: Faults,
    allocator: Allocator,
    space: AddressSpace,
    live: HashMap<u64, Live>,
    allocated: u64,
    processes: BTreeMap<u32, Other>,
}

#[derive(Debug)]
struct Live {
    /// `None` for an allocation of zero bytes.
    start: Option<u64>,
    bytes: u64,
    contents: Arc<RwLock<Contents>>,
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
            live: HashMap::new(),
            allocated: 0,
            processes: BTreeMap::new(),
        }
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
            allocated_bytes: self.allocated,
            reserved_bytes: Some(self.reserved()),
        }
    }

    pub(super) fn processes(&self) -> Vec<GpuProcess> {
        let mut all = self.other_processes();
        let reserved = self.reserved();
        if reserved > 0 {
            all.push(GpuProcess::new(std::process::id(), own_name(), Some(reserved)));
            all.sort_by_key(|process| process.pid);
        }
        all
    }

    /// Takes memory and returns its address.
    pub(super) fn allocate(&mut self, bytes: u64) -> Result<u64> {
        if self.faults.strikes(Operation::Allocate { bytes }) {
            return Err(self.out_of_memory(bytes, OomCause::Injected));
        }
        if bytes == 0 {
            return Ok(0);
        }
        let placed = padded(bytes).and_then(|size| self.place(size));
        match placed {
            Some(start) => Ok(BASE_ADDRESS + start),
            None if padded(bytes).is_some_and(|size| size <= self.space.free_bytes()) => {
                Err(self.out_of_memory(bytes, OomCause::Fragmented))
            }
            None => Err(self.out_of_memory(bytes, OomCause::CardFull)),
        }
    }

    /// Remembers what [`allocate`](Self::allocate) took, under the number of its allocation.
    pub(super) fn register(&mut self, id: u64, bytes: u64, address: u64) {
        let start = (bytes > 0).then(|| address - BASE_ADDRESS);
        self.allocated += bytes;
        self.live.insert(id, Live { start, bytes, contents: Arc::new(RwLock::new(Contents::new(bytes))) });
    }

    /// The contents of a live allocation, for a copy.
    pub(super) fn contents(
        &mut self,
        id: u64,
        operation: Operation,
        len: usize,
    ) -> Result<Arc<RwLock<Contents>>> {
        if self.faults.strikes(operation) {
            let direction = if operation == Operation::Write { "to" } else { "from" };
            return Err(self.injected(format!("copying {} {direction} the card", human_bytes(len as u64))));
        }
        match self.live.get(&id) {
            Some(live) => Ok(Arc::clone(&live.contents)),
            None => Err(Error::DeviceLost { device: self.info.index }),
        }
    }

    /// Ends an allocation and returns how many bytes became free for everybody.
    pub(super) fn free(&mut self, id: u64) -> Result<u64> {
        if self.faults.strikes(Operation::Free) {
            return Err(self.injected("freeing memory".into()));
        }
        let Some(live) = self.live.remove(&id) else {
            return Err(Error::DeviceLost { device: self.info.index });
        };
        self.allocated -= live.bytes;
        let Some(start) = live.start else { return Ok(0) };
        match self.allocator {
            Allocator::Direct => Ok(self.space.release(start)),
            Allocator::Caching => {
                self.space.cache(start);
                Ok(0)
            }
        }
    }

    pub(super) fn release_cached(&mut self) -> u64 {
        self.space.release_all(|holder| holder == Holder::Cache)
    }

    pub(super) fn host_bytes(&self) -> u64 {
        let read = |live: &Live| super::read_lock(&live.contents).host_bytes();
        self.live.values().map(read).sum()
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

    fn reserved(&self) -> u64 {
        self.space.held_by(|holder| matches!(holder, Holder::Allocation | Holder::Cache))
    }

    fn other_processes(&self) -> Vec<GpuProcess> {
        self.processes
            .iter()
            .map(|(&pid, other)| GpuProcess::new(pid, Some(other.name.clone()), Some(other.bytes)))
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
            allocated_bytes: self.allocated,
            reserved_bytes: Some(self.reserved()),
            other_processes: self.other_processes(),
        }))
    }

    fn injected(&self, operation: String) -> Error {
        Error::Driver { device: self.info.index, operation, reason: "this failure was injected".into() }
    }
}

/// The name of this program, without its folder.
fn own_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}
