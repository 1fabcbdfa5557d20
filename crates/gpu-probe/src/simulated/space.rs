//! The address space of one simulated card: who holds which bytes, and first-fit placement.
//!
//! Knows nothing of contents, processes' names or failures. Addresses are offsets from the start of the card.

use std::collections::BTreeMap;

/// Every piece begins and ends at a multiple of this, as with the CUDA driver and `PyTorch`'s allocator.
pub(super) const GRANULE_BYTES: u64 = 512;

/// Who holds a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// A live allocation of this process.
    Allocation,
    /// This process, which freed it but kept it for later (a caching allocator).
    Cache,
    /// Another process.
    Process(u32),
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    bytes: u64,
    holder: Holder,
}

/// Pieces that are held, in the order of their addresses; what lies between them is free.
#[derive(Debug)]
pub(super) struct AddressSpace {
    capacity: u64,
    pieces: BTreeMap<u64, Piece>,
    held: u64,
    /// No more than this may be held, wherever there are gaps.
    limit: u64,
}

/// What an allocation of `bytes` bytes takes: a whole number of granules.
pub(super) fn padded(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(GRANULE_BYTES)
}

impl AddressSpace {
    pub(super) fn new(capacity: u64) -> Self {
        Self { capacity, pieces: BTreeMap::new(), held: 0, limit: capacity }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Lets so many bytes of the card be held here, because the others are held elsewhere.
    pub(super) fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes.min(self.capacity);
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.held
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.limit.saturating_sub(self.held)
    }

    /// Bytes held by whom `wanted` accepts.
    pub(super) fn held_by(&self, wanted: impl Fn(Holder) -> bool) -> u64 {
        self.pieces.values().filter(|piece| wanted(piece.holder)).map(|piece| piece.bytes).sum()
    }

