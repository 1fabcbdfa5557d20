//! Whether memory in use grows from test to test: the slope of Theil and Sen, which a few wild values do not move, with the
//! confidence interval that Sen derives from Kendall's rank statistic.
//!
//! P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968), 1379–1389; the variance with
//! ties is that of M. G. Kendall, "Rank Correlation Methods" (1955).

use crate::report::Accumulation;

/// Fewer tests than this say nothing: with four even a steady rise is no surprise (1 in 24).
const FEWEST: usize = 5;
/// More than this are thinned out evenly: all pairs are compared.
const MOST: usize = 512;
/// The two-sided 95 % quantile of the normal distribution.
const QUANTILE: f64 = 1.959_964;
/// Gains below two of the driver's pages (2 MiB each) are not looked at.
const LEAST_GAIN_BYTES: f64 = (4_u64 << 20) as f64;
/// The median absolute deviation of normal noise, times this, is its standard deviation.
const DEVIATION: f64 = 1.4826;
/// A gain is more than noise from so many standard deviations on.
const NOISE: f64 = 3.0;

impl Accumulation {
    /// From `(place of the test in its order, bytes in use when it had ended)`. `None` if there are fewer than five tests, or all
    /// have one place. Of more than 512, that many are looked at, spread evenly.
    ///
    /// ```
    /// use test_groups::report::Accumulation;
    ///
    /// let after: Vec<(u64, u64)> = (0..40).map(|test| (test, (300 + 46 * test) << 20)).collect();
    /// let found = Accumulation::of(&after).expect("there are enough tests");
    /// assert!(found.grows && found.bytes_per_test == f64::from(46 << 20));
    /// ```
    #[must_use]
    pub fn of(after: &[(u64, u64)]) -> Option<Self> {
        let step = after.len().div_ceil(MOST).max(1);
        let mut thin: Vec<(u64, u64)> = after.iter().copied().step_by(step).collect();
        thin.sort_unstable_by_key(|value| value.0);
        let span = thin.last()?.0 - thin.first()?.0;
        if thin.len() < FEWEST || span == 0 {
            return None;
        }
        let mut slopes = slopes(&thin);
        slopes.sort_unstable_by(f64::total_cmp);
        let slope = median(&slopes);
        let (low, high) = interval(&thin, &slopes);
        let gain = slope * span as f64;
        let noise = NOISE * DEVIATION * scatter(&thin, slope);
        Some(Self {
            bytes_per_test: slope,
            low_bytes_per_test: low,
            high_bytes_per_test: high,
            tests: after.len() as u64,
            grows: low > 0.0 && gain >= LEAST_GAIN_BYTES && gain > noise,
        })
    }
}

/// The slopes of all pairs that are not at one place.
fn slopes(values: &[(u64, u64)]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(values.len() * values.len() / 2);
    for (at, (early, before)) in values.iter().enumerate() {
        for (late, after) in values[at + 1..].iter().filter(|(late, _)| late > early) {
            slopes.push((*after as f64 - *before as f64) / (late - early) as f64);
        }
    }
    slopes
}

/// Of sorted values; 0 if there are none.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The slopes whose ranks are as far from the middle as Kendall's statistic is from 0 by chance in 95 of 100 cases.
fn interval(values: &[(u64, u64)], slopes: &[f64]) -> (f64, f64) {
    let counts = values.len() as f64;
    let whole = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let ties: f64 = groups(values.iter().map(|value| value.1))
        .chain(groups(values.iter().map(|value| value.0)))
        .map(|ties| whole(ties as f64))
        .sum();
    let deviation = ((whole(counts) - ties).max(0.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    // Sen's M1-th value counted from 1; a negative one saturates to the first.
    let below = (((pairs - QUANTILE * deviation) / 2.0).floor() as usize).saturating_sub(1);
    let last = slopes.len().saturating_sub(1);
    (
        slopes.get(below.min(last)).copied().unwrap_or(0.0),
        slopes.get(last.saturating_sub(below)).copied().unwrap_or(0.0),
    )
}

/// How many values are equal, for each that occurs more than once.
fn groups(values: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    let sizes: Vec<usize> =
        sorted.chunk_by(|a, b| a == b).map(<[u64]>::len).filter(|size| *size > 1).collect();
    sizes.into_iter()
}

/// The median absolute deviation from the line.
fn scatter(values: &[(u64, u64)], slope: f64) -> f64 {
    let first = values.first().map_or(0, |value| value.0);
    let mut rest: Vec<f64> =
        values.iter().map(|(at, bytes)| *bytes as f64 - slope * (at - first) as f64).collect();
    rest.sort_unstable_by(f64::total_cmp);
    let middle = median(&rest);
    for value in &mut rest {
        *value = (*value - middle).abs();
    }
    rest.sort_unstable_by(f64::total_cmp);
    median(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_that_chance_explains_is_no_growth() {
        let mib = |values: [u64; 5]| values.map(|value| value << 20);
        let found = |values: [u64; 5]| {
            Accumulation::of(&std::array::from_fn::<_, 5, _>(|at| (at as u64, values[at])))
        };
        let falls_once = found(mib([0, 100, 200, 190, 400])).unwrap();
        assert!(!falls_once.grows && falls_once.low_bytes_per_test < 0.0, "{falls_once:?}");
        assert!(found(mib([0, 100, 200, 290, 400])).unwrap().grows);
    }

    #[test]
    fn a_slope_that_is_sure_and_small_beside_the_noise_is_no_growth() {
        let noisy = |slope: u64| -> Vec<(u64, u64)> {
            (0..200).map(|at| (at, (slope * at + at * 7_919 % 200 * 5) << 20)).collect()
        };
        let small = Accumulation::of(&noisy(4)).unwrap();
        assert!(small.low_bytes_per_test > 0.0 && !small.grows, "{small:?}");
        assert!(Accumulation::of(&noisy(10)).unwrap().grows);
    }
}
