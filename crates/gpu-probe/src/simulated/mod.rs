//! A card made of host memory, so that everything runs and is tested without hardware.
//!
//! It implements the same traits as a real card: allocations have addresses and contents, memory fragments
//! because placement is first-fit, other processes take their share, and failures come when they are asked
//! for. Host memory is used only for what is written: a 3 GiB allocation in which nothing was written costs
//! nothing.
//!
//! It does not compute, and it has no clock: load and temperature are what they were set to.
//!
//! A card may be shared by several processes ([`SimulatedGpu::shared`]). Contents and addresses stay in each of them; who holds how
//! much is in a book, a file. No allocation of any of them makes the sum exceed the capacity, all see who holds what, and what a
//! process held that ended, however it did, is free. Memory fragments in each process by what that one holds.
//!
//! The book is UTF-8 text in lines of exactly 128 bytes (127, filled up with spaces, and a line feed): first
//! `omnimind-card 1 CAPACITY_BYTES`, then `PID STARTED BYTES NAME` for each process, where `STARTED` is field 22 of
//! `/proc/PID/stat`, or nothing but spaces. Whoever reads or writes it holds it locked with `flock`, and writes whole lines in
//! place. The sources show how a Python program takes part (`simulated/book.rs`).

mod book;
mod card;
mod contents;
mod fault;
mod live;
mod process;
mod sensors;
mod shared;
mod space;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

pub use fault::Fault;
pub use shared::SHARED_CARD_VARIABLE;

use self::book::Book;
use self::card::{Card, Copying};
use self::fault::Operation;
use self::live::Live;
use crate::error::{Error, FreeError, Result};
use crate::info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo};
use crate::kernels::{KernelQueue, KernelSetup};
use crate::probe::{Allocation, DeviceMemory, GpuProbe, Issuer, no_kernels};

/// Capacity of the card that this project was first written for: 3.81 GiB, in whole granules of 512 bytes.
pub const DEFAULT_CAPACITY_BYTES: u64 = 4_090_955_776;

/// Size of the pages of anchored memory, as on a real card: 2 MiB.
pub const DEFAULT_PAGE_BYTES: u64 = 2 << 20;

/// What happens to memory that this process frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocator {
    /// It is free for everybody at once.
    #[default]
    Direct,
    /// This process keeps it for its next allocation, as `PyTorch` does: reserved, but not allocated.
    /// [`SimulatedGpu::release_cached`] gives it back, and so does an allocation that would fail otherwise.
    Caching,
}

/// How to make one simulated card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedCard {
    /// Name for people.
    pub name: String,
    /// Capacity in bytes; what is beyond the last multiple of 512 does not count.
    pub capacity_bytes: u64,
    /// What happens to memory that is freed.
    pub allocator: Allocator,
    /// Anchored memory is taken in whole pages of this size in bytes; rounded up to a multiple of 512.
    pub page_bytes: u64,
}

impl Default for SimulatedCard {
    fn default() -> Self {
        Self {
            name: "Simulated GPU".into(),
            capacity_bytes: DEFAULT_CAPACITY_BYTES,
            allocator: Allocator::Direct,
            page_bytes: DEFAULT_PAGE_BYTES,
        }
    }
}

/// One or more simulated cards. Calls may come from any thread.
///
/// ```
/// use gpu_probe::{DeviceMemory, Error, GpuProbe, SimulatedGpu};
///
/// let gpu = SimulatedGpu::new(6 << 20);
/// gpu.add_process(0, 4242, "python", 1 << 20)?;
/// let first = gpu.allocate(0, 2 << 20)?;
/// let second = gpu.allocate(0, 2 << 20)?;
/// gpu.free(first)?;
/// // 3 MiB are free, but in pieces of 2 and 1.
/// match gpu.allocate(0, 3 << 20) {
///     Err(Error::OutOfMemory(oom)) => {
///         assert_eq!((oom.free_bytes, oom.largest_free_bytes), (3 << 20, Some(2 << 20)));
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), gpu_probe::Error>(())
/// ```
#[derive(Debug)]
pub struct SimulatedGpu {
    cards: Vec<Mutex<Card>>,
    issuer: Issuer,
    /// Who holds how much of the only card, if other processes share it. Locked after the card.
    book: Option<Mutex<Book>>,
}

