//! The exact search: compares with every row, or every row that is named, by codes first; what the codes leave open is
//! decided in full precision. How far codes can be off is known for every row, so the answer is that of a search in full
//! precision.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::column::{ExactRows, Rounded, RowNumber};
use crate::config::Metric;
use crate::error::IndexError;
use crate::kernel::Kernel;
use crate::vector::{Query, similarity};

/// Rows that are compared before their products are looked at: they fit into the first-level cache.
const BLOCK: usize = 1024;

/// Which rows to compare with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Among<'r> {
    All,
    These(&'r [RowNumber]),
}

/// A search of one column for the `k` rows most like a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'s, R> {
    pub(crate) rounded: Rounded<'s>,
    pub(crate) rows: &'s R,
    pub(crate) metric: Metric,
    pub(crate) query: &'s Query,
    pub(crate) k: usize,
}

impl<R: ExactRows> Scan<'_, R> {
    /// Calls `found` with every row that may be among the nearest (and with few others), and its similarity. Rows that
    /// `admits` denies do not count.
    pub(crate) fn nearest(
        &self,
        among: Among<'_>,
        mut admits: impl FnMut(RowNumber) -> bool,
        mut found: impl FnMut(RowNumber, f32),
    ) -> Result<(), IndexError> {
        let Self { rounded, query, k, .. } = self;
        if *k == 0 {
            return Ok(());
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        // The k-th best of what rows reach at least: whatever stays below it at best is out.
        let mut floor = KthLargest::new(*k);
        each_product(rounded, query, among, |row, product| {
            let at = row as usize;
            let (Some(&scale), Some(&residual), Some(&norm)) =
                (rounded.scales.get(at), rounded.residuals.get(at), rounded.norms.get(at))
            else {
                return;
            };
            let approximate = product as f32 * scale * query.rounding.scale;
            let bound = query.error_bound(residual, norm);
            let at_best = approximate + bound;
            if floor.admits(at_best) && admits(row) {
                floor.offer(approximate - bound);
                candidates.push(Candidate { at_best, row });
            }
        });

        candidates.retain(|candidate| floor.admits(candidate.at_best));
        candidates.sort_unstable_by(|a, b| b.at_best.total_cmp(&a.at_best).then(a.row.cmp(&b.row)));
        let mut exact = KthLargest::new(*k);
        let mut buffer = Vec::new();
        for Candidate { at_best, row } in candidates {
            if !exact.admits(at_best) {
                break;
            }
            let similarity =
                similarity(self.metric, self.rows.exact(row, &mut buffer)?, query.exact.as_slice());
            exact.offer(similarity);
            found(row, similarity);
        }
        Ok(())
    }
}

struct Candidate {
    /// Its similarity is at most this.
    at_best: f32,
    row: RowNumber,
}

/// Calls `visit` with the integer product of each row.
fn each_product(
    rounded: &Rounded<'_>,
    query: &Query,
    among: Among<'_>,
    mut visit: impl FnMut(RowNumber, i32),
) {
    let kernel = Kernel::best();
    let mut products = vec![0; BLOCK];
    match among {
        Among::All => {
            for (block, codes) in rounded.codes.chunks(BLOCK * rounded.stride).enumerate() {
                let products = &mut products[..codes.len() / rounded.stride];
                kernel.scan(codes, &query.codes, products);
                for (i, &product) in products.iter().enumerate() {
                    visit((block * BLOCK + i) as RowNumber, product);
                }
            }
        }
        Among::These(rows) => {
            for block in rows.chunks(BLOCK) {
                kernel.gather(rounded.codes, &query.codes, block, &mut products);
                for (&row, &product) in block.iter().zip(&products) {
                    visit(row, product);
                }
            }
        }
    }
}

/// The k-th largest of the numbers offered.
pub(crate) struct KthLargest {
    k: usize,
    largest: BinaryHeap<Reverse<Ordered>>,
}

impl KthLargest {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, largest: BinaryHeap::new() }
    }

    /// Whether a number may be among the k largest; one that equals the k-th may.
    pub(crate) fn admits(&self, number: f32) -> bool {
        self.largest.len() < self.k
            || self.largest.peek().is_none_or(|Reverse(Ordered(smallest))| number >= *smallest)
    }

    pub(crate) fn offer(&mut self, number: f32) {
        if self.largest.len() < self.k {
            self.largest.push(Reverse(Ordered(number)));
        } else if let Some(mut smallest) = self.largest.peek_mut()
            && number > smallest.0.0
        {
            *smallest = Reverse(Ordered(number));
        }
    }
}

/// A number ordered as by [`f32::total_cmp`].
#[derive(PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
