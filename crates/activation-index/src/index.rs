//! The whole: entries go in, answers come out. Holds who is who; traces and vectors are looked after by
//! the modules `trace` and `signatures`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};

use crate::config::IndexConfig;
use crate::deja_vu::{Familiarity, Standing};
use crate::error::{IndexError, Role};
use crate::signatures::{Column, Prepared, Slot};
use crate::trace::{EntryNumber, TraceOf, Traces};

/// What a memory is known by: its content hash.
pub type MemoryId = [u8; 32];

/// What the index is told of a memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its content hash.
    pub id: MemoryId,
    /// What it is: its type.
    pub kind: String,
    /// Whether it may be recalled. A sealed one may not.
    pub recallable: bool,
    /// When it was stored.
    pub stored_at: SystemTime,
    /// The contexts that may recall it; naming one twice is naming it once.
    pub contexts: Vec<String>,
    /// Its embedding. Without one (a sealed memory has none that can be read) it takes part in traces only.
    pub signature: Option<Vec<f32>>,
}

impl Entry {
    /// A memory that may be recalled, with no trace and no signature yet.
    pub fn new(id: MemoryId, kind: impl Into<String>, stored_at: SystemTime) -> Self {
        Self { id, kind: kind.into(), recallable: true, stored_at, contexts: Vec::new(), signature: None }
    }
}

/// Which memories a query is about. What is left out does not matter; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryFilter {
    /// Only those with this context in their trace.
    pub context: Option<String>,
    /// Only those that may be recalled, or only those that may not.
    pub recallable: Option<bool>,
    /// Only those of this type.
    pub kind: Option<String>,
}

/// A memory and how alike it is to a query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Neighbour {
    /// Which memory; in JSON in hexadecimal.
    #[serde(serialize_with = "as_hex")]
    pub id: MemoryId,
    /// How alike: see [`Metric`](crate::Metric).
    pub similarity: f32,
}

/// How much an index holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexStats {
    /// Memories.
    pub memories: usize,
    /// Those of them that have a signature.
    pub signatures: usize,
    /// The dimensions that signatures have, ascending.
    pub dimensions: Vec<usize>,
    /// Contexts that are in some trace.
    pub contexts: usize,
    /// Pairs of a memory and a context in its trace.
    pub activation_traces: usize,
}

/// Who may recall which memory, and what a query resembles.
#[derive(Debug)]
pub struct ActivationIndex {
    config: IndexConfig,
    numbers: HashMap<MemoryId, EntryNumber>,
    /// By number; `None` where a memory was removed and its number is free.
    records: Vec<Option<Record>>,
    free: Vec<EntryNumber>,
    traces: Traces,
    /// By dimension; none is empty.
    columns: BTreeMap<usize, Column>,
}

#[derive(Debug)]
struct Record {
    id: MemoryId,
    kind: Box<str>,
    recallable: bool,
    stored_at: SystemTime,
    trace: TraceOf,
    signature: Option<Place>,
}

/// Where a signature lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    dimension: usize,
    slot: Slot,
}

impl ActivationIndex {
    /// An empty index.
    ///
    /// # Errors
    /// As [`IndexConfig::validate`].
    pub fn new(config: IndexConfig) -> Result<Self, IndexError> {
        config.validate()?;
        Ok(Self {
            config,
            numbers: HashMap::new(),
            records: Vec::new(),
            free: Vec::new(),
            traces: Traces::default(),
            columns: BTreeMap::new(),
        })
    }

