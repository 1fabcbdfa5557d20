//! Whether memory in use grows over a run: a robust slope, which a few wild values do not move.

use serde::{Deserialize, Serialize};

/// Fewer values than this say nothing.
const FEWEST: usize = 5;
/// More than this are thinned out evenly: pairs are compared with each other.
const MOST: usize = 256;

/// How memory in use grew from the first out-of-memory error to the last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Growth {
    /// How much it grew, in bytes: the median slope (Theil–Sen) times the tests in between. 0 if it did not.
    pub bytes: u64,
    /// Over so many tests.
    pub tests: u64,
    /// The share of all pairs of errors of which the later one had more in use, from 0 to 1.
    pub steadiness: f64,
    /// What was in use at the last one, in bytes.
    pub last_bytes: u64,
}

impl Growth {
    /// From `(position of the test, bytes in use)`, in the order of the positions. `None` if there are fewer than five, or all
    /// at one position.
    ///
    /// ```
    /// use oom_forensics::Growth;
    ///
    /// let growth = Growth::of(&[(0, 100), (10, 200), (20, 300), (30, 9), (40, 500)]).unwrap();
    /// assert_eq!((growth.bytes, growth.tests), (400, 40));
    /// ```
    #[must_use]
    pub fn of(in_use: &[(u64, u64)]) -> Option<Self> {
        let step = in_use.len().div_ceil(MOST).max(1);
        let mut thin: Vec<(u64, u64)> = in_use.iter().copied().step_by(step).collect();
        thin.sort_unstable_by_key(|value| value.0);
        let (first, last) = (thin.first()?, thin.last()?);
        let tests = last.0 - first.0;
        if thin.len() < FEWEST || tests == 0 {
            return None;
        }
        let mut slopes = Vec::with_capacity(thin.len() * thin.len() / 2);
        let mut grew = 0_usize;
        for (at, (early, before)) in thin.iter().enumerate() {
            for (late, after) in thin[at + 1..].iter().filter(|(late, _)| late > early) {
                slopes.push((*after as f64 - *before as f64) / (late - early) as f64);
                grew += usize::from(after > before);
            }
        }
        let steadiness = grew as f64 / slopes.len().max(1) as f64;
        let middle = slopes.len() / 2;
        let (_, slope, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
        // A negative slope saturates to 0.
        let bytes = (*slope * tests as f64) as u64;
        Some(Self { bytes, tests, steadiness, last_bytes: last.1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_wild_values_do_not_move_the_slope_and_shrinking_is_no_growth() {
        let mut values: Vec<(u64, u64)> = (0..100).map(|at| (at, 1_000 + 10 * at)).collect();
        for at in [3, 50, 77] {
            values[at].1 = 1 << 40;
        }
        let growth = Growth::of(&values).unwrap();
        assert!((980..=1_000).contains(&growth.bytes) && growth.steadiness > 0.9, "{growth:?}");
        let falling: Vec<_> = (0..10).map(|at| (at, 1_000 - at)).collect();
        assert_eq!(Growth::of(&falling).map(|growth| (growth.bytes, growth.steadiness)), Some((0, 0.0)));
        assert_eq!(Growth::of(&[(7, 1); 9]), None);
        assert_eq!(Growth::of(&values[..4]), None);
    }
}
