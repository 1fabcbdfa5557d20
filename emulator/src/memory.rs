//! Global memory as kernels see it.

/// Global memory: loads and stores of a few bytes, at addresses that the host gave to the kernel.
///
/// Addresses from 2^62 up are the emulator's own and never come here.
pub trait Memory {
    /// Copies the bytes at `address` into `out`.
    ///
    /// # Errors
    ///
    /// When not all of them may be read.
    fn load(&mut self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault>;

    /// Writes `bytes` at `address`.
    ///
    /// # Errors
    ///
    /// When not all of them may be written; then none of them is.
    fn store(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault>;
}

/// Why memory did not give or take bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryFault {
    /// No allocation holds all of these bytes.
    #[error("no allocation holds {bytes} bytes at {address:#x}")]
    OutOfBounds {
        /// First byte.
        address: u64,
        /// Bytes from there.
        bytes: u64,
    },
    /// A byte that nobody wrote.
    #[error("the byte at {address:#x} is read, but nobody wrote it")]
    ReadOfUnwritten {
        /// First byte that nobody wrote.
        address: u64,
    },
    /// Any other reason, of another implementation of [`Memory`].
    #[error("memory refused {address:#x}: {reason}")]
    Refused {
        /// First byte.
        address: u64,
        /// Why.
        reason: String,
    },
}

/// Alignment of allocations, bytes, as a card gives it.
const ALIGNMENT: u64 = 256;
/// Unused bytes after each allocation at least.
const GAP: u64 = 64 * 1024;
/// First address; nothing near zero is ever valid.
const FIRST: u64 = 0x7_0000_0000;

/// Allocations with gaps between them; every byte knows whether it was written.
///
/// An address is never given twice, so that an access after [`free`](Self::free) is found as well.
#[derive(Debug, Default, Clone)]
pub struct Arena {
    /// Ordered by address.
    allocations: Vec<Allocation>,
    next: u64,
    /// Where the last access went; the next one mostly goes there too.
    last: usize,
}

#[derive(Debug, Clone)]
struct Allocation {
    address: u64,
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl Arena {
    /// An arena without allocations.
    #[must_use]
    pub fn new() -> Self {
        Self { allocations: Vec::new(), next: FIRST, last: 0 }
    }

    /// Address of `bytes` new bytes that nobody wrote, a multiple of 256.
    pub fn allocate(&mut self, bytes: u64) -> u64 {
        let address = self.next.max(FIRST);
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.allocations.push(Allocation { address, bytes: vec![0; size], written: vec![false; size] });
        self.next = (address + bytes + GAP).next_multiple_of(ALIGNMENT);
        address
    }

    /// Gives an allocation back. Another address than one that [`allocate`](Self::allocate) gave changes nothing.
    pub fn free(&mut self, address: u64) {
        self.allocations.retain(|allocation| allocation.address != address);
        self.last = 0;
    }

    /// Writes from the host.
    ///
    /// # Errors
    ///
    /// When no allocation holds all of the bytes.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        let (index, range) = self.locate(address, bytes.len())?;
        self.last = index;
        let allocation = &mut self.allocations[index];
        allocation.bytes[range.clone()].copy_from_slice(bytes);
        allocation.written[range].fill(true);
        Ok(())
    }

    /// Reads to the host.
    ///
    /// # Errors
    ///
    /// When no allocation holds all of the bytes, or nobody wrote one of them.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        let (index, range) = self.locate(address, out.len())?;
        let allocation = &self.allocations[index];
        if let Some(at) = allocation.written[range.clone()].iter().position(|&written| !written) {
            return Err(MemoryFault::ReadOfUnwritten { address: address + at as u64 });
        }
        out.copy_from_slice(&allocation.bytes[range]);
        Ok(())
    }

    fn locate(&self, address: u64, bytes: usize) -> Result<(usize, std::ops::Range<usize>), MemoryFault> {
        let within = |index: usize| {
            let allocation = self.allocations.get(index)?;
            let start = usize::try_from(address.checked_sub(allocation.address)?).ok()?;
            let end = start.checked_add(bytes)?;
            (end <= allocation.bytes.len()).then_some((index, start..end))
        };
        within(self.last)
            .or_else(|| within(self.allocations.partition_point(|a| a.address <= address).checked_sub(1)?))
            .ok_or(MemoryFault::OutOfBounds { address, bytes: bytes as u64 })
    }
}

impl Memory for Arena {
    fn load(&mut self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        self.read(address, out)?;
        // Only the place is wanted, and it is known to exist.
        if let Ok((index, _)) = self.locate(address, out.len()) {
            self.last = index;
        }
        Ok(())
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        self.write(address, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_known_byte_by_byte() {
        let mut arena = Arena::new();
        let (a, b) = (arena.allocate(10), arena.allocate(1));
        assert!(a != 0 && a % 256 == 0 && b % 256 == 0 && b > a + 10);
        arena.write(a + 2, &[1, 2, 3]).unwrap();
        let mut three = [0; 3];
        arena.read(a + 2, &mut three).unwrap();
        assert_eq!(three, [1, 2, 3]);
        assert_eq!(arena.load(a + 3, &mut three), Err(MemoryFault::ReadOfUnwritten { address: a + 5 }));
        assert_eq!(arena.write(a + 8, &[0; 3]), Err(MemoryFault::OutOfBounds { address: a + 8, bytes: 3 }));
        arena.write(b, &[9]).unwrap();
        arena.free(a);
        assert!(matches!(arena.read(a + 2, &mut three), Err(MemoryFault::OutOfBounds { .. })));
        let mut one = [0];
        arena.load(b, &mut one).unwrap();
        assert_eq!(one, [9]);
        assert!(arena.allocate(10) > b, "an address is never given twice");
    }
}