    /// Adds a memory; says whether it is new. One that is known already is brought up to date: the contexts are added
    /// to its trace, everything else is replaced. So a change that is heard of twice does no harm, and a memory that
    /// comes back sealed loses the signature that could be read.
    ///
    /// # Errors
    /// A signature that is empty, not finite, or for cosine all zeros; a full index. Nothing is changed then.
    pub fn insert(&mut self, entry: Entry) -> Result<bool, IndexError> {
        let Entry { id, kind, recallable, stored_at, contexts, signature } = entry;
        let row = signature
            .as_deref()
            .map(|s| Prepared::new(Role::Signature, self.config.metric, s))
            .transpose()?;
        self.traces.check_room(contexts.len())?;

        let (number, mut trace, new) = match self.numbers.get(&id) {
            Some(&number) => {
                let old = self.take_record(number);
                if let Some(place) = old.as_ref().and_then(|record| record.signature) {
                    self.remove_signature(place);
                }
                (number, old.map(|record| record.trace).unwrap_or_default(), false)
            }
            None => (self.new_number(id)?, TraceOf::default(), true),
        };
        for context in &contexts {
            self.traces.add(number, &mut trace, context);
        }
        let signature = signature.zip(row).map(|(vector, row)| {
            let dimension = vector.len();
            let column =
                self.columns.entry(dimension).or_insert_with(|| Column::new(self.config.metric, dimension));
            Place { dimension, slot: column.push(number, &row) }
        });
        self.records[number as usize] =
            Some(Record { id, kind: kind.into(), recallable, stored_at, trace, signature });
        Ok(new)
    }

    /// Forgets a memory, its trace and its signature; says whether it was known.
    pub fn remove(&mut self, id: &MemoryId) -> bool {
        let Some(number) = self.numbers.remove(id) else { return false };
        let Some(record) = self.take_record(number) else { return false };
        self.free.push(number);
        self.traces.remove(number, record.trace);
        if let Some(place) = record.signature {
            self.remove_signature(place);
        }
        true
    }

    /// Adds a context to a memory's trace; says whether it is new there.
    ///
    /// # Errors
    /// [`IndexError::UnknownMemory`]; a full index.
    pub fn add_trace(&mut self, id: &MemoryId, context: &str) -> Result<bool, IndexError> {
        let unknown = IndexError::UnknownMemory { id: *id };
        let Some(&number) = self.numbers.get(id) else { return Err(unknown) };
        self.traces.check_room(1)?;
        let Some(record) = &mut self.records[number as usize] else { return Err(unknown) };
        Ok(self.traces.add(number, &mut record.trace, context))
    }

    /// The memories with `context` in their trace, in no particular order; none for a context nobody named. Found in
    /// constant time.
    pub fn by_context(&self, context: &str) -> impl Iterator<Item = &MemoryId> {
        self.traces.members(context).iter().filter_map(|&number| self.record(number)).map(|record| &record.id)
    }

    /// The contexts in a memory's trace, in the order in which they were added. Found in constant time.
    ///
    /// # Errors
    /// [`IndexError::UnknownMemory`]
    pub fn contexts_of(&self, id: &MemoryId) -> Result<impl ExactSizeIterator<Item = &str>, IndexError> {
        let (_, record) = self.known(id)?;
        Ok(self.traces.names(&record.trace))
    }

    /// What `context` may do with a memory. Takes constant time.
    ///
    /// # Errors
    /// [`IndexError::UnknownMemory`]
    pub fn may_recall(&self, context: &str, id: &MemoryId) -> Result<Standing, IndexError> {
        let (number, record) = self.known(id)?;
        Ok(Standing::new(record.recallable, self.traces.contains(number, context)))
    }

