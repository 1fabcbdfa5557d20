//! How full a card will be soon, from how full it was. Pure: asks no card and no clock.
//!
//! The line through the last minute is that of Theil and Sen: its slope is the median of the slopes between all pairs of points, so
//! that a single point, however far off, does not move it. What remains between points and line says how sure it is.

use std::time::Duration;

use serde::Serialize;

/// What is older than this before the last point says little about the next seconds.
const WINDOW: Duration = Duration::from_mins(1);
/// More points are thinned: so there are at most 2016 pairs.
const MOST_POINTS: usize = 64;
/// Fewer say nothing.
const FEWEST_POINTS: usize = 5;
/// Points closer together say nothing.
const SHORTEST_SPAN: Duration = Duration::from_millis(500);
/// Nine in ten points are this near to the line.
const COVERED: f64 = 0.9;
/// How far ahead a line is believed, as a multiple of the time that it was seen.
const FURTHEST: f64 = 60.0;

/// Where the share in use is heading.
///
/// ```
/// use std::time::Duration;
/// use gpu_probe::forecast::Trend;
///
/// let second = Duration::from_secs(1);
/// let history = (0..10).map(|at| (at * second, 0.5 + 0.01 * f64::from(at)));
/// let trend = Trend::of(history).unwrap();
/// assert!((trend.expected_in(5 * second).middle - 0.64).abs() < 1e-9);
/// assert_eq!(trend.time_until(1.0).unwrap().as_secs(), 41);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trend {
    /// Change of the share in use per second.
    pub slope_per_second: f64,
    /// Where the line is at the time of the last point.
    pub now_fraction: f64,
    /// Nine in ten points are no further than this from the line.
    pub spread_fraction: f64,
    /// Time between the first and the last point in seconds.
    pub span_seconds: f64,
    /// How many points it was made of.
    pub points: usize,
}

/// A share in use that is expected, 0 to 1, with an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Expected {
    /// Lower end of the interval.
    pub low: f64,
    /// Where the line is.
    pub middle: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Trend {
    /// From points in time and the share in use there, in any order. Those in the last minute count, thinned to 64; what is not a
    /// number does not count. `None` with fewer than 5 points, or less than half a second between the first and the last.
    #[must_use]
    pub fn of(history: impl IntoIterator<Item = (Duration, f64)>) -> Option<Self> {
        let mut points: Vec<_> = history.into_iter().filter(|(_, used)| used.is_finite()).collect();
        points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let last = points.last()?.0;
        let begins = points.partition_point(|(at, _)| last.saturating_sub(*at) > WINDOW);
        let recent = points.get(begins..).unwrap_or_default();
        // Each as seconds before the last, so that nothing is lost with large times.
        let recent =
            thinned(recent).map(|(at, used)| (-last.saturating_sub(*at).as_secs_f64(), used.clamp(0.0, 1.0)));
        let recent: Vec<(f64, f64)> = recent.collect();
        let span_seconds = -recent.first()?.0;
        if recent.len() < FEWEST_POINTS || span_seconds < SHORTEST_SPAN.as_secs_f64() {
            return None;
        }
        let pairs =
            recent.iter().enumerate().flat_map(|(at, a)| recent.iter().skip(at + 1).map(move |b| (a, b)));
        let slopes = pairs.filter(|(a, b)| a.0 < b.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0));
        let slope_per_second = quantile(slopes.collect(), 0.5)?;
        let now_fraction =
            quantile(recent.iter().map(|(at, used)| used - slope_per_second * at).collect(), 0.5)?;
        let line = |at: f64| now_fraction + slope_per_second * at;
        let spread_fraction =
            quantile(recent.iter().map(|(at, used)| (used - line(*at)).abs()).collect(), COVERED)?;
        Some(Self { slope_per_second, now_fraction, spread_fraction, span_seconds, points: recent.len() })
    }

    /// The share in use that is expected so much later than the last point. The interval is as wide as the points are spread about
    /// the line, and wider the further ahead it is.
    #[must_use]
    pub fn expected_in(&self, ahead: Duration) -> Expected {
        let ahead = ahead.as_secs_f64();
        let middle = self.now_fraction + self.slope_per_second * ahead;
        let half = self.spread_fraction * (1.0 + ahead / self.span_seconds);
        let share = |value: f64| value.clamp(0.0, 1.0);
        Expected { low: share(middle - half), middle: share(middle), high: share(middle + half) }
    }

    /// How long after the last point the line reaches `fraction`. `None` unless it clearly rises (by more than the points are
    /// spread about it), and where that is further ahead than 60 times what was seen.
    #[must_use]
    pub fn time_until(&self, fraction: f64) -> Option<Duration> {
        if self.now_fraction >= fraction {
            return Some(Duration::ZERO);
        }
        let risen = self.slope_per_second * self.span_seconds;
        // Less than a thousandth of the card is nothing.
        if risen <= self.spread_fraction.max(0.001) {
            return None;
        }
        let seconds = (fraction - self.now_fraction) / self.slope_per_second;
        (seconds <= FURTHEST * self.span_seconds).then(|| Duration::try_from_secs_f64(seconds).ok())?
    }
}

