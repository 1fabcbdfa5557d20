//! Making the next snapshot: what is still there of the last one, and what came since, in one; the graph grown, the space of
//! what was forgotten returned.

use std::collections::HashMap;
use std::io::Cursor;
use std::num::NonZero;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::bits::Bits;
use crate::column::{ExactRows, FreshColumn, Rounded, RowNumber};
use crate::error::IndexError;
use crate::frozen::Frozen;
use crate::graph::build::{Arrays, Builder, Older};
use crate::graph::calibrate::{Calibration, calibrate};
use crate::graph::{MAX_ROWS, NO_LINK, Rows, lifts};
use crate::index::{ActivationIndex, Record, open_snapshot};
use crate::snapshot::contents::{ColumnContents, Contents, Memory};
use crate::snapshot::{Column, Snapshot, key};
use crate::trace::EntryNumber;
use crate::vector;

/// A graph is grown from the last one if no more than this part of that one is gone, and it is built anew otherwise.
const MOST_GONE: f32 = 0.3;

/// From so many changes on, a new snapshot may be worth its making.
const DUE_FROM_CHANGES: usize = 2048;

/// One is due when changes are more than this part of all memories.
const DUE_SHARE: usize = 16;

/// A search for more recall than this is exact: a graph need not be measured for it.
const MOST_RECALL: f32 = 0.9999;

/// How to compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactOptions {
    /// Threads that link the graph; all cores if none is said.
    pub threads: Option<NonZero<usize>>,
    /// From so many distinct signatures of a dimension on, they get a graph; 4,096 if not said. Below, a scan takes less time
    /// than the graph's making would ever save.
    pub graph_from: usize,
    /// Who links the graph.
    pub linked_by: LinkedBy,
}

/// Who links a graph.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkedBy {
    /// This crate, which also grows a graph that is there already.
    #[default]
    Us,
    /// The crate `hnsw_rs`, anew each time, on all cores; to compare with.
    #[cfg(feature = "hnsw_rs")]
    HnswRs,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { threads: None, graph_from: 4096, linked_by: LinkedBy::Us }
    }
}

impl CompactOptions {
    /// So many threads.
    #[must_use]
    pub fn with_threads(self, threads: NonZero<usize>) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// Graphs from so many distinct signatures on.
    #[must_use]
    pub fn with_graph_from(self, signatures: usize) -> Self {
        Self { graph_from: signatures, ..self }
    }

    /// Graphs linked by this or by that.
    #[must_use]
    pub fn with_linked_by(self, linked_by: LinkedBy) -> Self {
        Self { linked_by, ..self }
    }
}

