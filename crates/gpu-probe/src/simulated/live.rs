//! The live allocations of one simulated card: what lies under each address, and whose it is.
//!
//! Knows nothing of capacity; the address space does the counting.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::contents::Contents;

/// Contents, which are copied while the card is unlocked.
pub(super) type Shared = Arc<RwLock<Contents>>;

/// One allocation.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) place: Place,
    pub(super) contents: Shared,
}

/// Where the memory of an allocation is.
#[derive(Debug)]
pub(super) enum Place {
    /// In one piece, which begins here in the card's address space; `None` for an allocation of zero bytes.
    Piece(Option<u64>),
    /// Anchored, on pages in runs that begin here; none for zero bytes.
    Pages(Vec<u64>),
    /// Anchored, and without memory.
    Vacant,
    /// Inside another allocation, this far from its start.
    Adopted { owner: u64, offset: u64 },
}

/// What a copy found under an allocation.
#[derive(Debug)]
pub(super) enum Found {
    /// Contents, and how far from their start the allocation begins.
    Memory(Shared, u64),
    Vacant,
    /// The owner of adopted memory freed it.
    OwnerGone,
}

/// All of them, under their numbers.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    by_id: HashMap<u64, Live>,
}

impl Live {
    pub(super) fn new(address: u64, bytes: u64, place: Place, contents: Contents) -> Self {
        Self { address, bytes, place, contents: Arc::new(RwLock::new(contents)) }
    }

    /// Bytes asked for that are there, and that this one holds itself.
    pub(super) fn allocated(&self) -> u64 {
        match self.place {
            Place::Piece(_) | Place::Pages(_) => self.bytes,
            Place::Vacant | Place::Adopted { .. } => 0,
        }
    }
}

impl Allocations {
    pub(super) fn insert(&mut self, id: u64, live: Live) {
        self.by_id.insert(id, live);
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Live> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Live> {
        self.by_id.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Live> {
        self.by_id.values()
    }

    /// What lies under an allocation; `None` if there is no such allocation.
    pub(super) fn find(&self, id: u64) -> Option<Found> {
        let live = self.by_id.get(&id)?;
        Some(match live.place {
            Place::Piece(_) | Place::Pages(_) => Found::Memory(Arc::clone(&live.contents), 0),
            Place::Vacant => Found::Vacant,
            Place::Adopted { owner, offset } => match self.find(owner) {
                Some(Found::Memory(contents, _)) => Found::Memory(contents, offset),
                Some(other) => other,
                None => Found::OwnerGone,
            },
        })
    }

    /// The allocation that owns this range of addresses, and how far inside the range begins.
    pub(super) fn owner(&self, address: u64, bytes: u64) -> Option<(u64, u64)> {
        self.by_id.iter().find_map(|(&id, live)| {
            let offset = address.checked_sub(live.address)?;
            let inside = offset.checked_add(bytes).is_some_and(|end| end <= live.bytes);
            (inside && !matches!(live.place, Place::Adopted { .. })).then_some((id, offset))
        })
    }
}
