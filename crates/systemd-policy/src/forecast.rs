//! When RAM, swap or the card's memory will be exhausted, from how they were used. Pure.
//!
//! The line through the looks is that of Theil and Sen, its slope the median of the slopes between all pairs, with the 95 %
//! interval that Sen derives from Kendall's rank statistic (P. K. Sen, JASA 63 (1968), 1379–1389; the variance with ties is that
//! of M. G. Kendall, "Rank Correlation Methods" (1955)). The interval assumes that looks vary independently of each other;
//! memory in use does so only roughly, so a forecast is a reason to look closer and to act mildly, not a promise.

use serde::{Deserialize, Serialize};

use crate::history::Sample;

/// Fewer looks say nothing: with four even a steady rise is no surprise (1 in 24).
const FEWEST: usize = 5;
/// Looks closer together say nothing, in seconds.
const SHORTEST_SPAN_S: f64 = 2.0;
/// More looks are thinned out evenly: all pairs are compared.
const MOST: usize = 64;
/// The two-sided 95 % quantile of the normal distribution.
const QUANTILE: f64 = 1.959_964;
/// The median absolute deviation of normal noise, times this, is its standard deviation.
const DEVIATION: f64 = 1.4826;
/// A gain is more than noise from so many standard deviations on.
const NOISE: f64 = 3.0;
/// A gain of less than this share of what there is, is none.
const LEAST_GAIN: f64 = 0.001;
/// How far ahead a line is believed, as a multiple of the time that it was seen.
const FURTHEST: f64 = 20.0;

/// What the looks say about each memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forecast {
    /// RAM.
    pub ram: Outlook,
    /// Swap.
    pub swap: Outlook,
    /// The card's memory.
    pub vram: Outlook,
}

/// What the looks say about one memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outlook", rename_all = "snake_case")]
pub enum Outlook {
    /// There is none, or nobody handed its numbers in.
    Absent,
    /// Fewer than five looks, or less than two seconds between the first and the last.
    TooLittleSeen {
        /// How many looks there were.
        samples: usize,
        /// Between the first and the last, in seconds.
        span_s: f64,
    },
    /// It does not grow, or not by more than it varies.
    NotGrowing {
        /// The slope of the line, in bytes per second. It may be above 0 and still be noise.
        bytes_per_s: f64,
    },
    /// It grows.
    Growing {
        /// The slope of the line, in bytes per second.
        bytes_per_s: f64,
        /// When it will be exhausted; `None` where that is more than 20 times as far ahead as was looked back.
        exhausted: Option<Exhaustion>,
    },
}

/// How long after the last look a memory is exhausted, if it goes on so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Exhaustion {
    /// With the steepest slope of the 95 % interval, in seconds.
    pub earliest_s: f64,
    /// With the line's slope, in seconds.
    pub likely_s: f64,
    /// With the flattest slope of the interval, in seconds.
    pub latest_s: f64,
}

impl Forecast {
    /// From looks, the oldest first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use systemd_policy::forecast::{Forecast, Outlook};
    /// use systemd_policy::history::Sample;
    ///
    /// // 1 of 100 GiB more each second, 40 GiB at the last look.
    /// let looks: Vec<Sample> = (0..=10)
    ///     .map(|second| Sample {
    ///         at: Duration::from_secs(second),
    ///         ram_used_bytes: (30 + second) << 30,
    ///         ram_total_bytes: 100 << 30,
    ///         ..Sample::default()
    ///     })
    ///     .collect();
    /// let forecast = Forecast::of(&looks);
    /// let Outlook::Growing { exhausted: Some(exhausted), .. } = forecast.ram else { panic!("it grows") };
    /// assert!((exhausted.likely_s - 60.0).abs() < 1e-6);
    /// assert_eq!(forecast.swap, Outlook::Absent);
    /// ```
    #[must_use]
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let samples: Vec<&Sample> = samples.into_iter().collect();
        let of = |used: fn(&Sample) -> Option<(u64, u64)>| Outlook::of(&samples, used);
        Self {
            ram: of(|sample| Some((sample.ram_used_bytes, sample.ram_total_bytes))),
            swap: of(|sample| Some((sample.swap_used_bytes, sample.swap_total_bytes))),
            vram: of(|sample| sample.vram.map(|vram| (vram.used_bytes, vram.total_bytes))),
        }
    }
}

impl Outlook {
    /// When it will be exhausted, if it grows and that can be said.
    #[must_use]
    pub fn exhaustion(&self) -> Option<Exhaustion> {
        match self {
            Self::Growing { exhausted, .. } => *exhausted,
            _ => None,
        }
    }

