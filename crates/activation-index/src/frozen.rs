//! A snapshot, and which of its memories are gone since.

use std::collections::BTreeMap;

use crate::bits::Bits;
use crate::entry::MemoryId;
use crate::snapshot::{Column, Snapshot};
use crate::trace::EntryNumber;

/// The part of an index that does not change, but for what is forgotten. Empty if there is no snapshot.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    snapshot: Option<Snapshot>,
    /// Memories of the snapshot that were forgotten, or heard of anew.
    gone: Bits,
    /// How many signatures are still there, by dimension.
    signatures: BTreeMap<usize, usize>,
}

impl Frozen {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self {
            gone: Bits::with_limit(snapshot.memories()),
            signatures: snapshot.columns().map(|column| (column.dimension(), column.signatures())).collect(),
            snapshot: Some(snapshot),
        }
    }

    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Numbers below this are the snapshot's.
    pub(crate) fn limit(&self) -> EntryNumber {
        // A snapshot has fewer memories than numbers.
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.memories() as EntryNumber)
    }

    /// How many memories are still there.
    pub(crate) fn len(&self) -> usize {
        self.limit() as usize - self.gone.len()
    }

    /// How many are gone.
    pub(crate) fn gone(&self) -> usize {
        self.gone.len()
    }

    pub(crate) fn find(&self, id: &MemoryId) -> Option<EntryNumber> {
        self.snapshot.as_ref()?.find(id).filter(|&number| self.holds(number))
    }

    /// Whether a number is that of a memory that is still there.
    pub(crate) fn holds(&self, number: EntryNumber) -> bool {
        number < self.limit() && !self.gone.contains(number)
    }

    /// Forgets a memory that is there.
    pub(crate) fn remove(&mut self, number: EntryNumber) {
        let Some(snapshot) = &self.snapshot else { return };
        if self.gone.insert(number)
            && let Some((dimension, _)) = snapshot.place(number)
            && let Some(count) = self.signatures.get_mut(&dimension)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// The column of a dimension, if a signature in it is still there.
    pub(crate) fn column(&self, dimension: usize) -> Option<Column<'_>> {
        self.signatures.get(&dimension).filter(|&&count| count > 0)?;
        self.snapshot.as_ref()?.column(dimension)
    }

    /// How many signatures are still there, by dimension.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = (usize, usize)> {
        self.signatures.iter().map(|(&dimension, &count)| (dimension, count)).filter(|&(_, count)| count > 0)
    }

    /// The memories that are still there.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = EntryNumber> {
        (0..self.limit()).filter(|&number| !self.gone.contains(number))
    }

    /// The memories that are still there among those in whose trace a context was.
    pub(crate) fn members(&self, context: &str) -> impl Iterator<Item = EntryNumber> {
        let members =
            self.snapshot.as_ref().and_then(|s| s.find_context(context).map(|c| s.members_of_context(c)));
        members.unwrap_or_default().iter().copied().filter(|&number| self.holds(number))
    }

    /// Whether a context was in a memory's trace.
    pub(crate) fn has_trace(&self, number: EntryNumber, context: &str) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| {
            let members = snapshot.find_context(context).map(|context| snapshot.members_of_context(context));
            members.is_some_and(|members| members.binary_search(&number).is_ok())
        })
    }

    /// The contexts that were in a memory's trace, in the order in which they were added.
    pub(crate) fn trace_of(&self, number: EntryNumber) -> impl Iterator<Item = &str> {
        let snapshot = self.snapshot.as_ref();
        let trace = snapshot.map(|snapshot| snapshot.trace_of(number)).unwrap_or_default();
        trace.iter().filter_map(move |&context| snapshot.map(|snapshot| snapshot.context_name(context)))
    }
}
