//! The interface: [`GpuProbe`] only looks, [`DeviceMemory`] also allocates, copies and frees.
//!
//! Both are object-safe, and `Arc<dyn DeviceMemory>` coerces to `Arc<dyn GpuProbe>`. Nothing here talks to a
//! card.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, FreeError, Result};
use crate::info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo};
use crate::kernels::{KernelQueue, KernelSetup};

/// Looks at the cards of a machine. Every method may be called from any thread, at any time.
pub trait GpuProbe: Send + Sync + fmt::Debug {
    /// The cards, in the order of their indices. None is a normal answer.
    ///
    /// # Errors
    /// [`Error::Driver`] or [`Error::DeviceLost`] where a card was there before and does not answer now.
    fn devices(&self) -> Result<Vec<DeviceInfo>>;

    /// How full a card is.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`], [`Error::DeviceLost`] or [`Error::Driver`].
    fn memory(&self, device: u32) -> Result<MemoryInfo>;

    /// Who holds memory of a card, this process included, in the order of their process numbers.
    ///
    /// # Errors
    /// [`Error::NotReported`] where the machine does not tell; otherwise as [`memory`](Self::memory).
    fn processes(&self, device: u32) -> Result<Vec<GpuProcess>>;

    /// In what pieces the memory is free, and what this process holds without using it.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    fn fragmentation(&self, device: u32) -> Result<Fragmentation>;

    /// Where the answers come from: `cuda`, `simulated` or `none`.
    fn source(&self) -> &'static str;
}

/// Holds bytes on a card. A call that fails changes nothing.
pub trait DeviceMemory: GpuProbe {
    /// Takes `bytes` bytes of a card in one piece. Zero bytes are fine and take nothing.
    /// What the memory holds before it is written is not specified.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with the state of the card, [`Error::NoSuchDevice`], [`Error::DeviceLost`] or
    /// [`Error::Driver`].
    fn allocate(&self, device: u32, bytes: u64) -> Result<Allocation>;

    /// Copies `data` to the card, `offset` bytes from the start of the allocation. Returns when it is there.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::ForeignAllocation`], [`Error::Vacant`], [`Error::DeviceLost`],
    /// [`Error::Uncorrectable`], [`Error::Broken`] or [`Error::Driver`].
    fn write(&self, allocation: &Allocation, offset: u64, data: &[u8]) -> Result<()>;

    /// Fills `out` from the card, `offset` bytes from the start of the allocation.
    ///
    /// # Errors
    /// As [`write`](Self::write). After an error `out` holds nothing of use.
    fn read(&self, allocation: &Allocation, offset: u64, out: &mut [u8]) -> Result<()>;

    /// Gives the memory back and returns how many bytes became free for everybody.
    ///
    /// # Errors
    /// The reason, together with the allocation, which is then still there.
    fn free(&self, allocation: Allocation) -> Result<u64, FreeError>;

    /// Takes memory whose address outlives its contents: [`vacate`](Self::vacate) gives the memory away and keeps the
    /// address, [`occupy`](Self::occupy) puts memory under it again. Pointers that others hold stay valid, though not while
    /// it is vacant. Takes whole pages of the card (2 MiB on a real one).
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); [`Error::Unsupported`] where the card has no such memory.
    fn allocate_anchored(&self, device: u32, bytes: u64) -> Result<Allocation> {
        let _ = bytes;
        Err(no_anchors(device))
    }

    /// Gives the memory of an anchored allocation to everybody, and keeps its address. What it held is gone. Returns how many
    /// bytes became free; 0 if it was vacant already.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the allocation is not anchored; otherwise as [`read`](Self::read). It is then as it was.
    fn vacate(&self, allocation: &Allocation) -> Result<u64> {
        Err(no_anchors(allocation.device()))
    }

    /// Puts memory under the address of a vacant allocation again; what it holds is not specified. Does nothing to one that is
    /// not vacant.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate) and [`vacate`](Self::vacate). It is then still vacant.
    fn occupy(&self, allocation: &Allocation) -> Result<()> {
        Err(no_anchors(allocation.device()))
    }

    /// Names memory that somebody else in this process allocated (`PyTorch`, say), so that it can be read and written like an
    /// allocation of one's own. [`free`](Self::free) only forgets it, and returns 0: the memory is its owner's to free.
    ///
    /// # Safety
    /// Until it is freed here, `bytes` bytes at `address` are memory of that card which this process may read and write, and
    /// nobody frees them.
    ///
    /// # Errors
    /// [`Error::NoSuchDevice`]; [`Error::Unsupported`] where this cannot be done, or where the card can tell that the address
    /// is not its own.
    #[expect(unsafe_code, reason = "the promise about a foreign address is the caller's")]
    unsafe fn adopt(&self, device: u32, address: u64, bytes: u64) -> Result<Allocation> {
        let _ = (address, bytes);
        Err(Error::Unsupported {
            device,
            what: "adopt foreign memory",
            reason: format!("a {} card knows no memory but its own", self.source()),
        })
    }

    /// Makes a card ready to run kernels: loads the program, and takes all memory that running it will need, so that nothing
    /// must be found when the card is full. What it takes is given back when the queue is dropped.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where this card, or its driver, does not run such programs; [`Error::OutOfMemory`] where its
    /// scratch does not fit; otherwise as [`allocate`](Self::allocate).
    fn kernels(&self, device: u32, setup: &KernelSetup<'_>) -> Result<Box<dyn KernelQueue>> {
        let _ = setup;
        Err(no_kernels(device, self.source()))
    }
}

