//! The whole: entries go in, answers come out. Holds who is who. What was there when the last snapshot was made lies in
//! `frozen`; what came since is held here, and both are seen as one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::column::{ExactRows, FreshColumn, RowNumber};
use crate::config::IndexConfig;
use crate::deja_vu::{Familiarity, Standing};
use crate::directory::{Directory, Stamp};
use crate::entry::{Effort, Entry, MemoryId, Neighbour, QueryFilter};
use crate::error::{IndexError, Role};
use crate::frozen::Frozen;
use crate::graph::search::Scratch;
use crate::snapshot::Snapshot;
use crate::trace::{EntryNumber, TraceOf, Traces};
use crate::vector::Prepared;

/// Who may recall which memory, and what a query resembles.
#[derive(Debug)]
pub struct ActivationIndex {
    pub(crate) config: IndexConfig,
    /// What the snapshot holds. Its memories have the numbers below its limit.
    pub(crate) frozen: Frozen,
    /// The numbers of memories that are not in the snapshot.
    numbers: HashMap<MemoryId, EntryNumber>,
    /// By number less the limit; `None` where a memory was removed and its number is free.
    records: Vec<Option<Record>>,
    free: Vec<EntryNumber>,
    /// The traces of memories that are not in the snapshot, and what was added since to those of others.
    pub(crate) traces: Traces,
    /// What was added to the traces of memories in the snapshot.
    added: HashMap<EntryNumber, TraceOf>,
    /// Signatures that are not in the snapshot, by dimension; none is empty.
    pub(crate) columns: BTreeMap<usize, FreshColumn>,
    pub(crate) kept: Option<Kept>,
    position: u64,
    /// Rooms for walks, one for each thread that searches at the same time.
    rooms: Mutex<Vec<Scratch>>,
}

/// Where an index is kept, and what it is derived from.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) directory: Directory,
    pub(crate) origin: [u8; 32],
    /// Which snapshot was opened, or found to be of no use.
    pub(crate) stamp: Option<Stamp>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: MemoryId,
    pub(crate) kind: Box<str>,
    pub(crate) recallable: bool,
    pub(crate) stored_at: SystemTime,
    trace: TraceOf,
    pub(crate) signature: Option<Place>,
}

/// Where a signature lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) dimension: usize,
    pub(crate) row: RowNumber,
}

/// What was found when an index was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opening {
    /// No snapshot yet: the index is empty.
    Nothing,
    /// A snapshot; the index is as it was when that was made.
    Snapshot,
    /// A snapshot that is of no use. The index is empty, has to be filled from its source, and the next
    /// [`compact`](ActivationIndex::compact) replaces the snapshot.
    Unusable {
        /// Why, in words.
        reason: String,
    },
}

impl ActivationIndex {
    /// An empty index, in memory only.
    ///
    /// # Errors
    /// As [`IndexConfig::validate`].
    pub fn new(config: IndexConfig) -> Result<Self, IndexError> {
        config.validate()?;
        Ok(Self::over(config, Frozen::default(), None))
    }

    /// An index that knows what a snapshot holds, and nothing else.
    pub(crate) fn over(config: IndexConfig, frozen: Frozen, kept: Option<Kept>) -> Self {
        Self {
            config,
            position: frozen.snapshot().map_or(0, Snapshot::position),
            frozen,
            numbers: HashMap::new(),
            records: Vec::new(),
            free: Vec::new(),
            traces: Traces::default(),
            added: HashMap::new(),
            columns: BTreeMap::new(),
            kept,
            rooms: Mutex::default(),
        }
    }

