//! Which way a search takes: what came since the last snapshot is scanned; the snapshot is scanned, or a list of its
//! memories is, or its graph is walked, whatever costs least by what was measured on this machine. The filter is applied on
//! the way, and decides the way: of few admitted memories each is looked at, and a walk among many is wider the fewer are admitted.

use crate::best::Best;
use crate::column::{ExactRows, FreshColumn, Rounded, RowNumber};
use crate::entry::{Effort, Neighbour, QueryFilter};
use crate::error::IndexError;
use crate::graph::calibrate::{Calibration, NEIGHBOURS};
use crate::graph::search::Walk;
use crate::graph::{Graph, Probe, Rows};
use crate::index::ActivationIndex;
use crate::scan::{Among, KthLargest, Scan};
use crate::snapshot::Column;
use crate::trace::EntryNumber;
use crate::vector::{Query, similarity};

/// Rows that are looked at to estimate how many a filter admits.
const SAMPLE: usize = 128;

/// The way through a snapshot.
#[derive(Debug, Clone, Copy)]
enum Way<'i> {
    /// Every row.
    Scan,
    /// The rows of these memories.
    List(List<'i>),
    /// The graph, with so many candidates.
    Walk { width: usize },
}

/// Memories that a part of the filter admits: those of the snapshot, and what was added to them since.
#[derive(Debug, Clone, Copy)]
struct List<'i> {
    then: &'i [EntryNumber],
    since: &'i [EntryNumber],
}

impl List<'_> {
    fn len(&self) -> usize {
        self.then.len() + self.since.len()
    }
}

impl ActivationIndex {
    /// [`nearest`](Self::nearest) with more or less effort than the configured recall asks for.
    ///
    /// # Errors
    /// As [`nearest`](Self::nearest).
    pub fn nearest_with(
        &self,
        query: &[f32],
        k: usize,
        filter: &QueryFilter,
        effort: Effort,
    ) -> Result<Vec<Neighbour>, IndexError> {
        let query = Query::new(self.config.metric, query)?;
        let fresh = self.columns.get(&query.dimension());
        let frozen = self.frozen.column(query.dimension());
        if fresh.is_none() && frozen.is_none() {
            let known = self.dimensions();
            return if known.is_empty() {
                Ok(Vec::new())
            } else {
                Err(IndexError::UnknownDimension { given: query.dimension(), known })
            };
        }
        if k == 0 {
            return Ok(Vec::new());
        }
        let kind_in = |kind: &str| self.frozen.snapshot().and_then(|snapshot| snapshot.find_type(kind));
        let frozen_kind = filter.kind.as_deref().and_then(kind_in);
        // Nothing in the snapshot has a type that it does not know.
        let frozen = frozen.filter(|_| filter.kind.is_none() || frozen_kind.is_some());
        let of_context = filter.context.as_deref().map(|context| self.members(context));
        let search = Search { index: self, query: &query, k, filter, frozen_kind, of_context };
        let mut best = match fresh {
            Some(column) => search.fresh(column)?,
            None => Best::new(k, frozen.map_or(0, |column| column.signatures())),
        };
        if let Some(column) = frozen {
            for neighbour in search.frozen(column, effort)?.into_sorted() {
                best.offer(neighbour);
            }
        }
        Ok(best.into_sorted())
    }

    fn members(&self, context: &str) -> List<'_> {
        let in_snapshot = self
            .frozen
            .snapshot()
            .and_then(|s| s.find_context(context).map(|number| s.members_of_context(number)));
        List { then: in_snapshot.unwrap_or_default(), since: self.traces.members(context) }
    }

    fn dimensions(&self) -> Vec<usize> {
        let mut dimensions: Vec<usize> = self
            .frozen
            .signatures()
            .map(|(dimension, _)| dimension)
            .chain(self.columns.keys().copied())
            .collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        dimensions
    }
}

/// One search.
struct Search<'i> {
    index: &'i ActivationIndex,
    query: &'i Query,
    k: usize,
    filter: &'i QueryFilter,
    /// The number that the snapshot gives the type that the filter asks for, if it asks for one.
    frozen_kind: Option<u32>,
    /// The memories in the context that the filter asks for, if it asks for one.
    of_context: Option<List<'i>>,
}

