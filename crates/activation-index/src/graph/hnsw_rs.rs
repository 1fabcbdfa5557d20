//! The graph as the crate `hnsw_rs` links it, in our arrays. To compare with: what it takes and how well it is searched are in
//! `docs/src/measurements/index.md`. It compares by the same codes as we do, so that the difference is the linking.

use std::cell::RefCell;

use hnsw_rs::prelude::{Distance, Hnsw};

use super::build::{Arrays, WIDTH};
use super::{BASE_LINKS, LINKS, MAX_LEVEL, NO_LINK, Probe, Rows};
use crate::column::RowNumber;

/// `hnsw_rs` is given the numbers of rows for vectors, and this to compare them.
struct ByNumber<'r> {
    rows: Rows<'r>,
    /// No two rows are more alike.
    most: f32,
}

impl Distance<RowNumber> for ByNumber<'_> {
    fn eval(&self, a: &[RowNumber], b: &[RowNumber]) -> f32 {
        thread_local!(static ROOM: RefCell<(Probe, Vec<i32>)> = RefCell::new((Probe::with_stride(0), Vec::new())));
        let mut distance = f32::MAX;
        ROOM.with_borrow_mut(|(probe, products)| {
            if probe.codes.stride() != self.rows.stride {
                *probe = Probe::with_stride(self.rows.stride);
            }
            probe.become_row(&self.rows, a[0]);
            self.rows.scores(probe, b, products, |_, score| distance = (self.most - score).max(0.0));
        });
        distance
    }
}

/// Links all rows on all cores. As [`Builder::build`](super::build::Builder::build) without an older graph and with no row
/// apart; how many threads work is rayon's to say.
pub(crate) fn build(rows: Rows<'_>) -> Arrays {
    let numbers: Vec<Vec<RowNumber>> = (0..rows.len() as u32).map(|row| vec![row]).collect();
    let mut probe = Probe::with_stride(rows.stride);
    let mut products = Vec::new();
    let mut most = 0.0_f32;
    for row in &numbers {
        probe.become_row(&rows, row[0]);
        rows.scores(&probe, row, &mut products, |_, score| most = most.max(score));
    }
    let hnsw = Hnsw::new(LINKS, rows.len(), MAX_LEVEL as usize + 1, WIDTH, ByNumber { rows, most });
    hnsw.parallel_insert(&numbers.iter().zip(0..).collect::<Vec<_>>());

    let mut lists: Vec<Vec<Vec<u32>>> = vec![Vec::new(); rows.len()];
    let (mut entry, mut top) = (0, 0);
    for point in hnsw.get_point_indexation() {
        let (row, level) = (point.get_origin_id(), u32::from(point.get_point_id().0));
        if level >= top {
            (entry, top) = (row as RowNumber, level);
        }
        let layers = point.get_neighborhood_id();
        lists[row] =
            layers[..=level as usize].iter().map(|l| l.iter().map(|n| n.d_id as u32).collect()).collect();
    }
    let padded = |list: &[u32], room| {
        list.iter().copied().chain(std::iter::repeat(NO_LINK)).take(room).collect::<Vec<_>>()
    };
    let mut arrays =
        Arrays { base: Vec::new(), upper_at: vec![0], upper: Vec::new(), entry, top, strays: Vec::new() };
    for layers in &lists {
        let (base, upper) = layers.split_first().map_or((&[][..], &[][..]), |(base, upper)| (base, upper));
        arrays.base.extend(padded(base, BASE_LINKS));
        arrays.upper.extend(upper.iter().flat_map(|list| padded(list, LINKS)));
        arrays.upper_at.push((arrays.upper.len() / LINKS) as u32);
    }
    arrays
}