    /// Free pieces as (address, bytes), in the order of their addresses.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let ends = std::iter::once(0).chain(self.pieces.iter().map(|(start, piece)| start + piece.bytes));
        let starts = self.pieces.keys().copied().chain(std::iter::once(self.capacity));
        ends.zip(starts).filter(|(end, start)| start > end).map(|(end, start)| (end, start - end))
    }

    /// What one piece can hold at most.
    pub(super) fn largest_gap(&self) -> u64 {
        self.gaps().map(|(_, bytes)| bytes).max().unwrap_or(0).min(self.free_bytes())
    }

    /// Takes `bytes` (a whole number of granules) in the first gap that is large enough.
    pub(super) fn place(&mut self, bytes: u64, holder: Holder) -> Option<u64> {
        if bytes > self.free_bytes() {
            return None;
        }
        let (start, _) = self.gaps().find(|(_, gap)| *gap >= bytes)?;
        self.insert(start, bytes, holder);
        Some(start)
    }

    /// Takes `bytes` for `holder` in whatever gaps there are, the first ones first, as many small
    /// allocations would.
    /// `None`, and nothing taken, where too little is free.
    pub(super) fn scatter(&mut self, bytes: u64, holder: Holder) -> Option<()> {
        if bytes > self.free_bytes() {
            return None;
        }
        let mut left = bytes;
        let mut taken = Vec::new();
        for (start, gap) in self.gaps() {
            if left == 0 {
                break;
            }
            let here = gap.min(left);
            taken.push((start, here));
            left -= here;
        }
        for (start, here) in taken {
            self.insert(start, here, holder);
        }
        Some(())
    }

    /// Takes whole pages in whatever gaps can hold them, the first ones first: pages need not lie side by side, since they are
    /// mapped. Returns where they begin, and nothing is taken, with `None`, where there are too few.
    pub(super) fn place_pages(&mut self, pages: u64, page_bytes: u64, holder: Holder) -> Option<Vec<u64>> {
        let mut runs = Vec::new();
        let mut left = pages;
        if pages > self.free_bytes() / page_bytes {
            return None;
        }
        for (start, gap) in self.gaps() {
            let here = (gap / page_bytes).min(left);
            if here > 0 {
                runs.push((start, here * page_bytes));
                left -= here;
            }
        }
        if left > 0 {
            return None;
        }
        for &(start, bytes) in &runs {
            self.insert(start, bytes, holder);
        }
        Some(runs.into_iter().map(|(start, _)| start).collect())
    }

    /// Takes `bytes` out of the first cached piece that is large enough; the rest of it stays cached.
    pub(super) fn reuse(&mut self, bytes: u64) -> Option<u64> {
        let (&start, &piece) =
            self.pieces.iter().find(|(_, piece)| piece.holder == Holder::Cache && piece.bytes >= bytes)?;
        self.release(start);
        self.insert(start, bytes, Holder::Allocation);
        if piece.bytes > bytes {
            self.insert(start + bytes, piece.bytes - bytes, Holder::Cache);
        }
        Some(start)
    }

    /// Frees the piece at `start` and returns its size.
    pub(super) fn release(&mut self, start: u64) -> u64 {
        let bytes = self.pieces.remove(&start).map_or(0, |piece| piece.bytes);
        self.held -= bytes;
        bytes
    }

    /// Turns the allocation at `start` into a cached piece, joined with cached neighbours.
    pub(super) fn cache(&mut self, start: u64) {
        let bytes = self.release(start);
        let (mut from, mut to) = (start, start + bytes);
        if let Some((&before, &piece)) = self.pieces.range(..start).next_back()
            && piece.holder == Holder::Cache
            && before + piece.bytes == start
        {
            self.release(before);
            from = before;
        }
        if let Some(&piece) = self.pieces.get(&to)
            && piece.holder == Holder::Cache
        {
            self.release(to);
            to += piece.bytes;
        }
        self.insert(from, to - from, Holder::Cache);
    }

    /// Frees everything that `unwanted` accepts and returns how many bytes that was.
    pub(super) fn release_all(&mut self, unwanted: impl Fn(Holder) -> bool) -> u64 {
        let before = self.held;
        let mut held = self.held;
        self.pieces.retain(|_, piece| {
            let drop = unwanted(piece.holder);
            held -= if drop { piece.bytes } else { 0 };
            !drop
        });
        self.held = held;
        before - held
    }

    fn insert(&mut self, start: u64, bytes: u64, holder: Holder) {
        self.pieces.insert(start, Piece { bytes, holder });
        self.held += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_first_gap_that_fits_is_taken() {
        let mut space = AddressSpace::new(10 * MIB);
        for start in [0, 2 * MIB, 4 * MIB] {
            assert_eq!(space.place(2 * MIB, Holder::Allocation), Some(start));
        }
        space.release(0);
        space.release(4 * MIB);
        assert_eq!(space.gaps().collect::<Vec<_>>(), [(0, 2 * MIB), (4 * MIB, 6 * MIB)]);
        assert_eq!(space.place(3 * MIB, Holder::Allocation), Some(4 * MIB));
        assert_eq!(space.place(2 * MIB, Holder::Allocation), Some(0));
        assert_eq!(space.largest_gap(), 3 * MIB);
        assert_eq!(space.place(4 * MIB, Holder::Allocation), None);
    }

    #[test]
    fn what_others_hold_elsewhere_limits_every_way_to_take() {
        let mut space = AddressSpace::new(8 * MIB);
        space.place(MIB, Holder::Allocation).unwrap();
        space.set_limit(3 * MIB);
        assert_eq!((space.free_bytes(), space.largest_gap()), (2 * MIB, 2 * MIB));
        assert_eq!(space.place(3 * MIB, Holder::Allocation), None);
        assert_eq!(space.place_pages(2, 2 * MIB, Holder::Allocation), None);
        assert_eq!(space.scatter(3 * MIB, Holder::Process(1)), None);
        space.set_limit(MIB / 2);
        assert_eq!((space.free_bytes(), space.held_bytes()), (0, MIB));
        space.set_limit(u64::MAX);
        assert_eq!(space.place(7 * MIB, Holder::Allocation), Some(MIB));
    }

    #[test]
    fn scattering_fills_the_gaps_in_order_or_takes_nothing() {
        let mut space = AddressSpace::new(4 * MIB);
        for _ in 0..4 {
            space.place(MIB, Holder::Allocation).unwrap();
        }
        space.release(0);
        space.release(2 * MIB);
        assert_eq!(space.scatter(2 * MIB + 1, Holder::Process(1)), None);
        assert_eq!(space.free_bytes(), 2 * MIB);
        space.scatter(MIB + MIB / 2, Holder::Process(1)).unwrap();
        assert_eq!(space.gaps().collect::<Vec<_>>(), [(2 * MIB + MIB / 2, MIB / 2)]);
        assert_eq!(space.release_all(|holder| holder == Holder::Process(1)), MIB + MIB / 2);
    }

    #[test]
    fn pages_are_taken_where_whole_ones_fit_or_not_at_all() {
        let mut space = AddressSpace::new(8 * MIB);
        for _ in 0..8 {
            space.place(MIB, Holder::Allocation).unwrap();
        }
        for start in [0, 2 * MIB, 3 * MIB, 4 * MIB, 6 * MIB, 7 * MIB] {
            space.release(start);
        }
        assert_eq!(space.place_pages(3, 2 * MIB, Holder::Allocation), None);
        assert_eq!(space.free_bytes(), 6 * MIB);
        assert_eq!(space.place_pages(2, 2 * MIB, Holder::Allocation), Some(vec![2 * MIB, 6 * MIB]));
        assert_eq!(space.gaps().collect::<Vec<_>>(), [(0, MIB), (4 * MIB, MIB)]);
        assert_eq!(space.release(2 * MIB), 2 * MIB);
    }

    #[test]
    fn cached_neighbours_join_and_are_reused_from_their_front() {
        let mut space = AddressSpace::new(8 * MIB);
        for _ in 0..4 {
            space.place(MIB, Holder::Allocation).unwrap();
        }
        for start in [0, 2 * MIB, MIB] {
            space.cache(start);
        }
        assert_eq!(space.held_by(|holder| holder == Holder::Cache), 3 * MIB);
        assert_eq!(space.reuse(2 * MIB), Some(0));
        assert_eq!(space.reuse(2 * MIB), None);
        assert_eq!(space.reuse(MIB), Some(2 * MIB));
        assert_eq!(space.free_bytes(), 4 * MIB);
    }

    #[test]
    fn a_size_that_cannot_be_padded_is_noticed() {
        assert_eq!(padded(0), Some(0));
        assert_eq!(padded(1), Some(GRANULE_BYTES));
        assert_eq!(padded(u64::MAX), None);
    }
}