/// What compacting did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Memories in the new snapshot.
    pub memories: usize,
    /// Memories that came into it.
    pub merged: usize,
    /// Memories that were forgotten and are in it no more.
    pub dropped: usize,
    /// Bytes of the snapshot before; 0 if there was none.
    pub bytes_before: u64,
    /// Bytes of the snapshot now.
    pub bytes: u64,
    /// Linking and measuring the graphs.
    #[serde(rename = "graph_seconds", serialize_with = "as_seconds")]
    pub graph: Duration,
    /// All of it.
    #[serde(rename = "total_seconds", serialize_with = "as_seconds")]
    pub total: Duration,
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl ActivationIndex {
    /// Whether so much has changed since the snapshot was made that a new one is worth its making, or the one there is is of no
    /// use, or was measured for less recall than is configured.
    #[must_use]
    pub fn is_compaction_due(&self) -> bool {
        let calibrations =
            self.frozen.snapshot().into_iter().flat_map(Snapshot::columns).filter_map(|c| Some(c.graph()?.1));
        let asks_for_more =
            |calibration: Calibration| calibration.recall < self.config.recall.min(MOST_RECALL);
        self.has_useless_snapshot()
            || calibrations.into_iter().any(asks_for_more)
            || self.changes() >= DUE_FROM_CHANGES.max(self.len() / DUE_SHARE)
    }

    /// Makes a new snapshot of all that is known, beside the one there is, and swaps it in. What was inserted is merged, what
    /// was forgotten leaves no trace. Other processes go on with the snapshot that they have opened. An index without a
    /// directory keeps its snapshot in memory.
    ///
    /// # Errors
    /// [`IndexError::Compacting`] if another process is at it; [`IndexError::Superseded`] if one has gone further;
    /// [`IndexError::SnapshotDamaged`]; if the disk is full or refuses. The index and its directory are then as they were.
    pub fn compact(&mut self, options: &CompactOptions) -> Result<CompactReport, IndexError> {
        let started = Instant::now();
        let kept = self.kept.as_ref().map(|kept| (kept.directory.clone(), kept.origin));
        let lock = kept.as_ref().map(|(directory, _)| directory.lock()).transpose()?;
        if let Some((directory, origin)) = &kept
            && self.is_outdated()
            && let Ok(newer) = open_snapshot(directory, origin, &self.config)
            && newer.position() > self.position()
        {
            return Err(IndexError::Superseded { path: directory.snapshot() });
        }

        // Damage is not copied into a file whose check sums fit.
        self.verify()?;
        let mut graph = Duration::ZERO;
        let contents = self.contents(options, &mut graph)?;
        let memories = contents.memories.len();
        // The lock is held until the new snapshot is open: what is opened is what was written.
        let snapshot = match (&kept, &lock) {
            (Some((directory, _)), Some(lock)) => {
                directory.replace(lock, |out| contents.write(out))?;
                Snapshot::open(&directory.snapshot())
            }
            _ => Snapshot::in_memory(contents.write(Cursor::new(Vec::new()))?.get_ref()),
        };
        drop(contents);
        let path = kept.as_ref().map(|(directory, _)| directory.snapshot()).unwrap_or_default();
        let snapshot = snapshot.map_err(|e| IndexError::io("open", &path, &e))?;
        let snapshot = snapshot.map_err(|what| IndexError::SnapshotDamaged { path, what })?;

        let report = CompactReport {
            memories,
            merged: self.fresh().count(),
            dropped: self.frozen.gone(),
            bytes_before: self.frozen.snapshot().map_or(0, Snapshot::file_bytes),
            bytes: snapshot.file_bytes(),
            graph,
            total: started.elapsed(),
        };
        self.restart_from(snapshot);
        drop(lock);
        Ok(report)
    }

    fn restart_from(&mut self, snapshot: Snapshot) {
        let kept = self.kept.take().map(|mut kept| {
            kept.stamp = kept.directory.stamp();
            kept
        });
        *self = Self::over(self.config, Frozen::new(snapshot), kept);
    }

    /// All that is known, in the order of its numbers, columns by dimension.
    fn contents(&self, options: &CompactOptions, linking: &mut Duration) -> Result<Contents<'_>, IndexError> {
        let old = self.frozen.snapshot();
        let mut memories = Vec::with_capacity(self.len());
        for number in self.frozen.numbers() {
            let Some((snapshot, &id)) = old.zip(self.id(number)) else { continue };
            memories.push(Memory {
                id,
                kind: snapshot.type_of(number).map(|kind| snapshot.type_name(kind)).unwrap_or_default(),
                recallable: snapshot.recallable(number),
                stored_at: snapshot.stored_at(number),
                contexts: self.contexts_of_number(number).collect(),
                place: snapshot.place(number),
            });
        }
        let frozen = memories.len();
        for (number, record) in self.fresh() {
            let Record { id, kind, recallable, stored_at, signature, .. } = record;
            memories.push(Memory {
                id: *id,
                kind,
                recallable: *recallable,
                stored_at: *stored_at,
                contexts: self.contexts_of_number(number).collect(),
                place: signature.map(|place| (place.dimension, place.row)),
            });
        }

        let (from_frozen, from_fresh) = memories.split_at_mut(frozen);
        let mut dimensions: Vec<usize> =
            from_frozen.iter().chain(from_fresh.iter()).filter_map(|memory| Some(memory.place?.0)).collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        let mut columns = Vec::with_capacity(dimensions.len());
        for dimension in dimensions {
            let merge =
                Merge { dimension, old: self.frozen.column(dimension), fresh: self.columns.get(&dimension) };
            columns.push(merge.column(from_frozen, from_fresh, self.config.recall, options, linking)?);
        }
        let origin = self.kept.as_ref().map_or([0; 32], |kept| kept.origin);
        Ok(Contents { metric: self.config.metric, origin, position: self.position(), memories, columns })
    }
}