/// At most so many, evenly, the first and the last among them.
fn thinned<T>(points: &[T]) -> impl Iterator<Item = &T> {
    let kept = points.len().min(MOST_POINTS);
    let last = points.len().saturating_sub(1);
    (0..kept).filter_map(move |at| points.get(at * last / (kept - 1).max(1)))
}

/// The value that so large a part of the values does not exceed; between two values that are equally near, their mean.
fn quantile(mut values: Vec<f64>, part: f64) -> Option<f64> {
    let place = part * values.len().checked_sub(1)? as f64;
    values.sort_by(f64::total_cmp);
    let (below, above) = (*values.get(place.floor() as usize)?, *values.get(place.ceil() as usize)?);
    // Not below + part * (above - below): equal values must stay what they are.
    Some(if below.to_bits() == above.to_bits() { below } else { below + (above - below) * place.fract() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AHEAD: Duration = Duration::from_secs(10);

    fn each_second(used: impl IntoIterator<Item = f64>) -> Vec<(Duration, f64)> {
        (0..).map(Duration::from_secs).zip(used).collect()
    }

    #[test]
    fn too_few_points_or_too_short_a_time_say_nothing() {
        assert_eq!(Trend::of([]), None);
        assert_eq!(Trend::of([(Duration::ZERO, 0.5)]), None);
        assert_eq!(Trend::of(each_second([0.1, 0.2, 0.3, 0.4])), None);
        assert!(Trend::of(each_second([0.1, 0.2, 0.3, 0.4, 0.5])).is_some());
        let close = (0..100).map(|at| (Duration::from_millis(4 * at), 0.5));
        assert_eq!(Trend::of(close), None);
        assert_eq!(Trend::of(each_second([f64::NAN, 0.1, 0.2, 0.3, f64::INFINITY, 0.4])), None);
        assert_eq!(Trend::of([(AHEAD, 0.5); 20]), None);
    }

    #[test]
    fn only_the_last_minute_counts() {
        let filled = (0..300).map(|at| 0.002 * f64::from(at.min(200)));
        let trend = Trend::of(each_second(filled)).unwrap();
        assert!(trend.slope_per_second.abs() < 1e-12 && trend.span_seconds <= 60.0, "{trend:?}");
    }

    #[test]
    fn noise_is_no_rise_and_what_does_not_rise_never_fills_a_card() {
        let noisy = |slope: f64| {
            let wave = [0.0, 0.03, -0.03, 0.02, -0.01];
            each_second((0..40).map(|at| 0.5 + slope * f64::from(at) + wave[at as usize % 5]))
        };
        assert_eq!(Trend::of(noisy(0.0)).unwrap().time_until(1.0), None);
        assert_eq!(Trend::of(noisy(-0.005)).unwrap().time_until(1.0), None);
        let rising = Trend::of(noisy(0.01)).unwrap();
        let left = rising.time_until(1.0).unwrap().as_secs_f64();
        assert!((8.0..14.0).contains(&left), "{left}");
        let expected = rising.expected_in(Duration::from_secs(2));
        assert!(expected.low < expected.middle && expected.middle < expected.high, "{expected:?}");
    }

    #[test]
    fn a_line_is_not_believed_further_than_sixty_times_what_was_seen() {
        let slowly = Trend::of(each_second((0..5).map(|at| 0.1 + 0.001 * f64::from(at)))).unwrap();
        assert_eq!(slowly.time_until(1.0), None);
        assert!(slowly.time_until(0.2).is_some());
        assert_eq!(slowly.time_until(0.05), Some(Duration::ZERO));
    }

    fn history() -> impl Strategy<Value = Vec<(Duration, f64)>> {
        prop::collection::vec((1u64..3000, 0f64..=1.0), 5..150).prop_map(|steps| {
            let mut at = Duration::ZERO;
            steps
                .into_iter()
                .map(|(milliseconds, used)| {
                    at += Duration::from_millis(milliseconds);
                    (at, used)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_does_not_change_is_forecast_to_stay(used in 0f64..=1.0, count in 5usize..200) {
            let expected = Trend::of(each_second(vec![used; count])).unwrap().expected_in(AHEAD);
            prop_assert_eq!((expected.low, expected.middle, expected.high), (used, used, used));
        }

        #[test]
        fn a_single_point_however_far_off_does_not_move_it(
            used in 0f64..=1.0,
            count in 6usize..60,
            at in 0usize..60,
            outlier in 0f64..=1.0,
        ) {
            let mut history = each_second(vec![used; count]);
            history[at % count].1 = outlier;
            let trend = Trend::of(history).unwrap();
            prop_assert_eq!(trend.expected_in(AHEAD).middle.to_bits(), used.to_bits());
            prop_assert!(trend.slope_per_second.abs() < f64::MIN_POSITIVE, "{:?}", trend);
        }

        #[test]
        fn the_faster_it_rises_the_more_is_expected(history in history(), steeper in 0f64..0.001) {
            // Kept off the ends, where shares are cut.
            let history: Vec<_> = history.into_iter().map(|(at, used)| (at, 0.3 + 0.1 * used)).collect();
            let risen = history.iter().map(|(at, used)| (*at, used + steeper * at.as_secs_f64()));
            if let (Some(flat), Some(steep)) = (Trend::of(history.clone()), Trend::of(risen)) {
                prop_assert!(steep.slope_per_second >= flat.slope_per_second - 1e-12);
                prop_assert!(steep.expected_in(AHEAD).middle >= flat.expected_in(AHEAD).middle - 1e-12);
            }
        }

        #[test]
        fn neither_order_nor_the_beginning_of_time_matters_and_a_share_stays_one(
            history in history(),
            later in 0u64..10_000,
            ahead in 0u64..10_000,
        ) {
            let trend = Trend::of(history.clone());
            prop_assert_eq!(Trend::of(history.iter().rev().copied()), trend);
            let moved = history.iter().map(|(at, used)| (*at + Duration::from_millis(later), *used));
            prop_assert_eq!(Trend::of(moved), trend);
            if let Some(trend) = trend {
                let expected = trend.expected_in(Duration::from_secs(ahead));
                prop_assert!(0.0 <= expected.low && expected.low <= expected.middle, "{:?}", expected);
                prop_assert!(expected.middle <= expected.high && expected.high <= 1.0, "{:?}", expected);
                prop_assert!(trend.points <= MOST_POINTS);
            }
        }
    }
}
