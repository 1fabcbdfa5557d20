//! How much an index holds, and how it is searched.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::index::ActivationIndex;
use crate::kernel::Kernel;
use crate::snapshot::Snapshot;

/// How much an index holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Memories that came since the snapshot was made.
    pub fresh: usize,
    /// Memories that are in the snapshot and were forgotten since.
    pub forgotten: usize,
    /// Bytes of the snapshot; 0 if there is none.
    pub snapshot_bytes: u64,
    /// How far the snapshot, and what came since, follow their source.
    pub position: u64,
    /// The instructions that products are computed with.
    pub kernel: &'static str,
    /// By dimension, ascending.
    pub columns: Vec<ColumnStats>,
}

/// How the signatures of one dimension are searched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnStats {
    /// Their dimension.
    pub dimension: usize,
    /// How many there are.
    pub signatures: usize,
    /// How many of them came since the snapshot was made; they are scanned.
    pub fresh: usize,
    /// The graph over the others; none if they are scanned, too.
    pub graph: Option<GraphStats>,
}

/// A graph, as measured on this machine when it was built.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GraphStats {
    /// Distinct signatures in it.
    pub rows: usize,
    /// Candidates that a search keeps for the configured recall.
    pub width: u32,
    /// Signatures that such a search compares with, on average.
    pub compared: f32,
    /// Signatures that no walk comes to, and that are always scanned.
    pub strays: usize,
}

impl ActivationIndex {
    /// How much the index holds, and how it is searched. Looks at every trace in the snapshot.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        let columns = self.column_stats();
        let snapshot = self.frozen.snapshot();
        let mut contexts: HashSet<&str> = self.traces.all_contexts().collect();
        let mut activation_traces = self.traces.len();
        for number in self.frozen.numbers() {
            for context in self.frozen.trace_of(number) {
                contexts.insert(context);
                activation_traces += 1;
            }
        }
        IndexStats {
            memories: self.len(),
            signatures: columns.iter().map(|column| column.signatures).sum(),
            dimensions: columns.iter().map(|column| column.dimension).collect(),
            contexts: contexts.len(),
            activation_traces,
            fresh: self.fresh_len(),
            forgotten: self.frozen.gone(),
            snapshot_bytes: snapshot.map_or(0, Snapshot::file_bytes),
            position: self.position(),
            kernel: Kernel::best().name(),
            columns,
        }
    }

    fn column_stats(&self) -> Vec<ColumnStats> {
        let mut columns: BTreeMap<usize, ColumnStats> = BTreeMap::new();
        let empty = |dimension| ColumnStats { dimension, signatures: 0, fresh: 0, graph: None };
        for (dimension, signatures) in self.frozen.signatures() {
            let column = columns.entry(dimension).or_insert(empty(dimension));
            column.signatures = signatures;
            column.graph = self.frozen.column(dimension).and_then(|column| {
                let (graph, calibration) = column.graph()?;
                Some(GraphStats {
                    rows: column.rows(),
                    width: calibration.width,
                    compared: calibration.compared,
                    strays: graph.strays.len(),
                })
            });
        }
        for (&dimension, fresh) in &self.columns {
            let column = columns.entry(dimension).or_insert(empty(dimension));
            column.signatures += fresh.len();
            column.fresh = fresh.len();
        }
        columns.into_values().collect()
    }
}
