//! Memory over a run as SVG. Places across are shares of the width, so that it fits any screen while its letters keep
//! their size; places upwards are pixels.

use std::fmt::Display;

use super::markup::{Attributes, Markup};
use crate::output::Bytes;

/// Of the plot, in pixels.
const HEIGHT: f64 = 240.0;
/// Of labels above the highest line and below the ground, in pixels.
const ABOVE: f64 = 18.0;
const BELOW: f64 = 22.0;
/// Dots keep away from the edges, in percent of the width.
const MARGIN: f64 = 1.5;
/// More lines and labels than this are hard to read on a narrow screen.
const MOST_STEPS: f64 = 5.0;

/// What is counted from left to right.
#[derive(Debug, Clone, Copy)]
pub(crate) enum XAxis {
    /// The n-th of these.
    Nth(&'static str),
}

impl XAxis {
    /// The least step between two labels that is easy to count in.
    fn step(self, range: f64) -> f64 {
        match self {
            Self::Nth(_) => decimal_step(range / MOST_STEPS).max(1.0),
        }
    }

    fn label(self, x: f64) -> String {
        match self {
            Self::Nth(what) => format!("{what} {x}"),
        }
    }
}

/// What was held at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    pub(crate) x: f64,
    pub(crate) bytes: u64,
    /// So much more was asked for, in bytes.
    pub(crate) asked_bytes: u64,
    /// What is said where somebody points at it.
    pub(crate) title: String,
}

/// Dots of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Dots {
    pub(crate) name: &'static str,
    /// Filled, or as rings behind the filled ones.
    pub(crate) is_main: bool,
    pub(crate) all: Vec<Dot>,
}

#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// What it shows, also for who cannot see it.
    pub(crate) caption: String,
    pub(crate) x: XAxis,
    /// What there is, in bytes.
    pub(crate) capacity_bytes: Option<u64>,
    /// Those behind first.
    pub(crate) dots: Vec<Dots>,
}

impl Chart {
    pub(crate) fn write(&self, page: &mut Markup) {
        let scale = Scale::of(self);
        page.element("figure", &[], |figure| {
            figure.element("div", &[("class", &"frame")], |frame| {
                let height = ABOVE + HEIGHT + BELOW;
                frame.element(
                    "svg",
                    &[
                        ("class", &"chart"),
                        ("role", &"img"),
                        ("aria-label", &self.caption),
                        ("height", &height),
                    ],
                    |svg| self.draw(svg, &scale),
                );
            });
            figure.element("figcaption", &[], |caption| {
                caption.text(&self.caption);
                caption.element("ul", &[], |list| self.legend(list));
            });
        });
        page.literal("\n");
    }

    fn draw(&self, svg: &mut Markup, scale: &Scale) {
        for step in 0..=scale.y_steps {
            let y = scale.y(scale.y_step_bytes.saturating_mul(step));
            line(svg, "grid", ("0%", y), ("100%", y));
        }
        if let Some(capacity) = self.capacity_bytes {
            line(svg, "ceiling", ("0%", scale.y(capacity)), ("100%", scale.y(capacity)));
        }
        for dots in &self.dots {
            for dot in dots.all.iter().filter(|dot| dot.asked_bytes > 0) {
                let (x, top) = (scale.x(dot.x), scale.y(dot.bytes.saturating_add(dot.asked_bytes)));
                line(svg, "stem", (&x, scale.y(dot.bytes)), (&x, top));
            }
            let class = if dots.is_main { "dot main" } else { "dot second" };
            for dot in &dots.all {
                let place: Attributes<'_> =
                    &[("class", &class), ("cx", &scale.x(dot.x)), ("cy", &scale.y(dot.bytes)), ("r", &4)];
                svg.element("circle", place, |circle| circle.text_element("title", &[], &dot.title));
            }
        }
        self.draw_labels(svg, scale);
    }

    /// On top of everything, or dots would hide them.
    fn draw_labels(&self, svg: &mut Markup, scale: &Scale) {
        for step in 1..=scale.y_steps {
            let bytes = scale.y_step_bytes.saturating_mul(step);
            svg.text_element("text", &[("x", &0), ("y", &(scale.y(bytes) - 4.0))], Bytes(bytes));
        }
        let mut x = (scale.from / scale.x_step).ceil() * scale.x_step;
        while x <= scale.to {
            let share = scale.share(x);
            let anchor = if share < 10.0 {
                "start"
            } else if share > 90.0 {
                "end"
            } else {
                "middle"
            };
            let place: Attributes<'_> =
                &[("x", &scale.x(x)), ("y", &(ABOVE + HEIGHT + BELOW - 5.0)), ("text-anchor", &anchor)];
            svg.text_element("text", place, self.x.label(x));
            x += scale.x_step;
        }
    }

