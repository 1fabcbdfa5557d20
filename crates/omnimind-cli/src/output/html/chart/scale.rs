//! Where a moment and an amount stand in the picture, and which of them are named.

use super::Chart;

/// Of the plot, in pixels.
pub(super) const HEIGHT: f64 = 240.0;
/// Of labels above the highest line and below the ground, in pixels.
pub(super) const ABOVE: f64 = 32.0;
/// What is drawn keeps away from the edges, in percent of the width.
const MARGIN: f64 = 1.5;
/// More lines and labels than this are hard to read on a narrow screen.
const MOST_STEPS: f64 = 5.0;
/// Steps in which people count seconds; from hours on they count in tens.
const SECONDS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// What is counted from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XAxis {
    /// The n-th of these.
    Nth(&'static str),
    /// Seconds since the beginning.
    Seconds,
}

impl XAxis {
    /// The least step between two labels that is easy to count in.
    fn step(self, range: f64) -> f64 {
        let least = range / MOST_STEPS;
        match self {
            Self::Nth(_) => decimal_step(least).max(1.0),
            Self::Seconds if least <= 1.0 => decimal_step(least),
            Self::Seconds => {
                let usual = SECONDS.into_iter().find(|step| *step >= least);
                usual.unwrap_or_else(|| 3600.0 * decimal_step(least / 3600.0))
            }
        }
    }

    pub(super) fn label(self, x: f64) -> String {
        // Sums of tenths are no tenths.
        let x = (x * 1000.0).round() / 1000.0;
        match self {
            Self::Nth(what) => format!("{what} {x}"),
            Self::Seconds if x < 120.0 => format!("{x} s"),
            Self::Seconds if x < 3600.0 => format!("{:.0}:{:02.0} min", (x / 60.0).floor(), x % 60.0),
            Self::Seconds => format!("{:.0}:{:02.0} h", (x / 3600.0).floor(), (x % 3600.0 / 60.0).floor()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    pub(super) x_step: f64,
    pub(super) y_step_bytes: u64,
    pub(super) y_steps: u64,
}

impl Scale {
    pub(super) fn of(chart: &Chart) -> Self {
        let (mut from, mut to, mut top) = (f64::INFINITY, f64::NEG_INFINITY, chart.capacity_bytes);
        // What was asked for may be many times what there is; then its end is not shown.
        let most = chart.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_add(capacity / 2));
        let mut see = |x: f64, bytes: u64| {
            (from, to) = (from.min(x), to.max(x));
            top = top.max(Some(bytes.min(most)));
        };
        for dot in chart.dots.iter().flat_map(|dots| &dots.all) {
            see(dot.x, dot.bytes.saturating_add(dot.asked_bytes));
        }
        for (x, bytes) in chart.lines.iter().flat_map(|line| &line.points) {
            see(*x, *bytes);
        }
        for span in &chart.spans {
            see(span.from, 0);
            see(span.to, 0);
        }
        for mark in &chart.marks {
            see(mark.x, 0);
        }
        if chart.x == XAxis::Seconds {
            see(0.0, 0);
        }
        let (from, to) = if from <= to { (from, to) } else { (0.0, 1.0) };
        let top = top.unwrap_or_default().max(1);
        let y_step_bytes = (top as f64 / MOST_STEPS).log2().ceil().clamp(0.0, 62.0).exp2() as u64;
        Self { from, to, x_step: chart.x.step(to - from), y_step_bytes, y_steps: top.div_ceil(y_step_bytes) }
    }

    /// Where labels stand.
    pub(super) fn x_labels(&self) -> impl Iterator<Item = f64> {
        let first = (self.from / self.x_step).ceil();
        let last = (self.to / self.x_step).floor();
        (0..=(last - first).max(0.0) as u64)
            .map(move |at| (first + at as f64) * self.x_step)
            .filter(|x| *x >= self.from && *x <= self.to)
    }

    /// In percent of the width.
    pub(super) fn share(&self, x: f64) -> f64 {
        let range = self.to - self.from;
        if range > 0.0 { MARGIN + (100.0 - 2.0 * MARGIN) * (x - self.from) / range } else { 50.0 }
    }

    pub(super) fn x(&self, x: f64) -> String {
        format!("{:.2}%", self.share(x))
    }

    /// Whether so much is beyond the picture.
    pub(super) fn is_beyond(&self, bytes: u64) -> bool {
        bytes > self.y_step_bytes.saturating_mul(self.y_steps)
    }

    /// In pixels from above, to a tenth. What is beyond the picture stands at its upper edge.
    pub(super) fn y(&self, bytes: u64) -> f64 {
        let top = self.y_step_bytes as f64 * self.y_steps as f64;
        let bytes = (bytes as f64).min(top);
        ((ABOVE + HEIGHT * (1.0 - bytes / top)) * 10.0).round() / 10.0
    }
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn decimal_step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let decade = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * decade >= least);
    step.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_easy_to_count_in() {
        for (least, step) in [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (37.0, 50.0), (60.0, 100.0)] {
            assert!((decimal_step(least) - step).abs() < 1e-9, "{least}");
        }
        for (range, step) in [(0.8, 0.2), (4.0, 1.0), (40.0, 10.0), (200.0, 60.0), (86_400.0, 18_000.0)] {
            assert!((XAxis::Seconds.step(range) - step).abs() < 1e-9, "{range}");
        }
        let labels = [0.1 + 0.2, 90.0, 150.0, 5400.0].map(|x| XAxis::Seconds.label(x));
        assert_eq!(labels, ["0.3 s", "90 s", "2:30 min", "1:30 h"]);
    }
}
