//! Running kernels: a few lanes, each a queue with scratch on the card and staging memory on the host. Knows neither what the
//! kernels do nor what the bytes mean.
//!
//! Work of one lane is done in the order in which it was given; lanes run beside each other, so that one computes while another
//! copies. Everything a lane needs is taken when the queue is made: a fire extinguisher is not bought during the fire.

use std::fmt;

use crate::error::Result;

/// What a queue is made of.
#[derive(Debug, Clone, Copy)]
pub struct KernelSetup<'a> {
    /// The program, as PTX text.
    pub ptx: &'a str,
    /// How many lanes; at least 1.
    pub lanes: usize,
    /// Bytes of scratch on the card for each lane.
    pub scratch_bytes: u64,
    /// Bytes of page-locked host memory for each lane.
    pub staging_bytes: usize,
}

/// A range of memory on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSpan {
    /// Where it begins.
    pub address: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A card ready to run the kernels of one program.
///
/// Lanes are numbered from 0. A lane that does not exist is an [`Error::Driver`](crate::Error::Driver). After an error the
/// contents of scratch and staging are not specified; the queue itself goes on working unless the card is lost or
/// [broken](crate::Error::Broken). May be used from any thread, one at a time.
pub trait KernelQueue: Send + fmt::Debug {
    /// How many lanes there are.
    fn lanes(&self) -> usize;

    /// The scratch of a lane, aligned to 256 bytes; an empty span at 0 for a lane that does not exist, or has none.
    fn scratch(&self, lane: usize) -> DeviceSpan;

    /// Bytes of the staging memory of each lane.
    fn staging_bytes(&self) -> usize;

    /// Waits for everything that this process gave to the card before, on any queue, `PyTorch`'s included. The lanes do not
    /// wait for it by themselves: do this before a lane touches memory that somebody else may still be writing.
    ///
    /// # Errors
    /// As [`launch`](Self::launch), also for what others issued.
    fn join(&mut self) -> Result<()>;

    /// Issues a kernel: `grid` blocks of `threads` threads. Each argument fills one parameter; a parameter of four bytes takes
    /// the lower half; there must be as many arguments as parameters. Returns before it has run.
    ///
    /// An argument that is an address is used as it is, unchecked: that the kernel stays inside memory which is there, and
    /// which nobody else uses meanwhile, is the caller's to see to. So it is with the addresses of [`fetch`](Self::fetch) and
    /// [`send`](Self::send).
    ///
    /// # Errors
    /// [`Error::Driver`](crate::Error::Driver) if the program has no such kernel or the card refuses;
    /// [`Error::DeviceLost`](crate::Error::DeviceLost). A fault while it runs is reported by a later call on the lane.
    fn launch(&mut self, lane: usize, kernel: &str, grid: u32, threads: u32, arguments: &[u64])
    -> Result<()>;

    /// Issues a copy from the card into the staging memory of the lane. Returns before it is done.
    ///
    /// # Errors
    /// As [`launch`](Self::launch); [`Error::OutOfRange`](crate::Error::OutOfRange) past the end of the staging memory.
    fn fetch(&mut self, lane: usize, from_address: u64, to_staging: usize, bytes: usize) -> Result<()>;

    /// Issues a copy from the staging memory of the lane to the card. Returns before it is done.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    fn send(&mut self, lane: usize, from_staging: usize, to_address: u64, bytes: usize) -> Result<()>;

    /// Waits until everything issued on the lane is done, and gives its staging memory.
    ///
    /// # Errors
    /// As [`launch`](Self::launch), also for what was issued before.
    fn staging(&mut self, lane: usize) -> Result<&mut [u8]>;
}