    fn legend(&self, list: &mut Markup) {
        for dots in self.dots.iter().rev() {
            let class = if dots.is_main { "dot main" } else { "dot second" };
            key(list, dots.name, |svg| {
                svg.element(
                    "circle",
                    &[("class", &class), ("cx", &"50%"), ("cy", &"50%"), ("r", &4)],
                    |_| (),
                );
            });
        }
        if self.dots.iter().flat_map(|dots| &dots.all).any(|dot| dot.asked_bytes > 0) {
            key(list, "what was asked for beyond it", |svg| line(svg, "stem", ("50%", 0.0), ("50%", 20.0)));
        }
        if let Some(capacity) = self.capacity_bytes {
            let name = format!("what the card has, {}", Bytes(capacity));
            key(list, name, |svg| line(svg, "ceiling", ("0%", 6.0), ("100%", 6.0)));
        }
    }
}

/// What a sign means.
fn key(list: &mut Markup, name: impl Display, sign: impl FnOnce(&mut Markup)) {
    list.element("li", &[], |item| {
        item.element("svg", &[("aria-hidden", &"true")], sign);
        item.text(name);
    });
}

fn line(svg: &mut Markup, class: &'static str, from: (&str, f64), to: (&str, f64)) {
    let ends: Attributes<'_> =
        &[("class", &class), ("x1", &from.0), ("y1", &from.1), ("x2", &to.0), ("y2", &to.1)];
    svg.element("line", ends, |_| ());
}

/// Where a moment and an amount stand in the picture.
#[derive(Debug)]
struct Scale {
    from: f64,
    to: f64,
    x_step: f64,
    y_step_bytes: u64,
    y_steps: u64,
}

impl Scale {
    fn of(chart: &Chart) -> Self {
        let dots = || chart.dots.iter().flat_map(|dots| &dots.all);
        let from = dots().map(|dot| dot.x).fold(f64::INFINITY, f64::min);
        let to = dots().map(|dot| dot.x).fold(f64::NEG_INFINITY, f64::max);
        let (from, to) = if from <= to { (from, to) } else { (0.0, 1.0) };
        let tops = dots().map(|dot| dot.bytes.saturating_add(dot.asked_bytes)).chain(chart.capacity_bytes);
        let top = tops.max().unwrap_or_default().max(1);
        let y_step_bytes = (top as f64 / MOST_STEPS).log2().ceil().clamp(0.0, 62.0).exp2() as u64;
        Self { from, to, x_step: chart.x.step(to - from), y_step_bytes, y_steps: top.div_ceil(y_step_bytes) }
    }

    /// In percent of the width.
    fn share(&self, x: f64) -> f64 {
        let range = self.to - self.from;
        if range > 0.0 { MARGIN + (100.0 - 2.0 * MARGIN) * (x - self.from) / range } else { 50.0 }
    }

    fn x(&self, x: f64) -> String {
        format!("{:.2}%", self.share(x))
    }

    /// In pixels from above, to a tenth.
    fn y(&self, bytes: u64) -> f64 {
        let top = self.y_step_bytes as f64 * self.y_steps as f64;
        ((ABOVE + HEIGHT * (1.0 - bytes as f64 / top)) * 10.0).round() / 10.0
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
    use proptest::prelude::*;

    use super::*;

    fn chart(dots: Vec<(u32, u64, u64)>, capacity_bytes: Option<u64>) -> Chart {
        let dots = dots.into_iter().map(|(x, bytes, asked_bytes)| Dot {
            x: f64::from(x),
            bytes,
            asked_bytes,
            title: "<x>".to_owned(),
        });
        let dots = vec![Dots { name: "in use", is_main: true, all: dots.collect() }];
        Chart { caption: "memory".to_owned(), x: XAxis::Nth("test"), capacity_bytes, dots }
    }

    #[test]
    fn steps_are_easy_to_count_in() {
        for (least, step) in [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (37.0, 50.0), (60.0, 100.0)] {
            assert!((decimal_step(least) - step).abs() < 1e-9, "{least}");
        }
        let scale = Scale::of(&chart(vec![(1, 3 << 30, 1 << 30), (4479, 0, 0)], Some(4 << 30)));
        assert_eq!((scale.y_step_bytes, scale.y_steps, scale.x_step), (1 << 30, 4, 1000.0));
        assert_eq!((scale.y(0), scale.y(4 << 30)), (ABOVE + HEIGHT, ABOVE));
    }

    proptest! {
        #[test]
        fn everything_is_drawn_inside_whatever_the_numbers_are(
            dots in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u64>()), 0..20),
            capacity in any::<Option<u64>>(),
        ) {
            let chart = chart(dots.clone(), capacity);
            let scale = Scale::of(&chart);
            prop_assert!(scale.y_steps <= 6 && scale.x_step > 0.0);
            for (x, bytes, asked) in dots {
                prop_assert!((0.0..=100.0).contains(&scale.share(f64::from(x))));
                prop_assert!((0.0..=ABOVE + HEIGHT).contains(&scale.y(bytes.saturating_add(asked))));
            }
            let mut page = Markup::default();
            chart.write(&mut page);
            let svg = page.into_string();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<x>"));
        }
    }
}