/// One column of the last snapshot and what came since, on their way to being one.
#[derive(Clone, Copy)]
struct Merge<'i> {
    dimension: usize,
    old: Option<Column<'i>>,
    fresh: Option<&'i FreshColumn>,
}

/// Where a row of the new column comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Old(RowNumber),
    Fresh(RowNumber),
}

impl<'i> Merge<'i> {
    /// The new column. Sets the places of its memories: their rows in the new column instead of where they are now.
    fn column(
        self,
        from_frozen: &mut [Memory<'_>],
        from_fresh: &mut [Memory<'_>],
        recall: f32,
        options: &CompactOptions,
        linking: &mut Duration,
    ) -> Result<ColumnContents<'i>, IndexError> {
        let dimension = self.dimension;
        let mut sources: Vec<Source> = Vec::new();
        let mut keys: Vec<u64> = Vec::new();
        let mut owned: Vec<(RowNumber, EntryNumber)> = Vec::new();
        let mut old_to_new = vec![NO_LINK; self.old.map_or(0, |old| old.rows())];
        let old_keys = self.old.map(|old| old.keys()).unwrap_or_default();

        let frozen_memories = from_frozen.len();
        for (number, memory) in from_frozen.iter_mut().enumerate() {
            let Some((_, row)) = memory.place.filter(|&(d, _)| d == dimension) else { continue };
            let Some((new, &key)) = old_to_new.get_mut(row as usize).zip(old_keys.get(row as usize)) else {
                continue;
            };
            if *new == NO_LINK {
                *new = sources.len() as RowNumber;
                sources.push(Source::Old(row));
                keys.push(key);
            }
            memory.place = Some((dimension, *new));
            owned.push((*new, number as EntryNumber));
        }
        // Equal signatures share a row: a graph would lose its way among many that lie in one place.
        let mut by_key: HashMap<u64, RowNumber> = (0..).zip(&keys).map(|(row, &key)| (key, row)).collect();
        let mut buffer = Vec::new();
        for (number, memory) in (frozen_memories..).zip(from_fresh.iter_mut()) {
            let Some((_, row)) = memory.place.filter(|&(d, _)| d == dimension) else { continue };
            let Some(fresh) = self.fresh else { continue };
            let exact = fresh.row(row);
            let key = key(exact);
            let twin = match by_key.get(&key) {
                Some(&twin) if self.exact(sources[twin as usize], &mut buffer)? == exact => Some(twin),
                _ => None,
            };
            let new = twin.unwrap_or_else(|| {
                let new = sources.len() as RowNumber;
                by_key.entry(key).or_insert(new);
                sources.push(Source::Fresh(row));
                keys.push(key);
                new
            });
            memory.place = Some((dimension, new));
            owned.push((new, number as EntryNumber));
        }
        if sources.len() >= MAX_ROWS {
            return Err(IndexError::Full { what: "signatures of one dimension" });
        }

        let mut column = self.rounded(&sources);
        (column.owners_at, column.owners) = group(sources.len(), &owned);
        column.keys = keys;
        let started = Instant::now();
        column.graph = self.graph(&column, &old_to_new, recall, options);
        *linking += started.elapsed();
        column.exact = Box::new(move |write| {
            let mut buffer = Vec::new();
            sources.iter().try_for_each(|&source| write(self.exact(source, &mut buffer)?))
        });
        Ok(column)
    }

    fn exact<'b>(&'b self, source: Source, buffer: &'b mut Vec<f32>) -> Result<&'b [f32], IndexError> {
        match (source, self.old.as_ref(), self.fresh) {
            (Source::Old(row), Some(old), _) => old.exact(row, buffer),
            (Source::Fresh(row), _, Some(fresh)) => Ok(fresh.row(row)),
            _ => Ok(&[]),
        }
    }

    fn rounded(&self, sources: &[Source]) -> ColumnContents<'i> {
        let stride = vector::stride(self.dimension);
        let old = self.old.map(|old| old.rounded());
        let fresh = self.fresh.map(FreshColumn::rounded);
        let mut column = ColumnContents {
            dimension: self.dimension,
            codes: Vec::with_capacity(sources.len() * stride),
            scales: Vec::with_capacity(sources.len()),
            residuals: Vec::with_capacity(sources.len()),
            norms: Vec::with_capacity(sources.len()),
            owners_at: Vec::new(),
            owners: Vec::new(),
            keys: Vec::new(),
            exact: Box::new(|_| Ok(())),
            graph: None,
        };
        for &source in sources {
            let (from, row) = match source {
                Source::Old(row) => (old, row as usize),
                Source::Fresh(row) => (fresh, row as usize),
            };
            let Some(from) = from else { continue };
            column.codes.extend_from_slice(&from.codes[row * stride..][..stride]);
            column.scales.push(from.scales[row]);
            column.residuals.push(from.residuals[row]);
            column.norms.push(from.norms[row]);
        }
        column
    }