impl Search<'_> {
    /// Scans what came since the last snapshot.
    fn fresh(&self, column: &FreshColumn) -> Result<Best, IndexError> {
        let (index, filter) = (self.index, self.filter);
        let members: Option<Vec<RowNumber>> = filter.context.as_ref().map(|context| {
            let places =
                index.traces.members(context).iter().filter_map(|&number| index.record(number)?.signature);
            places.filter(|place| place.dimension == self.query.dimension()).map(|place| place.row).collect()
        });
        let among = members.as_deref().map_or(Among::All, Among::These);
        let admits = |row| {
            index.record(column.owner(row)).is_some_and(|record| {
                filter.recallable.is_none_or(|recallable| recallable == record.recallable)
                    && filter.kind.as_deref().is_none_or(|kind| kind == &*record.kind)
            })
        };
        let frozen = index.frozen.column(self.query.dimension()).map_or(0, |column| column.signatures());
        let mut best = Best::new(self.k, column.len() + frozen);
        self.scan(column.rounded(), column).nearest(among, admits, |row, similarity| {
            if let Some(record) = index.record(column.owner(row)) {
                best.offer(Neighbour { id: record.id, similarity });
            }
        })?;
        Ok(best)
    }

    /// Searches the snapshot.
    fn frozen(&self, column: Column<'_>, effort: Effort) -> Result<Best, IndexError> {
        match self.way(&column, effort) {
            Way::Scan => self.among(&column, Among::All),
            Way::List(list) => self.among(&column, Among::These(&self.rows_of(&column, list))),
            Way::Walk { width } => match column.graph() {
                Some((graph, _)) => self.walk(&column, &graph, width),
                None => self.among(&column, Among::All),
            },
        }
    }

    /// Decides by cost, in nanoseconds.
    fn way(&self, column: &Column<'_>, effort: Effort) -> Way<'_> {
        let list = self.shortest_list();
        let graph = column.graph().filter(|_| {
            // Where codes say nothing there is nothing to walk by.
            self.query.rounding.is_tame() && self.query.rounding.scale > 0.0
        });
        let exact =
            effort == Effort::Exact || (effort == Effort::Calibrated && self.index.config.recall >= 1.0);
        let measured = column.graph().map(|(_, calibration)| calibration);
        let (scan_ns, walk_ns) = measured.map_or((15.0, 40.0), |m| (m.scan_ns, m.walk_ns));
        let scan_cost = column.rows() as f32 * scan_ns;
        let list_cost = list.as_ref().map_or(f32::INFINITY, |list| list.len() as f32 * walk_ns);
        let walk = graph.filter(|_| !exact).map(|(_, calibration)| {
            let admitted = self.admitted_share(column);
            let width = self.width(effort, &calibration) / admitted;
            let cost = width / calibration.width as f32 * calibration.compared * walk_ns;
            (width.min(column.rows() as f32) as usize, cost)
        });
        match (walk, list) {
            (Some((width, _)), None) if matches!(effort, Effort::Width(_)) => Way::Walk { width },
            (Some((width, cost)), _) if cost < scan_cost && cost < list_cost => Way::Walk { width },
            (_, Some(list)) if list_cost < scan_cost => Way::List(list),
            _ => Way::Scan,
        }
    }

    fn width(&self, effort: Effort, calibration: &Calibration) -> f32 {
        let least = match effort {
            Effort::Width(width) => width as f32,
            // What was measured is for ten neighbours.
            _ => calibration.width as f32 * (self.k as f32 / NEIGHBOURS as f32).max(1.0),
        };
        least.max(self.k as f32)
    }

    /// The memories of the snapshot that the filter's context or type admits, whichever are fewer.
    fn shortest_list(&self) -> Option<List<'_>> {
        let snapshot = self.index.frozen.snapshot()?;
        let of_kind = self.frozen_kind.map(|kind| List { then: snapshot.members_of_type(kind), since: &[] });
        of_kind.into_iter().chain(self.of_context).min_by_key(List::len)
    }

    fn rows_of(&self, column: &Column<'_>, list: List<'_>) -> Vec<RowNumber> {
        let Some(snapshot) = self.index.frozen.snapshot() else { return Vec::new() };
        let numbers = list.then.iter().chain(list.since).filter(|&&number| self.admits(number));
        let places = numbers.filter_map(|&number| snapshot.place(number));
        let mut rows: Vec<_> =
            places.filter(|&(dimension, _)| dimension == column.dimension()).map(|(_, row)| row).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Which part of the rows is admitted, by a sample; never none.
    fn admitted_share(&self, column: &Column<'_>) -> f32 {
        if self.filter.admits_all() {
            let frozen = &self.index.frozen;
            return frozen.len() as f32 / frozen.limit() as f32;
        }
        let step = (column.rows() / SAMPLE).max(1);
        let sample = (0..column.rows()).step_by(step).take(SAMPLE);
        let admitted = sample.clone().filter(|&row| self.admits_row(column, row as RowNumber)).count();
        ((admitted as f32 + 0.5) / (sample.count() as f32 + 0.5)).min(1.0)
    }

    fn among(&self, column: &Column<'_>, among: Among<'_>) -> Result<Best, IndexError> {
        let mut best = self.none_yet(column);
        self.scan(column.rounded(), column).nearest(
            among,
            |row| self.admits_row(column, row),
            |row, similarity| self.offer_owners(column, row, similarity, &mut best),
        )?;
        Ok(best)
    }

    /// Walks the graph, and scans the rows that no walk comes to.
    fn walk(&self, column: &Column<'_>, graph: &Graph<'_>, width: usize) -> Result<Best, IndexError> {
        let rows = Rows::new(column.rounded(), &[]);
        let probe = Probe::of(self.query);
        let mut best = match graph.strays {
            [] => self.none_yet(column),
            strays => self.among(column, Among::These(strays))?,
        };
        let enough = self.k.min(column.rows()).saturating_sub(best.len());
        let ranked = self.index.with_room(|room| {
            let walk = Walk { links: graph, rows: &rows };
            let start = walk.descend(&probe, 0, room);
            walk.best_first(0, &probe, start, None, width, room);
            // From the layers above, a walk may come to a stray after all.
            let found = room.found().filter(|(row, _)| graph.strays.binary_search(row).is_err());
            self.rank(column, found.filter(|&(row, _)| self.admits_row(column, row)), &mut best)
        })?;
        if ranked < enough {
            // The filter left less on the way than the sample promised.
            return self.among(column, Among::All);
        }
        Ok(best)
    }

    /// Orders what a walk found by codes in full precision, as far as the next could still come among the nearest. Answers
    /// how many were looked at.
    fn rank(
        &self,
        column: &Column<'_>,
        found: impl Iterator<Item = (RowNumber, f32)>,
        best: &mut Best,
    ) -> Result<usize, IndexError> {
        let rounded = column.rounded();
        let mut exact = KthLargest::new(self.k);
        let mut buffer = Vec::new();
        let mut ranked = 0;
        for (row, approximate) in found {
            let at = row as usize;
            let (Some(&residual), Some(&norm)) = (rounded.residuals.get(at), rounded.norms.get(at)) else {
                continue;
            };
            if !exact.admits(approximate + self.query.likely_error(residual, norm)) {
                break;
            }
            let row_exactly = column.exact(row, &mut buffer)?;
            let similarity = similarity(self.index.config.metric, row_exactly, self.query.exact.as_slice());
            exact.offer(similarity);
            self.offer_owners(column, row, similarity, best);
            ranked += 1;
        }
        Ok(ranked)
    }

    fn scan<'s, R>(&'s self, rounded: Rounded<'s>, rows: &'s R) -> Scan<'s, R> {
        Scan { rounded, rows, metric: self.index.config.metric, query: self.query, k: self.k }
    }

    fn none_yet(&self, column: &Column<'_>) -> Best {
        Best::new(self.k, column.signatures())
    }

    fn offer_owners(&self, column: &Column<'_>, row: RowNumber, similarity: f32, best: &mut Best) {
        if !best.wants(similarity) {
            return;
        }
        for &owner in column.owners(row) {
            if self.admits(owner)
                && let Some(&id) = self.index.id(owner)
            {
                best.offer(Neighbour { id, similarity });
            }
        }
    }

    fn admits_row(&self, column: &Column<'_>, row: RowNumber) -> bool {
        if self.filter.admits_all() && self.index.frozen.gone() == 0 {
            return true;
        }
        column.owners(row).iter().any(|&owner| self.admits(owner))
    }

    /// Whether a memory of the snapshot is still there and admitted.
    fn admits(&self, number: EntryNumber) -> bool {
        let Some(snapshot) = self.index.frozen.snapshot() else { return false };
        self.index.frozen.holds(number)
            && self.filter.recallable.is_none_or(|recallable| recallable == snapshot.recallable(number))
            && self.frozen_kind.is_none_or(|kind| snapshot.type_of(number) == Some(kind))
            && self.filter.context.as_ref().is_none_or(|context| {
                // The snapshot's members are ascending.
                self.of_context.is_some_and(|members| members.then.binary_search(&number).is_ok())
                    || self.index.was_added(number, context)
            })
    }
}