pub(crate) fn no_kernels(device: u32, source: &str) -> Error {
    Error::Unsupported {
        device,
        what: "run kernels",
        reason: format!("a {source} card does not compute; the processor does the same work"),
    }
}

/// For an allocation that was not made by [`DeviceMemory::allocate_anchored`].
pub(crate) fn not_anchored(device: u32) -> Error {
    Error::Unsupported {
        device,
        what: "keep an address without memory",
        reason: "this allocation was not allocated anchored; free it instead".to_owned(),
    }
}

fn no_anchors(device: u32) -> Error {
    Error::Unsupported {
        device,
        what: "keep an address without memory",
        reason: "it needs CUDA's virtual memory management; allocate ordinary memory instead".to_owned(),
    }
}

/// Memory held on a card. Only `free` ends it: it cannot be copied, so it cannot be freed twice.
///
/// Dropping it does not free the memory; that stays until the probe that made it is dropped.
#[derive(Debug)]
#[must_use = "memory on the card is freed by `DeviceMemory::free` only"]
pub struct Allocation {
    issuer: u64,
    id: u64,
    device: u32,
    bytes: u64,
    address: u64,
}

impl Allocation {
    /// Index of the card.
    #[must_use]
    pub fn device(&self) -> u32 {
        self.device
    }

    /// Size in bytes, as asked for.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Address on the card (a `CUdeviceptr` on a real one), 0 for an allocation of zero bytes.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Number of this allocation, unique within its probe and never used again.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether `len` bytes at `offset` lie inside.
    ///
    /// # Errors
    /// [`Error::OutOfRange`].
    pub fn check_range(&self, offset: u64, len: usize) -> Result<()> {
        let len = len as u64;
        match offset.checked_add(len) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(Error::OutOfRange { device: self.device, offset, len, bytes: self.bytes }),
        }
    }
}

/// Makes the allocations of one probe and recognises them. For those who implement [`DeviceMemory`].
#[derive(Debug)]
pub struct Issuer {
    me: u64,
    next: AtomicU64,
}

impl Issuer {
    /// An issuer that recognises no allocation yet.
    #[must_use]
    pub fn new() -> Self {
        static ISSUERS: AtomicU64 = AtomicU64::new(0);
        Self { me: ISSUERS.fetch_add(1, Ordering::Relaxed), next: AtomicU64::new(0) }
    }

    /// A new allocation, which this issuer will recognise.
    pub fn issue(&self, device: u32, bytes: u64, address: u64) -> Allocation {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Allocation { issuer: self.me, id, device, bytes, address }
    }

    /// Whether this issuer made the allocation.
    ///
    /// # Errors
    /// [`Error::ForeignAllocation`].
    pub fn check(&self, allocation: &Allocation) -> Result<()> {
        if allocation.issuer == self.me {
            Ok(())
        } else {
            Err(Error::ForeignAllocation { device: allocation.device, bytes: allocation.bytes })
        }
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}