    fn graph(
        &self,
        column: &ColumnContents<'_>,
        old_to_new: &[RowNumber],
        recall: f32,
        options: &CompactOptions,
    ) -> Option<(Arrays, Calibration)> {
        if column.scales.is_empty() || column.scales.len() < options.graph_from {
            return None;
        }
        let rounded = Rounded {
            stride: vector::stride(self.dimension),
            codes: &column.codes,
            scales: &column.scales,
            residuals: &column.residuals,
            norms: &column.norms,
        };
        // Rows whose codes say nothing are not linked.
        let mut apart = Bits::with_limit(rounded.rows());
        for (row, residual) in (0..).zip(rounded.residuals) {
            if !residual.is_finite() {
                apart.insert(row);
            }
        }
        let tame: Vec<f32> = rounded
            .norms
            .iter()
            .zip(rounded.residuals)
            .map(|(&n, r)| if r.is_finite() { n } else { 0.0 })
            .collect();
        let lifts = lifts(&tame);
        let gone = old_to_new.iter().filter(|&&new| new == NO_LINK).count() as f32;
        let worth_keeping = gone <= MOST_GONE * old_to_new.len() as f32;
        let older = self.old.filter(|_| worth_keeping).and_then(|old| Some(old.graph()?.0));
        let older = older.map(|graph| Older { graph, renumbered: old_to_new });
        let threads =
            options.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let rows = Rows::new(rounded, &lifts);
        let arrays = match options.linked_by {
            #[cfg(feature = "hnsw_rs")]
            LinkedBy::HnswRs => crate::graph::hnsw_rs::build(rows),
            LinkedBy::Us => Builder::build(rows, &column.keys, &apart, older, threads).into_arrays(),
        };
        let calibration = calibrate(&arrays.graph(), &Rows::new(rounded, &[]), recall.min(MOST_RECALL));
        Some((arrays, calibration))
    }
}

/// Groups pairs of row and owner by row: where each group begins, and the owners.
fn group(rows: usize, owned: &[(RowNumber, EntryNumber)]) -> (Vec<u32>, Vec<EntryNumber>) {
    let mut at = vec![0_u32; rows + 1];
    for &(row, _) in owned {
        at[row as usize + 1] += 1;
    }
    for row in 0..rows {
        at[row + 1] += at[row];
    }
    let mut next = at.clone();
    let mut owners = vec![0; owned.len()];
    for &(row, owner) in owned {
        owners[next[row as usize] as usize] = owner;
        next[row as usize] += 1;
    }
    (at, owners)
}