    /// Opens the index that is kept in `dir`, which is made if it is missing. `origin` names what the index is derived from:
    /// a snapshot of anything else is not used. Opening takes a time that hardly depends on how much there is.
    ///
    /// A snapshot that is damaged, foreign or of another metric is no error: the index is empty then, and
    /// [`Opening::Unusable`] says why.
    ///
    /// # Errors
    /// As [`IndexConfig::validate`]; if the directory cannot be made.
    pub fn open(dir: &Path, origin: [u8; 32], config: IndexConfig) -> Result<(Self, Opening), IndexError> {
        config.validate()?;
        let directory = Directory::open(dir)?;
        let stamp = directory.stamp();
        let opened = stamp.map(|_| open_snapshot(&directory, &origin, &config));
        let (frozen, opening) = match opened {
            None => (Frozen::default(), Opening::Nothing),
            Some(Err(reason)) => (Frozen::default(), Opening::Unusable { reason }),
            Some(Ok(snapshot)) => (Frozen::new(snapshot), Opening::Snapshot),
        };
        let index = Self::over(config, frozen, Some(Kept { directory, origin, stamp }));
        Ok((index, opening))
    }

    /// Whether another process has swapped in another snapshot since this index was opened. Opening it again gives that.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| {
            let now = kept.directory.stamp();
            now.is_some() && now != kept.stamp
        })
    }

    /// Forgets everything, the snapshot included, and starts anew at position 0. The file of the snapshot stays until
    /// [`compact`](Self::compact) replaces it.
    pub fn clear(&mut self) {
        *self = Self::over(self.config, Frozen::default(), self.kept.take());
    }

    /// Whether there is a snapshot on disk that this index does not use.
    pub(crate) fn has_useless_snapshot(&self) -> bool {
        self.frozen.snapshot().is_none() && self.kept.as_ref().is_some_and(|kept| kept.stamp.is_some())
    }

    /// Compares all that the snapshot holds with its check sums.
    ///
    /// # Errors
    /// [`IndexError::SnapshotDamaged`]
    pub fn verify(&self) -> Result<(), IndexError> {
        self.frozen.snapshot().map_or(Ok(()), Snapshot::verify)
    }

    /// How far the index follows what it is derived from: a number that means something to who set it. Kept in the snapshot.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Says how far the index follows what it is derived from.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// Adds a memory; says whether it is new. One that is known already is brought up to date: the contexts are added
    /// to its trace, everything else is replaced. So a change that is heard of twice does no harm, and a memory that
    /// comes back sealed loses the signature that could be read. It is found from now on.
    ///
    /// # Errors
    /// A signature that is empty, too long, not finite, or for cosine all zeros; a full index. Nothing is changed then.
    pub fn insert(&mut self, entry: Entry) -> Result<bool, IndexError> {
        let signature = entry
            .signature
            .as_deref()
            .map(|s| Prepared::new(Role::Signature, self.config.metric, s))
            .transpose()?;
        self.traces.check_room(entry.contexts.len())?;
        self.check_room()?;

        if let Some(number) = self.frozen.find(&entry.id) {
            if self.is_as_frozen(number, &entry, signature.as_ref()) {
                for context in &entry.contexts {
                    self.add_to_trace(number, context);
                }
                return Ok(false);
            }
            let mut contexts: Vec<String> = self.contexts_of_number(number).map(str::to_owned).collect();
            contexts.extend(entry.contexts);
            self.remove_frozen(number);
            self.insert_fresh(Entry { contexts, ..entry }, signature.as_ref());
            return Ok(false);
        }
        Ok(self.insert_fresh(entry, signature.as_ref()))
    }

    fn insert_fresh(&mut self, entry: Entry, signature: Option<&Prepared>) -> bool {
        let Entry { id, kind, recallable, stored_at, contexts, signature: _ } = entry;
        let (number, mut trace, new) = match self.numbers.get(&id) {
            Some(&number) => {
                let old = self.take_record(number);
                if let Some(place) = old.as_ref().and_then(|record| record.signature) {
                    self.remove_signature(place);
                }
                (number, old.map(|record| record.trace).unwrap_or_default(), false)
            }
            None => (self.new_number(id), TraceOf::default(), true),
        };
        for context in &contexts {
            self.traces.add(number, &mut trace, context);
        }
        let signature = signature.map(|signature| {
            let dimension = signature.dimension();
            let column = self.columns.entry(dimension).or_insert_with(|| FreshColumn::new(dimension));
            Place { dimension, row: column.push(number, signature) }
        });
        let at = self.at(number);
        self.records[at] = Some(Record { id, kind: kind.into(), recallable, stored_at, trace, signature });
        new
    }

    /// Whether a memory is in the snapshot just as it is heard of now, but for its trace.
    fn is_as_frozen(&self, number: EntryNumber, entry: &Entry, signature: Option<&Prepared>) -> bool {
        let Some(snapshot) = self.frozen.snapshot() else { return false };
        let same_signature = match (snapshot.place(number), signature) {
            (None, None) => true,
            (Some((dimension, row)), Some(signature)) if dimension == signature.dimension() => {
                let column = snapshot.column(dimension);
                // A row that cannot be read is not the same: what is heard of now takes its place.
                column.is_some_and(|c| {
                    c.exact(row, &mut Vec::new()).is_ok_and(|exact| exact == signature.as_slice())
                })
            }
            _ => false,
        };
        same_signature
            && snapshot.recallable(number) == entry.recallable
            && snapshot.stored_at(number) == entry.stored_at
            && snapshot.type_of(number).is_some_and(|kind| snapshot.type_name(kind) == entry.kind)
    }

    /// Forgets a memory, its trace and its signature; says whether it was known. It is not found from now on; the space that
    /// it takes in a snapshot is returned by the next [`compact`](Self::compact).
    pub fn remove(&mut self, id: &MemoryId) -> bool {
        if let Some(number) = self.frozen.find(id) {
            self.remove_frozen(number);
            return true;
        }
        let Some(number) = self.numbers.remove(id) else { return false };
        let Some(record) = self.take_record(number) else { return false };
        self.free.push(number);
        self.traces.remove(number, record.trace);
        if let Some(place) = record.signature {
            self.remove_signature(place);
        }
        true
    }

    fn remove_frozen(&mut self, number: EntryNumber) {
        self.frozen.remove(number);
        if let Some(trace) = self.added.remove(&number) {
            self.traces.remove(number, trace);
        }
    }

    /// Adds a context to a memory's trace; says whether it is new there.
    ///
    /// # Errors
    /// [`IndexError::UnknownMemory`]; a full index.
    pub fn add_trace(&mut self, id: &MemoryId, context: &str) -> Result<bool, IndexError> {
        let number = self.known(id)?;
        self.traces.check_room(1)?;
        Ok(self.add_to_trace(number, context))
    }

    fn add_to_trace(&mut self, number: EntryNumber, context: &str) -> bool {
        if self.frozen.holds(number) {
            if self.frozen.has_trace(number, context) {
                return false;
            }
            return self.traces.add(number, self.added.entry(number).or_default(), context);
        }
        let at = self.at(number);
        match self.records.get_mut(at) {
            Some(Some(record)) => self.traces.add(number, &mut record.trace, context),
            _ => false,
        }
    }

    /// The memories with `context` in their trace, in no particular order; none for a context nobody named. Found in
    /// constant time.
    pub fn by_context(&self, context: &str) -> impl Iterator<Item = &MemoryId> {
        let fresh = self.traces.members(context).iter().copied();
        self.frozen.members(context).chain(fresh).filter_map(|number| self.id(number))
    }

    /// The contexts in a memory's trace, in the order in which they were added. Found in constant time.
    ///
    /// # Errors
    /// [`IndexError::UnknownMemory`]
    pub fn contexts_of(&self, id: &MemoryId) -> Result<impl Iterator<Item = &str>, IndexError> {
        Ok(self.contexts_of_number(self.known(id)?))
    }

    pub(crate) fn contexts_of_number(&self, number: EntryNumber) -> impl Iterator<Item = &str> {
        let since = match self.record(number) {
            Some(record) => Some(&record.trace),
            None => self.added.get(&number),
        };
        self.frozen.trace_of(number).chain(since.into_iter().flat_map(|trace| self.traces.names(trace)))
    }

    /// What `context` may do with a memory. Takes a time that hardly depends on how much there is.
    ///
    /// # Errors
    /// [`IndexError::UnknownMemory`]
    pub fn may_recall(&self, context: &str, id: &MemoryId) -> Result<Standing, IndexError> {
        let number = self.known(id)?;
        Ok(Standing::new(self.recallable(number), self.is_in_trace(number, context)))
    }

    /// Whether a context was added to the trace of a memory of the snapshot since that was made.
    pub(crate) fn was_added(&self, number: EntryNumber, context: &str) -> bool {
        !self.added.is_empty() && self.traces.contains(number, context)
    }

    pub(crate) fn is_in_trace(&self, number: EntryNumber, context: &str) -> bool {
        self.frozen.has_trace(number, context) || self.traces.contains(number, context)
    }

    /// The `k` memories most like `query` among those that `filter` admits, the most alike first and equals by id, with
    /// the configured recall. Answers fewer than `k` only where there are fewer, and none from an index without signatures.
    ///
    /// # Errors
    /// A query that is empty, too long, not finite, or for cosine all zeros; one of a dimension that no signature has;
    /// [`IndexError::SnapshotDamaged`].
    pub fn nearest(
        &self,
        query: &[f32],
        k: usize,
        filter: &QueryFilter,
    ) -> Result<Vec<Neighbour>, IndexError> {
        self.nearest_with(query, k, filter, Effort::Calibrated)
    }

    /// What is familiar about `query`: the `k` memories most like it, what they are, and what `context` may do with
    /// them. Sorted as by [`nearest`](Self::nearest). `now` is what ages are counted to.
    ///
    /// # Errors
    /// As [`nearest`](Self::nearest).
    pub fn deja_vu(
        &self,
        context: &str,
        query: &[f32],
        k: usize,
        now: SystemTime,
    ) -> Result<Vec<Familiarity>, IndexError> {
        self.deja_vu_among(&QueryFilter::default(), context, query, k, now)
    }

    /// [`deja_vu`](Self::deja_vu) among the memories that `filter` admits.
    ///
    /// # Errors
    /// As [`nearest`](Self::nearest).
    pub fn deja_vu_among(
        &self,
        filter: &QueryFilter,
        context: &str,
        query: &[f32],
        k: usize,
        now: SystemTime,
    ) -> Result<Vec<Familiarity>, IndexError> {
        let familiarity = |Neighbour { id, similarity }: Neighbour| {
            let number = self.known(&id)?;
            let in_trace = self.is_in_trace(number, context);
            let standing = Standing::new(self.recallable(number), in_trace);
            Ok(Familiarity {
                id,
                similarity,
                kind: self.kind(number).to_owned(),
                age: now.duration_since(self.stored_at(number)).unwrap_or_default(),
                recallable: standing.allowed(),
                reason_if_not: (!standing.allowed()).then(|| standing.to_string()),
                familiar: similarity > self.config.familiar_threshold,
                in_trace,
                influence: None,
            })
        };
        self.nearest(query, k, filter)?.into_iter().map(familiarity).collect()
    }

    /// Whether a memory is known.
    #[must_use]
    pub fn contains(&self, id: &MemoryId) -> bool {
        self.known(id).is_ok()
    }

    /// The known memories, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = &MemoryId> {
        self.frozen.numbers().filter_map(|number| self.id(number)).chain(self.numbers.keys())
    }

    /// How many memories are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frozen.len() + self.numbers.len()
    }

    /// Whether no memory is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The settings it was made with.
    #[must_use]
    pub fn config(&self) -> &IndexConfig {
        &self.config
    }

    /// The memories that came since the snapshot was made, in order.
    pub(crate) fn fresh(&self) -> impl Iterator<Item = (EntryNumber, &Record)> {
        (self.frozen.limit()..)
            .zip(&self.records)
            .filter_map(|(number, record)| Some((number, record.as_ref()?)))
    }

    /// How many memories came since the snapshot was made.
    pub(crate) fn fresh_len(&self) -> usize {
        self.numbers.len()
    }

    /// Changes that the snapshot does not hold.
    pub(crate) fn changes(&self) -> usize {
        self.numbers.len() + self.frozen.gone() + self.added.len()
    }

    pub(crate) fn record(&self, number: EntryNumber) -> Option<&Record> {
        self.records.get(number.checked_sub(self.frozen.limit())? as usize)?.as_ref()
    }

    pub(crate) fn id(&self, number: EntryNumber) -> Option<&MemoryId> {
        match self.record(number) {
            Some(record) => Some(&record.id),
            None => self.frozen.snapshot()?.id(number),
        }
    }

    fn kind(&self, number: EntryNumber) -> &str {
        let frozen = || {
            let snapshot = self.frozen.snapshot()?;
            snapshot.type_of(number).map(|kind| snapshot.type_name(kind))
        };
        self.record(number).map(|record| &*record.kind).or_else(frozen).unwrap_or_default()
    }

    fn recallable(&self, number: EntryNumber) -> bool {
        match self.record(number) {
            Some(record) => record.recallable,
            None => self.frozen.snapshot().is_some_and(|snapshot| snapshot.recallable(number)),
        }
    }

    fn stored_at(&self, number: EntryNumber) -> SystemTime {
        let frozen = || self.frozen.snapshot().map(|snapshot| snapshot.stored_at(number));
        self.record(number).map(|record| record.stored_at).or_else(frozen).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn known(&self, id: &MemoryId) -> Result<EntryNumber, IndexError> {
        let number = self.numbers.get(id).copied().or_else(|| self.frozen.find(id));
        number.ok_or(IndexError::UnknownMemory { id: *id })
    }

    /// Where in `records` a number is, that is not the snapshot's.
    fn at(&self, number: EntryNumber) -> usize {
        (number - self.frozen.limit()) as usize
    }

    fn take_record(&mut self, number: EntryNumber) -> Option<Record> {
        let at = self.at(number);
        self.records.get_mut(at)?.take()
    }

    /// Says whether one more memory would have a number.
    fn check_room(&self) -> Result<(), IndexError> {
        let used = self.frozen.limit() as usize + self.records.len();
        if used < u32::MAX as usize { Ok(()) } else { Err(IndexError::Full { what: "memories" }) }
    }

    /// The caller has checked the room.
    fn new_number(&mut self, id: MemoryId) -> EntryNumber {
        let number = self.free.pop().unwrap_or_else(|| {
            self.records.push(None);
            self.frozen.limit() + (self.records.len() - 1) as EntryNumber
        });
        self.numbers.insert(id, number);
        number
    }

    fn remove_signature(&mut self, Place { dimension, row }: Place) {
        let Some(column) = self.columns.get_mut(&dimension) else { return };
        let moved = column.swap_remove(row);
        if column.len() == 0 {
            self.columns.remove(&dimension);
        }
        if let Some(moved) = moved {
            let at = self.at(moved);
            if let Some(Some(record)) = self.records.get_mut(at) {
                record.signature = Some(Place { dimension, row });
            }
        }
    }

    /// Lends room for a walk.
    pub(crate) fn with_room<T>(&self, walk: impl FnOnce(&mut Scratch) -> T) -> T {
        let lent = self.rooms.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut room = lent.unwrap_or_default();
        let result = walk(&mut room);
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).push(room);
        result
    }
}

/// Opens a snapshot, or says why it is of no use.
pub(crate) fn open_snapshot(
    directory: &Directory,
    origin: &[u8; 32],
    config: &IndexConfig,
) -> Result<Snapshot, String> {
    let snapshot = Snapshot::open(&directory.snapshot()).map_err(|e| format!("it cannot be read: {e}"))??;
    if snapshot.origin() != origin {
        return Err("it was made of something else".into());
    }
    if snapshot.metric() != config.metric {
        return Err(format!("it was made for {}, and {} is configured", snapshot.metric(), config.metric));
    }
    Ok(snapshot)
}
