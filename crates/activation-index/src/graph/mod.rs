//! A hierarchical navigable small world: rows linked to rows like them, so that a search walks to the nearest instead of
//! comparing with all (Malkov and Yashunin 2016, <https://arxiv.org/abs/1603.09320>).
//!
//! Every row is in the base layer; each layer above holds a sixteenth of the one below, and is a shortcut to where the
//! search of the base layer begins. Links are numbers in flat arrays, so that a snapshot of a graph is the graph.
//!
//! - [`search`]: walks a graph, finished or growing.
//! - [`build`]: grows one, from nothing or from an older one.
//! - `hnsw_rs`: the same by the crate of that name, to compare with.
//! - [`calibrate`]: measures how wide a search has to be, and what it costs.

pub(crate) mod build;
pub(crate) mod calibrate;
#[cfg(feature = "hnsw_rs")]
pub(crate) mod hnsw_rs;
pub(crate) mod search;

#[cfg(test)]
mod tests;

use crate::column::{Rounded, RowNumber};
use crate::kernel::{IntQuery, Kernel};
use crate::vector::Query;

/// Links of a row in each layer but the base; what the paper calls M.
pub(crate) const LINKS: usize = 16;

/// Links of a row in the base layer.
pub(crate) const BASE_LINKS: usize = 2 * LINKS;

/// Stands where a row has fewer links than room.
pub(crate) const NO_LINK: u32 = u32::MAX;

/// No row has this bit: a search marks candidates with it.
pub(crate) const MAX_ROWS: usize = 1 << 31;

/// The highest layer that a row can be in. A seventeenth would need more rows than there are numbers for.
const MAX_LEVEL: u32 = 7;

/// Where rows lead.
pub(crate) trait Links {
    /// Calls `visit` with each row that `row` is linked to in a layer; 0 is the base.
    fn each(&self, layer: usize, row: RowNumber, visit: impl FnMut(RowNumber));

    /// Tells the processor that the links of `row` in the base layer will be asked for.
    fn prefetch(&self, row: RowNumber);

    /// Where a search begins, and the layer that it begins in.
    fn entry(&self) -> (RowNumber, usize);
}

/// A finished graph. Whatever it holds, walking it neither panics nor leaves the arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Graph<'g> {
    /// [`BASE_LINKS`] for each row.
    pub(crate) base: &'g [u32],
    /// For each row, and one beyond, the number of lists in `upper` before its own.
    pub(crate) upper_at: &'g [u32],
    /// Lists of [`LINKS`]; those of a row follow each other from layer 1 on.
    pub(crate) upper: &'g [u32],
    pub(crate) entry: RowNumber,
    pub(crate) top: u32,
    /// Rows that no walk comes to.
    pub(crate) strays: &'g [u32],
}

impl Links for Graph<'_> {
    #[inline]
    fn each(&self, layer: usize, row: RowNumber, visit: impl FnMut(RowNumber)) {
        let row = row as usize;
        let list = if layer == 0 {
            self.base.get(row * BASE_LINKS..(row + 1) * BASE_LINKS)
        } else {
            let lists = self.upper_at.get(row).zip(self.upper_at.get(row + 1));
            lists.and_then(|(&first, &end)| {
                let at = first as usize + layer - 1;
                (at < end as usize).then(|| self.upper.get(at * LINKS..(at + 1) * LINKS)).flatten()
            })
        };
        list.unwrap_or_default().iter().copied().take_while(|&link| link != NO_LINK).for_each(visit);
    }

    fn prefetch(&self, row: RowNumber) {
        if let Some(list) = self.base.get(row as usize * BASE_LINKS..) {
            crate::kernel::prefetch_list(list);
        }
    }

    fn entry(&self) -> (RowNumber, usize) {
        (self.entry, self.top.min(MAX_LEVEL) as usize)
    }
}

/// The layer up to which a row is linked. It follows from the row's key, so that it is the same in every graph.
pub(crate) fn level(key: u64) -> u32 {
    // SplitMix64's finaliser: the key's bits, evenly spread.
    let mut bits = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    // Each four zeros are one layer: a sixteenth of the rows.
    (bits.trailing_zeros() / LINKS.ilog2()).min(MAX_LEVEL)
}

/// What a walk compares: the codes of all rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'r> {
    kernel: Kernel,
    codes: &'r [u8],
    scales: &'r [f32],
    stride: usize,
    /// One more element of each row; see [`lifts`]. Empty where the length of rows does not matter, or not now.
    lifts: &'r [f32],
}

impl<'r> Rows<'r> {
    pub(crate) fn new(rounded: Rounded<'r>, lifts: &'r [f32]) -> Self {
        let Rounded { stride, codes, scales, .. } = rounded;
        Self { kernel: Kernel::best(), codes, scales, stride, lifts }
    }

    pub(crate) fn len(&self) -> usize {
        self.scales.len()
    }

    /// Calls `visit` with how alike each of `numbers` is to the probe. A number that is no row's is left out.
    #[inline]
    fn scores(
        &self,
        probe: &Probe,
        numbers: &[RowNumber],
        products: &mut Vec<i32>,
        mut visit: impl FnMut(RowNumber, f32),
    ) {
        self.kernel.gather(self.codes, &probe.codes, numbers, products);
        for (&row, &product) in numbers.iter().zip(products.iter()) {
            let Some(&scale) = self.scales.get(row as usize) else { continue };
            let mut score = product as f32 * (probe.scale * scale);
            if let Some(lift) = self.lifts.get(row as usize) {
                score += probe.lift * lift;
            }
            visit(row, score);
        }
    }
}

/// What rows are compared with: a query, or one of them.
#[derive(Debug)]
pub(crate) struct Probe {
    codes: IntQuery,
    scale: f32,
    lift: f32,
}

impl Probe {
    pub(crate) fn of(query: &Query) -> Self {
        Self { codes: query.codes.clone(), scale: query.rounding.scale, lift: 0.0 }
    }

    fn with_stride(stride: usize) -> Self {
        Self { codes: IntQuery::with_stride(stride), scale: 0.0, lift: 0.0 }
    }

    fn become_row(&mut self, rows: &Rows<'_>, row: RowNumber) {
        let at = row as usize;
        self.codes.fill_from_row(&rows.codes[at * rows.stride..][..rows.stride]);
        self.scale = rows.scales[at];
        self.lift = rows.lifts.get(at).copied().unwrap_or_default();
    }
}

/// The largest inner product is not the nearest vector, unless all have one length. One more element, the lift, gives them
/// one: √(L² − ‖x‖²), with L the greatest length; queries have 0 there (Bachrach et al. 2014, "Speeding up the Xbox
/// recommender system"). Links are made among the lifted rows. Nothing if all have about the same length.
pub(crate) fn lifts(norms: &[f32]) -> Vec<f32> {
    let (least, greatest) =
        norms.iter().fold((f32::INFINITY, 0.0_f32), |(least, greatest), &n| (least.min(n), greatest.max(n)));
    if greatest - least <= 1e-4 * greatest {
        return Vec::new();
    }
    let lift = |norm: f32| (f64::from(greatest).powi(2) - f64::from(norm).powi(2)).max(0.0).sqrt() as f32;
    norms.iter().map(|&norm| lift(norm)).collect()
}