impl SimulatedGpu {
    /// One card of this capacity.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        Self::with_cards([SimulatedCard { capacity_bytes, ..SimulatedCard::default() }])
    }

    /// Several cards, with indices from 0 in this order.
    #[must_use]
    pub fn with_cards(cards: impl IntoIterator<Item = SimulatedCard>) -> Self {
        let cards = (0..).zip(cards).map(|(index, card)| Mutex::new(Card::new(index, card))).collect();
        Self { cards, issuer: Issuer::new(), book: None }
    }

    /// Lets another process appear, holding `bytes` bytes in whatever free pieces there are. Those who share the card see them as
    /// this process's.
    ///
    /// # Errors
    /// [`Error::ProcessExists`]; [`Error::OutOfMemory`] where less is free; [`Error::NoSuchDevice`].
    pub fn add_process(&self, device: u32, pid: u32, name: impl Into<String>, bytes: u64) -> Result<()> {
        self.change(self.lock(device)?, |card| card.add_process(pid, name.into(), bytes))
    }

    /// Lets another process take `more_bytes` bytes more.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`]; [`Error::OutOfMemory`] where less is free; [`Error::NoSuchDevice`].
    pub fn grow_process(&self, device: u32, pid: u32, more_bytes: u64) -> Result<()> {
        self.change(self.lock(device)?, |card| card.grow_process(pid, more_bytes))
    }

    /// Lets another process end, and returns how many bytes became free.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`], [`Error::NoSuchDevice`].
    pub fn remove_process(&self, device: u32, pid: u32) -> Result<u64> {
        self.change(self.lock(device)?, |card| card.remove_process(pid))
    }

    /// Plans a failure.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`].
    pub fn inject(&self, device: u32, fault: Fault) -> Result<()> {
        self.lock(device)?.faults.add(fault);
        Ok(())
    }

    /// Forgets every planned failure. A lost card answers again, with what it held.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`].
    pub fn clear_faults(&self, device: u32) -> Result<()> {
        self.lock(device)?.faults.clear();
        Ok(())
    }

    /// Gives back what [`Allocator::Caching`] kept, and returns how many bytes that was.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`], [`Error::DeviceLost`].
    pub fn release_cached(&self, device: u32) -> Result<u64> {
        self.change(self.present(device)?, |card| Ok(card.release_cached()))
    }

    /// Host memory that holds the contents of this card, in bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`].
    pub fn host_bytes(&self, device: u32) -> Result<u64> {
        Ok(self.lock(device)?.host_bytes())
    }

    fn lock(&self, device: u32) -> Result<MutexGuard<'_, Card>> {
        // A panic elsewhere leaves a card whole: no call stops half-way.
        let card =
            self.cards.get(device as usize).ok_or(Error::NoSuchDevice { device, count: self.count() })?;
        Ok(card.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn present(&self, device: u32) -> Result<MutexGuard<'_, Card>> {
        let card = self.lock(device)?;
        card.check_present()?;
        Ok(card)
    }

    /// Gives what `take` took a name.
    fn issue(&self, device: u32, take: impl FnOnce(&mut Card) -> Result<Live>) -> Result<Allocation> {
        self.change(self.present(device)?, |card| {
            let live = take(card)?;
            let allocation = self.issuer.issue(device, live.bytes, live.address);
            card.register(allocation.id(), live);
            Ok(allocation)
        })
    }

    /// Begins a copy. The card is unlocked when this returns, so that copies of several threads run at once.
    fn copy(
        &self,
        allocation: &Allocation,
        offset: u64,
        len: usize,
        operation: Operation,
    ) -> Result<Copying> {
        self.issuer.check(allocation)?;
        allocation.check_range(offset, len)?;
        self.present(allocation.device())?.copy(allocation.id(), allocation.bytes(), operation, len)
    }

    fn count(&self) -> u32 {
        self.cards.len() as u32
    }
}

fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

impl Default for SimulatedGpu {
    /// One card of 3.81 GiB.
    fn default() -> Self {
        Self::with_cards([SimulatedCard::default()])
    }
}

impl GpuProbe for SimulatedGpu {
    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        (0..self.count()).map(|device| Ok(self.present(device)?.info.clone())).collect()
    }

    fn memory(&self, device: u32) -> Result<MemoryInfo> {
        self.look(self.present(device)?, Card::memory)
    }

    fn processes(&self, device: u32) -> Result<Vec<GpuProcess>> {
        self.look(self.present(device)?, Card::processes)
    }

    fn fragmentation(&self, device: u32) -> Result<Fragmentation> {
        self.look(self.present(device)?, Card::fragmentation)
    }

    fn source(&self) -> &'static str {
        "simulated"
    }
}

impl DeviceMemory for SimulatedGpu {
    fn allocate(&self, device: u32, bytes: u64) -> Result<Allocation> {
        self.issue(device, |card| card.allocate(bytes))
    }

    fn write(&self, allocation: &Allocation, offset: u64, data: &[u8]) -> Result<()> {
        let copy = self.copy(allocation, offset, data.len(), Operation::Write)?;
        let mut contents = copy.contents.write().unwrap_or_else(PoisonError::into_inner);
        contents.write(copy.base + offset, &data[..copy.bytes]);
        copy.end
    }

    fn read(&self, allocation: &Allocation, offset: u64, out: &mut [u8]) -> Result<()> {
        let copy = self.copy(allocation, offset, out.len(), Operation::Read)?;
        read_lock(&copy.contents).read(copy.base + offset, &mut out[..copy.bytes]);
        copy.end
    }

    fn free(&self, allocation: Allocation) -> Result<u64, FreeError> {
        let freed = self
            .issuer
            .check(&allocation)
            .and_then(|()| self.present(allocation.device()))
            .and_then(|card| self.change(card, |card| card.free(allocation.id())));
        freed.map_err(|source| FreeError { allocation, source })
    }

    fn allocate_anchored(&self, device: u32, bytes: u64) -> Result<Allocation> {
        self.issue(device, |card| card.allocate_anchored(bytes))
    }

    fn vacate(&self, allocation: &Allocation) -> Result<u64> {
        self.issuer.check(allocation)?;
        self.change(self.present(allocation.device())?, |card| card.vacate(allocation.id()))
    }

    fn occupy(&self, allocation: &Allocation) -> Result<()> {
        self.issuer.check(allocation)?;
        self.change(self.present(allocation.device())?, |card| card.occupy(allocation.id()))
    }

    #[expect(unsafe_code, reason = "the trait asks for a promise; the address is looked up, never followed")]
    unsafe fn adopt(&self, device: u32, address: u64, bytes: u64) -> Result<Allocation> {
        self.issue(device, |card| card.adopt(address, bytes))
    }

    fn kernels(&self, device: u32, _setup: &KernelSetup<'_>) -> Result<Box<dyn KernelQueue>> {
        drop(self.present(device)?);
        Err(no_kernels(device, self.source()))
    }
}
