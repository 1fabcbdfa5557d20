//! Walking a graph. A search keeps the best candidates it has seen in one sorted array, and goes on from the best that it
//! has not gone on from, until there is none: the wider the array, the surer the answer.

use super::{Links, Probe, Rows};
use crate::bits::Bits;
use crate::column::RowNumber;

/// What a walk needs room for. Kept from one to the next, so that none allocates.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    seen: Bits,
    /// The best seen, the most alike first.
    pool: Vec<Candidate>,
    batch: Vec<RowNumber>,
    products: Vec<i32>,
    /// Rows compared with since the room was made; what calibration counts.
    pub(crate) compared: u64,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    score: f32,
    /// Its row, with [`WALKED`] if the walk went on from it.
    tagged: u32,
}

/// The highest bit of a candidate. Rows have smaller numbers: [`super::MAX_ROWS`].
const WALKED: u32 = 1 << 31;

impl Scratch {
    /// What the last walk found, the most alike first.
    pub(crate) fn found(&self) -> impl ExactSizeIterator<Item = (RowNumber, f32)> {
        self.pool.iter().map(|candidate| (candidate.tagged & !WALKED, candidate.score))
    }

    /// Puts a candidate where it belongs, and drops the last if there are more than `width`. Answers where.
    fn offer(&mut self, row: RowNumber, score: f32, width: usize) -> Option<usize> {
        if self.pool.len() >= width {
            if self.pool.last().is_none_or(|last| score <= last.score) {
                return None;
            }
            self.pool.pop();
        }
        let at = self.pool.partition_point(|candidate| candidate.score >= score);
        self.pool.insert(at, Candidate { score, tagged: row });
        Some(at)
    }
}

/// A graph and the rows that it links: what a walk goes through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'w, L> {
    pub(crate) links: &'w L,
    pub(crate) rows: &'w Rows<'w>,
}

impl<L: Links> Walk<'_, L> {
    /// From the entry down to layer `to`, always to the most alike. Answers the row where the search of that layer may
    /// begin.
    pub(crate) fn descend(&self, probe: &Probe, to: usize, scratch: &mut Scratch) -> RowNumber {
        let (mut here, top) = self.links.entry();
        let Scratch { batch, products, compared, .. } = scratch;
        let mut best = f32::NEG_INFINITY;
        self.rows.scores(probe, &[here], products, |_, score| best = score);
        for layer in (to + 1..=top).rev() {
            loop {
                batch.clear();
                self.links.each(layer, here, |row| batch.push(row));
                *compared += batch.len() as u64;
                let before = here;
                self.rows.scores(probe, batch, products, |row, score| {
                    if score > best {
                        (best, here) = (score, row);
                    }
                });
                if here == before {
                    break;
                }
            }
        }
        here
    }

    /// Searches one layer from `start` for the `width` rows most like the probe. They are in [`Scratch::found`] afterwards.
    /// `hidden` is a row that is not to be found, nor gone on from.
    pub(crate) fn best_first(
        &self,
        layer: usize,
        probe: &Probe,
        start: RowNumber,
        hidden: Option<RowNumber>,
        width: usize,
        scratch: &mut Scratch,
    ) {
        scratch.seen.reset(self.rows.len());
        scratch.pool.clear();
        scratch.seen.insert(start);
        hidden.map(|row| scratch.seen.insert(row));
        let mut products = std::mem::take(&mut scratch.products);
        let mut batch = std::mem::take(&mut scratch.batch);
        self.rows.scores(probe, &[start], &mut products, |row, score| {
            scratch.offer(row, score, width);
        });
        // Candidates before this were all walked on from.
        let mut next = 0;
        while let Some(candidate) = scratch.pool.get_mut(next) {
            if candidate.tagged & WALKED != 0 {
                next += 1;
                continue;
            }
            let here = candidate.tagged;
            candidate.tagged |= WALKED;
            batch.clear();
            self.links.each(layer, here, |row| {
                if scratch.seen.insert(row) {
                    batch.push(row);
                }
            });
            scratch.compared += batch.len() as u64;
            // Likely the next to go on from, unless something better is found here.
            if let Some(candidate) = scratch.pool.get(next + 1) {
                self.links.prefetch(candidate.tagged & !WALKED);
            }
            let mut first_new = usize::MAX;
            self.rows.scores(probe, &batch, &mut products, |row, score| {
                if let Some(at) = scratch.offer(row, score, width)
                    && at < first_new
                {
                    first_new = at;
                    if at <= next {
                        self.links.prefetch(row);
                    }
                }
            });
            next = first_new.min(next + 1);
        }
        scratch.products = products;
        scratch.batch = batch;
    }
}
