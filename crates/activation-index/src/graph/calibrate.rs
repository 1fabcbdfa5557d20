//! How wide a search has to be for the recall that is asked for, and what it costs on this machine: measured on the graph
//! itself, when it has been built. Queries are rows that are hidden from the search, as if they were not there.

use std::time::Instant;

use super::search::{Scratch, Walk};
use super::{Graph, Links, Probe, Rows};
use crate::column::RowNumber;

/// Queries that are tried.
const QUERIES: usize = 128;

/// Neighbours that should be found: recall at 10.
pub(crate) const NEIGHBOURS: usize = 10;

/// Widths that are tried.
const WIDTHS: [u32; 14] = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048];

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Calibration {
    /// The recall that was asked for.
    pub(crate) recall: f32,
    /// Candidates that a search has to keep.
    pub(crate) width: u32,
    /// Rows that a search of this width compares with, on average.
    pub(crate) compared: f32,
    /// Nanoseconds to compare with one row, one after the other.
    pub(crate) scan_ns: f32,
    /// Nanoseconds to compare with one row on a walk.
    pub(crate) walk_ns: f32,
}

impl Calibration {
    /// Numbers that can be calculated with, whatever was read.
    pub(crate) fn made_sane(self) -> Self {
        let sane =
            |number: f32, otherwise: f32| if (1e-3..1e9).contains(&number) { number } else { otherwise };
        Self {
            recall: if (0.0..=1.0).contains(&self.recall) { self.recall } else { 0.0 },
            width: self.width.clamp(1, 1 << 20),
            compared: sane(self.compared, 1000.0),
            scan_ns: sane(self.scan_ns, 15.0),
            walk_ns: sane(self.walk_ns, 40.0),
        }
    }
}

/// Measures a finished graph.
pub(crate) fn calibrate(graph: &Graph<'_>, rows: &Rows<'_>, recall: f32) -> Calibration {
    let step = (rows.len() / QUERIES).max(1);
    let queries: Vec<RowNumber> = (0..rows.len()).step_by(step).take(QUERIES).map(|row| row as u32).collect();
    let mut probe = Probe::with_stride(rows.stride);
    let mut scratch = Scratch::default();
    let walk = Walk { links: graph, rows };

    let started = Instant::now();
    let truth: Vec<_> = queries.iter().map(|&query| nearest(rows, &mut probe, query)).collect();
    let scan_ns = started.elapsed().as_nanos() as f32 / (queries.len() * rows.len()) as f32;

    let mut measured = Calibration { recall, width: 0, compared: 0.0, scan_ns, walk_ns: 0.0 };
    for width in WIDTHS {
        scratch.compared = 0;
        let mut hits = 0;
        let started = Instant::now();
        for (&query, truth) in queries.iter().zip(&truth) {
            probe.become_row(rows, query);
            probe.lift = 0.0;
            let start = Some(walk.descend(&probe, 0, &mut scratch)).filter(|&start| start != query);
            let start = start.unwrap_or_else(|| graph.entry().0);
            walk.best_first(0, &probe, start, Some(query), width as usize, &mut scratch);
            let found = scratch.found().take(NEIGHBOURS);
            hits += found.filter(|&(row, score)| truth.holds(row, score)).count().min(truth.count);
        }
        let took_ns = started.elapsed().as_nanos() as f32;
        measured.width = width;
        measured.compared = scratch.compared as f32 / queries.len() as f32;
        measured.walk_ns = took_ns / scratch.compared.max(1) as f32;
        let all: usize = truth.iter().map(|truth| truth.count).sum();
        if hits as f32 >= recall * all as f32 {
            break;
        }
    }
    measured.made_sane()
}

/// The nearest of a row, without itself.
struct Truth {
    count: usize,
    /// The least similar of them. What is as similar is as good.
    least: f32,
    query: RowNumber,
}

impl Truth {
    fn holds(&self, row: RowNumber, score: f32) -> bool {
        row != self.query && score >= self.least
    }
}

fn nearest(rows: &Rows<'_>, probe: &mut Probe, query: RowNumber) -> Truth {
    const BLOCK: usize = 1024;
    probe.become_row(rows, query);
    // As a query is searched for: without its lift.
    probe.lift = 0.0;
    let mut products = vec![0; BLOCK];
    let mut best: Vec<f32> = Vec::with_capacity(NEIGHBOURS + 1);
    for (block, codes) in rows.codes.chunks(BLOCK * rows.stride).enumerate() {
        let products = &mut products[..codes.len() / rows.stride];
        rows.kernel.scan(codes, &probe.codes, products);
        for (i, &product) in products.iter().enumerate() {
            let row = block * BLOCK + i;
            let score = product as f32 * (probe.scale * rows.scales[row]);
            if row as u32 != query
                && (best.len() < NEIGHBOURS || best.last().is_none_or(|&least| score > least))
            {
                let at = best.partition_point(|&other| other >= score);
                best.insert(at, score);
                best.truncate(NEIGHBOURS);
            }
        }
    }
    Truth { count: best.len(), least: best.last().copied().unwrap_or_default(), query }
}