    /// The `k` memories most like `query` among those that `filter` admits, the most alike first and equals by id.
    /// Exact: compares with every signature of the query's dimension, or every one in the filter's context. Answers
    /// fewer than `k` where there are fewer, and none from an index without signatures.
    ///
    /// # Errors
    /// A query that is empty, not finite, or for cosine all zeros; one of a dimension that no signature has.
    pub fn nearest(
        &self,
        query: &[f32],
        k: usize,
        filter: &QueryFilter,
    ) -> Result<Vec<Neighbour>, IndexError> {
        let row = Prepared::new(Role::Query, self.config.metric, query)?;
        let Some(column) = self.columns.get(&query.len()) else {
            if self.columns.is_empty() {
                return Ok(Vec::new());
            }
            let known = self.columns.keys().copied().collect();
            return Err(IndexError::UnknownDimension { given: query.len(), known });
        };

        let mut best = Best::new(k, column.len());
        let mut consider = |number: EntryNumber, similarity: f32| {
            if best.wants(similarity)
                && let Some(record) = self.record(number).filter(|record| record.is_admitted_by(filter))
            {
                best.offer(Neighbour { id: record.id, similarity });
            }
        };
        match &filter.context {
            None => column.scan(&row, consider),
            Some(context) => {
                for &number in self.traces.members(context) {
                    let place = self.record(number).and_then(|record| record.signature);
                    if let Some(place) = place.filter(|place| place.dimension == query.len()) {
                        consider(number, column.similarity(place.slot, &row));
                    }
                }
            }
        }
        Ok(best.into_sorted())
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
            let (number, record) = self.known(&id)?;
            let in_trace = self.traces.contains(number, context);
            let standing = Standing::new(record.recallable, in_trace);
            Ok(Familiarity {
                id,
                similarity,
                kind: record.kind.to_string(),
                age: now.duration_since(record.stored_at).unwrap_or_default(),
                recallable: record.recallable,
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
        self.numbers.contains_key(id)
    }

    /// The known memories, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = &MemoryId> {
        self.numbers.keys()
    }

    /// How many memories are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether no memory is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// How much the index holds.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        IndexStats {
            memories: self.numbers.len(),
            signatures: self.columns.values().map(Column::len).sum(),
            dimensions: self.columns.keys().copied().collect(),
            contexts: self.traces.contexts(),
            activation_traces: self.traces.len(),
        }
    }

    /// The settings it was made with.
    #[must_use]
    pub fn config(&self) -> &IndexConfig {
        &self.config
    }

    fn record(&self, number: EntryNumber) -> Option<&Record> {
        self.records.get(number as usize)?.as_ref()
    }

    fn take_record(&mut self, number: EntryNumber) -> Option<Record> {
        self.records.get_mut(number as usize)?.take()
    }

    fn known(&self, id: &MemoryId) -> Result<(EntryNumber, &Record), IndexError> {
        let number = self.numbers.get(id).copied();
        let known = number.and_then(|number| Some((number, self.record(number)?)));
        known.ok_or(IndexError::UnknownMemory { id: *id })
    }

    fn new_number(&mut self, id: MemoryId) -> Result<EntryNumber, IndexError> {
        let number = if let Some(number) = self.free.pop() {
            number
        } else {
            let number =
                u32::try_from(self.records.len()).map_err(|_| IndexError::Full { what: "memories" })?;
            self.records.push(None);
            number
        };
        self.numbers.insert(id, number);
        Ok(number)
    }

    fn remove_signature(&mut self, Place { dimension, slot }: Place) {
        let Some(column) = self.columns.get_mut(&dimension) else { return };
        let moved = column.swap_remove(slot);
        if column.len() == 0 {
            self.columns.remove(&dimension);
        }
        if let Some(Some(record)) = moved.and_then(|moved| self.records.get_mut(moved as usize)) {
            record.signature = Some(Place { dimension, slot });
        }
    }
}

impl Record {
    /// Whether a filter admits it, but for the filter's context.
    fn is_admitted_by(&self, filter: &QueryFilter) -> bool {
        filter.recallable.is_none_or(|recallable| recallable == self.recallable)
            && filter.kind.as_deref().is_none_or(|kind| kind == &*self.kind)
    }
}

/// The best `k` of those offered, in a heap with the worst on top.
struct Best {
    k: usize,
    heap: BinaryHeap<Ranked>,
}

/// A neighbour that is greater the worse it is.
struct Ranked(Neighbour);

impl Best {
    /// Room for the best `k` of at most `of`.
    fn new(k: usize, of: usize) -> Self {
        let k = k.min(of);
        Self { k, heap: BinaryHeap::with_capacity(k) }
    }

    /// Whether something as similar as this could be among the best.
    fn wants(&self, similarity: f32) -> bool {
        self.heap.len() < self.k || self.heap.peek().is_some_and(|worst| similarity >= worst.0.similarity)
    }

    fn offer(&mut self, neighbour: Neighbour) {
        let ranked = Ranked(neighbour);
        if self.heap.len() < self.k {
            self.heap.push(ranked);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && ranked < *worst
        {
            *worst = ranked;
        }
    }

    fn into_sorted(self) -> Vec<Neighbour> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.0).collect()
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        b.similarity.total_cmp(&a.similarity).then_with(|| a.id.cmp(&b.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

/// An id as people write it.
pub(crate) struct Hex<'a>(pub(crate) &'a MemoryId);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

pub(crate) fn as_hex<S: Serializer>(id: &MemoryId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Hex(id))
}
