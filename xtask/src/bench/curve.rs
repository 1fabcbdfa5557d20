//! Recall against speed: what a search finds, how fast, and reading one at a given other.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

/// One setting of a search.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Point {
    /// How many candidates the search keeps: what peers call ef. None where the index chooses.
    pub(super) width: Option<u32>,
    /// The share of the true nearest that was found.
    pub(super) recall: f64,
    pub(super) queries_per_s: f64,
}

/// Settings of one index, from few candidates to many.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

impl Curve {
    /// Queries per second where recall reaches a value: between two settings, on a straight line from the logarithm of
    /// 1 - recall to the logarithm of the speed. The narrowest setting's own speed if that finds as much already; none if the
    /// widest does not.
    pub(super) fn at_recall(&self, wanted: f64) -> Option<f64> {
        let reached = self.points.iter().position(|point| point.recall >= wanted)?;
        let above = self.points[reached];
        let Some(below) = reached.checked_sub(1).map(|before| self.points[before]) else {
            return Some(above.queries_per_s);
        };
        // What is missed, floored where nothing is: a hit more or less cannot be told apart there.
        let depth = |recall: f64| -(1.0 - recall).max(1e-6).ln();
        let share = (depth(wanted) - depth(below.recall)) / (depth(above.recall) - depth(below.recall));
        let (slow, fast) = (above.queries_per_s.ln(), below.queries_per_s.ln());
        Some((fast + share * (slow - fast)).exp())
    }
}

/// The true nearest of every query.
#[derive(Debug)]
pub(super) struct Truth {
    nearest: Vec<u32>,
    k: usize,
}

impl Truth {
    /// Reads what `dataset.py` wrote: for each query `k` little-endian numbers.
    pub(super) fn read(path: &Path, k: usize) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let nearest: Vec<u32> = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect();
        ensure!(!nearest.is_empty() && nearest.len().is_multiple_of(k), "{} is cut short", path.display());
        Ok(Self { nearest, k })
    }

    /// The share of the true nearest among the answers, which are a list for each query.
    pub(super) fn recall(&self, answers: &Value) -> Result<f64> {
        let answers = answers.as_array().context("no answers were given")?;
        ensure!(answers.len() * self.k == self.nearest.len(), "{} queries were answered", answers.len());
        let mut found = 0;
        for (answer, nearest) in answers.iter().zip(self.nearest.chunks_exact(self.k)) {
            let answer = answer.as_array().context("an answer is no list")?;
            ensure!(answer.len() <= self.k, "{} neighbours where {} were wanted", answer.len(), self.k);
            let is_answer =
                |wanted: &&u32| answer.iter().any(|given| given.as_u64() == Some(u64::from(**wanted)));
            found += nearest.iter().filter(is_answer).count();
        }
        Ok(found as f64 / self.nearest.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn curve(points: &[(f64, f64)]) -> Curve {
        let point = |&(recall, queries_per_s): &(f64, f64)| Point { width: Some(1), recall, queries_per_s };
        Curve { name: "x".to_owned(), points: points.iter().map(point).collect() }
    }

    #[test]
    fn speed_at_a_recall_lies_between_the_settings_around_it() {
        let curve = curve(&[(0.9, 10_000.0), (0.99, 1_000.0), (0.999, 100.0)]);
        let speed = |recall| curve.at_recall(recall).unwrap();
        assert!((speed(0.99) - 1_000.0).abs() < 1e-6);
        // Halfway in the logarithm of what is missed is halfway in the logarithm of speed.
        assert!((speed(1.0 - 10_f64.powf(-1.5)) - 10_f64.powf(3.5)).abs() < 1e-6);
        assert!(speed(0.95) < 10_000.0 && speed(0.95) > 1_000.0);
    }

    #[test]
    fn a_recall_below_all_settings_has_the_narrowest_ones_speed_and_one_above_all_has_none() {
        let curve = curve(&[(0.97, 5_000.0), (1.0, 50.0)]);
        assert_eq!(curve.at_recall(0.95), Some(5_000.0));
        assert!(curve.at_recall(0.999).is_some_and(|speed| speed > 50.0 && speed < 5_000.0));
        assert_eq!(self::curve(&[(0.94, 5_000.0)]).at_recall(0.95), None);
    }

    #[test]
    fn recall_counts_the_true_nearest_in_whatever_order() {
        let truth = Truth { nearest: vec![1, 2, 3, 4], k: 2 };
        let recall = |answers| truth.recall(&answers);
        assert!((recall(json!([[2, 1], [3, 9]])).unwrap() - 0.75).abs() < 1e-12);
        assert!((recall(json!([[], [3]])).unwrap() - 0.25).abs() < 1e-12);
        assert!(recall(json!([[1, 2]])).is_err(), "a query without an answer");
        assert!(recall(json!([[1, 2, 3], [3, 4]])).is_err(), "more than were wanted");
    }
}