    /// `used` says how much was in use of how much, in bytes.
    fn of(samples: &[&Sample], used: fn(&Sample) -> Option<(u64, u64)>) -> Self {
        let Some(total) = samples.last().and_then(|last| used(last)).map(|(_, total)| total) else {
            return Self::Absent;
        };
        if total == 0 {
            return Self::Absent;
        }
        // Since the whole last changed: swap is added and taken away, containers get other limits.
        let same = samples.iter().rev().map_while(|sample| {
            used(sample).filter(|(_, whole)| *whole == total).map(|(part, _)| (sample.at, part))
        });
        let same: Vec<_> = same.collect();
        let Some((last, _)) = same.first() else { return Self::Absent };
        let step = same.len().div_ceil(MOST).max(1);
        // As seconds before the last, so that nothing is lost with large times; the newest first, which is always kept.
        let points = same
            .iter()
            .step_by(step)
            .map(|(at, part)| (-last.saturating_sub(*at).as_secs_f64(), (*part).min(total) as f64));
        let points: Vec<(f64, f64)> = points.collect();
        let span_s = points.last().map_or(0.0, |first| -first.0);
        if points.len() < FEWEST || span_s < SHORTEST_SPAN_S {
            return Self::TooLittleSeen { samples: points.len(), span_s };
        }
        Line::through(&points).outlook(span_s, total as f64)
    }
}

/// A line with its uncertainty.
struct Line {
    /// In bytes per second: the lower end of the interval, the middle, and the upper end.
    slopes: (f64, f64, f64),
    /// Where it is at the last look, in bytes.
    now: f64,
    /// The standard deviation of the points about it, in bytes.
    noise: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Self {
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        for (at, late) in points.iter().enumerate() {
            let earlier = points.iter().skip(at + 1).filter(|early| early.0 < late.0);
            slopes.extend(earlier.map(|early| (late.1 - early.1) / (late.0 - early.0)));
        }
        slopes.sort_unstable_by(f64::total_cmp);
        let slope = median(&slopes);
        let mut rest: Vec<f64> = points.iter().map(|(at, used)| used - slope * at).collect();
        rest.sort_unstable_by(f64::total_cmp);
        let now = median(&rest);
        for value in &mut rest {
            *value = (*value - now).abs();
        }
        rest.sort_unstable_by(f64::total_cmp);
        let (low, high) = interval(points, &slopes);
        Self { slopes: (low, slope, high), now, noise: DEVIATION * median(&rest) }
    }

    fn outlook(&self, span_s: f64, total: f64) -> Outlook {
        let (low, slope, high) = self.slopes;
        let gain = slope * span_s;
        if low <= 0.0 || gain < LEAST_GAIN * total || gain <= NOISE * self.noise {
            return Outlook::NotGrowing { bytes_per_s: slope };
        }
        let room = (total - self.now).max(0.0);
        let likely_s = room / slope;
        let exhausted = (likely_s <= FURTHEST * span_s).then(|| Exhaustion {
            earliest_s: (room - self.noise).max(0.0) / high,
            likely_s,
            latest_s: (room + self.noise) / low,
        });
        Outlook::Growing { bytes_per_s: slope, exhausted }
    }
}

/// Of sorted values; 0 if there are none.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

