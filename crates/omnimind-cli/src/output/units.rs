//! Numbers as people read them.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Bytes in the largest unit that keeps a whole number: `3.7 MiB`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // 1023.95 would be shown as 1024.0.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = if value < 9.995 { 2 } else { 1 };
        f.pad(&format!("{value:.digits$} {}", UNITS[unit]))
    }
}

/// A share as a percentage with one decimal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Percent(pub(crate) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} %", self.0 * 100.0))
    }
}

/// An error: `0` if there is none, otherwise two digits of it, rounded up so that no error looks smaller than it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Small(pub(crate) f64);

impl fmt::Display for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0.0 {
            return f.pad("0");
        }
        if !self.0.is_finite() || self.0 < 0.0 {
            return f.pad(&self.0.to_string());
        }
        let exponent = self.0.log10().floor() as i32;
        let step = 10_f64.powi(exponent - 1);
        // A little less before rounding up: 0.006 / 0.0001 is 60.00000000000001.
        let digits = (self.0 / step * (1.0 - 1e-12)).ceil();
        let rounded = digits * step;
        f.pad(&if (-3..4).contains(&exponent) {
            format!("{rounded:.places$}", places = (1 - exponent).max(0) as usize)
        } else {
            format!("{rounded:.1e}")
        })
    }
}

/// So many of something: `1 memory`, `2 memories`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) if noun.ends_with('s') => format!("{number} {noun}es"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// How long ago, in its largest unit: `3 h`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A moment as RFC 3339 in UTC.
pub(crate) fn timestamp(moment: SystemTime) -> String {
    // What lies outside the calendar came from a broken clock; the library refuses it.
    let calendar = SystemTime::UNIX_EPOCH..SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    if calendar.contains(&moment) {
        humantime::format_rfc3339_seconds(moment).to_string()
    } else {
        "?".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_is_not_below_one() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (3_905_872, "3.72 MiB"),
            (1_048_575, "1.00 MiB"),
            (4_090_956_349, "3.81 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn an_error_never_looks_smaller_than_it_is() {
        for (error, text) in
            [(0.0, "0"), (0.006, "0.0060"), (0.005_812, "0.0059"), (1.01e-7, "1.1e-7"), (12.3, "13")]
        {
            assert_eq!(Small(error).to_string(), text);
        }
    }

    #[test]
    fn times_and_counts_read_well_even_where_the_clock_is_broken() {
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "?");
        assert_eq!(
            [count(1, "memory"), count(2, "memory"), count(0, "process")],
            ["1 memory", "2 memories", "0 processes"]
        );
        assert_eq!(age(Duration::from_secs(7300)), "2 h");
    }
}
