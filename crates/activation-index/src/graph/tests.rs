//! What every graph has to be, whatever it is grown from.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::build::{Arrays, Builder, Older};
use super::calibrate::calibrate;
use super::search::{Scratch, Walk};
use super::{BASE_LINKS, Links, NO_LINK, Probe, Rows, level, lifts};
use crate::bits::Bits;
use crate::column::Rounded;
use crate::vector::{push_codes, stride};

/// Rows of one dimension, rounded, with keys.
#[derive(Debug, Default)]
struct Column {
    dimension: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
    residuals: Vec<f32>,
    norms: Vec<f32>,
    keys: Vec<u64>,
}

impl Column {
    fn of(vectors: &[Vec<f32>]) -> Self {
        let mut column = Self { dimension: vectors.first().map_or(1, Vec::len), ..Self::default() };
        for (n, vector) in vectors.iter().enumerate() {
            let rounding = push_codes(vector, &mut column.codes);
            column.scales.push(rounding.scale);
            column.residuals.push(rounding.residual);
            column.norms.push(rounding.norm);
            column.keys.push(n as u64);
        }
        column
    }

    fn rounded(&self) -> Rounded<'_> {
        Rounded {
            stride: stride(self.dimension),
            codes: &self.codes,
            scales: &self.scales,
            residuals: &self.residuals,
            norms: &self.norms,
        }
    }

    fn grow(&self, apart: &Bits, older: Option<Older<'_>>) -> Arrays {
        let lifts = lifts(&self.norms);
        Builder::build(Rows::new(self.rounded(), &lifts), &self.keys, apart, older, 2).into_arrays()
    }
}

fn vectors(most: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
    (1..20_usize)
        .prop_flat_map(move |d| prop::collection::vec(prop::collection::vec(-3.0_f32..3.0, d), 1..most))
}

/// Links lead to other rows, each once, and every row is reached from the entry or said to be a stray.
fn is_sound(arrays: &Arrays, rows: usize, apart: &Bits) -> Result<(), TestCaseError> {
    let graph = arrays.graph();
    prop_assert_eq!(graph.base.len(), rows * BASE_LINKS);
    let (entry, top) = graph.entry();
    for row in 0..rows as u32 {
        let levels = graph.upper_at[row as usize + 1] - graph.upper_at[row as usize];
        for layer in 0..=levels as usize {
            let mut links = Vec::new();
            graph.each(layer, row, |link| links.push(link));
            prop_assert!(
                links.iter().all(|&link| link != row && (link as usize) < rows && !apart.contains(link))
            );
            prop_assert_eq!(links.iter().collect::<BTreeSet<_>>().len(), links.len());
            for link in links {
                let other = graph.upper_at[link as usize + 1] - graph.upper_at[link as usize];
                prop_assert!(other as usize >= layer, "a link in layer {} to a row below it", layer);
            }
        }
        prop_assert!(apart.contains(row) || levels as usize <= top);
    }
    let mut reached = BTreeSet::new();
    let mut to_visit = if apart.contains(entry) { Vec::new() } else { vec![entry] };
    while let Some(row) = to_visit.pop() {
        if reached.insert(row) {
            graph.each(0, row, |next| to_visit.push(next));
        }
    }
    let strays: BTreeSet<u32> = graph.strays.iter().copied().collect();
    for row in 0..rows as u32 {
        prop_assert!(reached.contains(&row) || strays.contains(&row), "row {} is lost", row);
        prop_assert!(!apart.contains(row) || strays.contains(&row));
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_graph_leads_to_every_row_or_says_that_it_does_not(
        vectors in vectors(200),
        apart in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let column = Column::of(&vectors);
        let mut set = Bits::with_limit(vectors.len());
        for index in apart {
            set.insert(index.index(vectors.len()) as u32);
        }
        is_sound(&column.grow(&set, None), vectors.len(), &set)?;
    }

    #[test]
    fn a_graph_grown_from_an_older_one_is_as_sound(
        vectors in vectors(200),
        kept in prop::collection::vec(any::<bool>(), 200),
        older in any::<prop::sample::Index>(),
    ) {
        let older = older.index(vectors.len()) + 1;
        let (before, after) = vectors.split_at(older.min(vectors.len()));
        let none = Bits::with_limit(vectors.len());
        let grown = Column::of(before).grow(&none, None);
        let mut now = Vec::new();
        let renumbered: Vec<u32> = before.iter().zip(&kept).map(|(vector, &kept)| {
            if !kept {
                return NO_LINK;
            }
            now.push(vector.clone());
            now.len() as u32 - 1
        }).collect();
        now.extend_from_slice(after);
        prop_assume!(!now.is_empty());
        // Keys belong to vectors: levels follow from them.
        let mut column = Column::of(&now);
        let mut keys: Vec<u64> = (0..before.len() as u64).zip(&kept).filter(|(_, kept)| **kept).map(|(n, _)| n).collect();
        keys.extend(before.len() as u64..vectors.len() as u64);
        column.keys = keys;
        let arrays = column.grow(&none, Some(Older { graph: grown.graph(), renumbered: &renumbered }));
        is_sound(&arrays, now.len(), &none)?;
    }

    #[test]
    fn whatever_a_graph_holds_walking_it_ends(
        vectors in vectors(60),
        junk in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..50),
    ) {
        let column = Column::of(&vectors);
        let mut arrays = column.grow(&Bits::with_limit(vectors.len()), None);
        for (at, number) in junk {
            match number % 4 {
                0 => { let at = at.index(arrays.base.len()); arrays.base[at] = number / 4; }
                1 => { let at = at.index(arrays.base.len()); arrays.base[at] = number % 64; }
                2 => { let at = at.index(arrays.upper_at.len()); arrays.upper_at[at] = number / 4; }
                _ => { arrays.entry = number / 4; arrays.top = number; }
            }
        }
        let rows = Rows::new(column.rounded(), &[]);
        let graph = arrays.graph();
        let walk = Walk { links: &graph, rows: &rows };
        let mut probe = Probe::with_stride(stride(column.dimension));
        probe.become_row(&rows, 0);
        let mut scratch = Scratch::default();
        let start = walk.descend(&probe, 0, &mut scratch);
        walk.best_first(0, &probe, start, None, 16, &mut scratch);
        prop_assert!(scratch.found().all(|(row, _)| (row as usize) < vectors.len()));
    }
}

#[test]
fn a_sixteenth_of_the_rows_is_in_each_layer_above() {
    let count = |least| (0..100_000_u64).filter(|&key| level(key) >= least).count();
    assert!((5_900..6_600).contains(&count(1)), "{}", count(1));
    assert!((300..500).contains(&count(2)), "{}", count(2));
}

#[test]
fn calibration_finds_a_width_that_reaches_the_recall() {
    let vectors: Vec<Vec<f32>> = (0..500_u32)
        .map(|n| (0..8_u32).map(|i| ((n * 31 + i * 17) % 97) as f32 - 48.0 + (n % 7) as f32 * 0.1).collect())
        .collect();
    let column = Column::of(&vectors);
    let arrays = column.grow(&Bits::with_limit(vectors.len()), None);
    let rows = Rows::new(column.rounded(), &[]);
    let low = calibrate(&arrays.graph(), &rows, 0.5);
    let high = calibrate(&arrays.graph(), &rows, 0.999);
    assert!(low.width <= high.width && low.compared <= high.compared, "{low:?} {high:?}");
    assert!(high.compared > 10.0 && high.width >= 16);
}