/// The slopes whose ranks are as far from the middle as Kendall's statistic is from 0 by chance in 95 of 100 cases.
fn interval(points: &[(f64, f64)], slopes: &[f64]) -> (f64, f64) {
    let whole = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<u64> = points.iter().map(|point| point.1.to_bits()).collect();
    values.sort_unstable();
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|equal| whole(equal.len() as f64)).sum();
    let deviation = ((whole(points.len() as f64) - ties).max(0.0) / 18.0).sqrt();
    // Sen's M1-th value counted from 1; a negative one saturates to the first.
    let below = (((slopes.len() as f64 - QUANTILE * deviation) / 2.0).floor() as usize).saturating_sub(1);
    let last = slopes.len().saturating_sub(1);
    let at = |place: usize| slopes.get(place).copied().unwrap_or_default();
    (at(below.min(last)), at(last.saturating_sub(below)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const TOTAL: u64 = 1 << 34;

    fn looks(used: impl IntoIterator<Item = u64>) -> Vec<Sample> {
        (0u64..)
            .map(|at| Duration::from_secs(30 * at))
            .zip(used)
            .map(|(at, ram_used_bytes)| Sample {
                at,
                ram_used_bytes,
                ram_total_bytes: TOTAL,
                ..Sample::default()
            })
            .collect()
    }

    fn ram(used: impl IntoIterator<Item = u64>) -> Outlook {
        Forecast::of(&looks(used)).ram
    }

    #[test]
    fn too_few_looks_or_too_short_a_time_say_nothing() {
        assert_eq!(ram([]), Outlook::Absent);
        assert_eq!(ram([0, 1 << 30, 2 << 30, 3 << 30]), Outlook::TooLittleSeen { samples: 4, span_s: 90.0 });
        assert!(matches!(ram((0..5).map(|gib| gib << 30)), Outlook::Growing { exhausted: Some(_), .. }));
        let mut close = looks((0..20).map(|at| at << 28));
        for (sample, at) in close.iter_mut().zip(0..) {
            sample.at = Duration::from_millis(50 * at);
        }
        assert!(matches!(Forecast::of(&close).ram, Outlook::TooLittleSeen { samples: 20, .. }));
    }

    #[test]
    fn what_varies_or_falls_does_not_grow() {
        let wave = [0, 40, 10, 60, 30];
        assert!(matches!(ram((0..50).map(|at| (100 + wave[at % 5]) << 20)), Outlook::NotGrowing { .. }));
        assert!(matches!(ram((0..50).map(|at| (200 - at) << 24)), Outlook::NotGrowing { .. }));
        assert_eq!(ram(vec![1 << 30; 50]), Outlook::NotGrowing { bytes_per_s: 0.0 });
    }

    #[test]
    fn a_leak_beneath_noise_is_seen_and_its_end_lies_in_the_interval() {
        let wave = [0, 40, 10, 60, 30];
        // 64 MiB each 30 s; 2 GiB at first, 16 GiB are there.
        let outlook = ram((0..40).map(|at| (2048 + 64 * at + wave[at as usize % 5]) << 20));
        let end = outlook.exhaustion().unwrap();
        let true_s = ((16384.0 - 2048.0 - 28.0) / 64.0 - 39.0) * 30.0;
        assert!(end.earliest_s <= true_s && true_s <= end.latest_s, "{end:?} {true_s}");
        assert!((end.likely_s / true_s - 1.0).abs() < 0.05, "{end:?} {true_s}");
    }

    #[test]
    fn a_line_is_not_believed_much_further_than_it_was_seen() {
        let slowly = ram((0..20).map(|at| (1 << 30) + (at << 20)));
        assert!(matches!(slowly, Outlook::Growing { exhausted: None, .. }), "{slowly:?}");
    }

    #[test]
    fn looks_before_the_whole_changed_do_not_count() {
        let mut looks = looks((0..10).map(|at| at << 30));
        for sample in looks.iter_mut().take(7) {
            sample.ram_total_bytes /= 2;
        }
        assert_eq!(Forecast::of(&looks).ram, Outlook::TooLittleSeen { samples: 3, span_s: 60.0 });
    }

    proptest! {
        #[test]
        fn an_end_is_never_said_of_fewer_than_five_looks(used in prop::collection::vec(0..TOTAL, 0..5)) {
            prop_assert_eq!(ram(used).exhaustion(), None);
        }

        #[test]
        fn the_earliest_end_is_before_the_likely_one_and_that_before_the_latest(
            used in prop::collection::vec(0..TOTAL / 4, 5..150),
            slope in 0..TOTAL / 150,
        ) {
            let rising = used.iter().zip(0..).map(|(used, at)| used / 8 + slope * at);
            if let Some(end) = ram(rising).exhaustion() {
                prop_assert!(0.0 <= end.earliest_s && end.earliest_s <= end.likely_s, "{:?}", end);
                prop_assert!(end.likely_s <= end.latest_s && end.latest_s.is_finite(), "{:?}", end);
            }
        }

        #[test]
        fn one_look_however_far_off_makes_no_growth(
            used in 0..TOTAL, count in 6usize..60, at in 0usize..60, outlier in 0..TOTAL,
        ) {
            let mut all = vec![used; count];
            all[at % count] = outlier;
            prop_assert_eq!(ram(all), Outlook::NotGrowing { bytes_per_s: 0.0 });
        }

        #[test]
        fn any_numbers_at_any_times_are_taken(
            values in prop::collection::vec((any::<u64>(), any::<u64>(), 0..u64::MAX >> 1), 0..100),
        ) {
            let looks: Vec<Sample> = values.into_iter().map(|(used, total, at)| Sample {
                at: Duration::from_nanos(at),
                ram_used_bytes: used,
                ram_total_bytes: total,
                ..Sample::default()
            }).collect();
            let _ = Forecast::of(&looks);
        }
    }
}
