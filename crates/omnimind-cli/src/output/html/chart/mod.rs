//! Memory over a run as SVG. Places across are shares of the width, so that it fits any screen while its letters keep
//! their size; places upwards are pixels.

mod scale;

use std::fmt::{Display, Write as _};

use super::markup::{Attributes, Markup};
use super::page::Tone;
use crate::output::Bytes;
pub(crate) use scale::XAxis;
use scale::{ABOVE, HEIGHT, Scale};

/// Where the signs of marks stand, in pixels from above.
const MARKS: f64 = 12.0;
/// Of labels below the ground, in pixels.
const BELOW: f64 = 22.0;
/// Of one row of spans, with the gap to the next, in pixels.
const LANE: f64 = 11.0;
/// More rows than this are one: what does not fit in lies over the others.
const MOST_LANES: usize = 8;

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

/// What was held from moment to moment.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// Filled to the ground, or only a line.
    pub(crate) is_main: bool,
    /// Moments in their order, and bytes.
    pub(crate) points: Vec<(f64, u64)>,
}

/// Something that took its time, shown below the ground.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) tone: Tone,
    pub(crate) title: String,
}

/// Something that happened at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) x: f64,
    /// What kind of thing it is.
    pub(crate) name: &'static str,
    /// The letter that stands for this kind.
    pub(crate) sign: &'static str,
    pub(crate) tone: Tone,
    pub(crate) title: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// What it shows, also for who cannot see it.
    pub(crate) caption: String,
    pub(crate) x: XAxis,
    /// What there is, in bytes.
    pub(crate) capacity_bytes: Option<u64>,
    /// Those behind first.
    pub(crate) lines: Vec<Line>,
    /// Those behind first.
    pub(crate) dots: Vec<Dots>,
    /// In the order in which they began, and what they are.
    pub(crate) spans: Vec<Span>,
    pub(crate) spans_name: &'static str,
    pub(crate) marks: Vec<Mark>,
}

impl Chart {
    pub(crate) fn new(caption: String, x: XAxis, capacity_bytes: Option<u64>) -> Self {
        let (lines, dots, spans, marks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { caption, x, capacity_bytes, lines, dots, spans, spans_name: "", marks }
    }

    pub(crate) fn write(&self, page: &mut Markup) {
        let scale = Scale::of(self);
        let lanes = lanes(&self.spans);
        let rows = lanes.iter().map(|lane| lane + 1).max().unwrap_or_default() as f64;
        let height = ABOVE + HEIGHT + BELOW + rows * LANE;
        page.element("figure", &[], |figure| {
            figure.element("div", &[("class", &"frame")], |frame| {
                let attributes: Attributes<'_> = &[
                    ("class", &"chart"),
                    ("role", &"img"),
                    ("aria-label", &self.caption),
                    ("height", &height),
                ];
                frame.element("svg", attributes, |svg| {
                    self.draw(svg, &scale);
                    self.draw_spans(svg, &scale, &lanes);
                });
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
        for drawn in self.lines.iter().filter(|line| !line.points.is_empty()) {
            draw_line(svg, scale, drawn);
        }
        if let Some(capacity) = self.capacity_bytes {
            line(svg, "ceiling", ("0%", scale.y(capacity)), ("100%", scale.y(capacity)));
        }
        for dots in &self.dots {
            for dot in dots.all.iter().filter(|dot| dot.asked_bytes > 0) {
                let (x, wanted) = (scale.x(dot.x), dot.bytes.saturating_add(dot.asked_bytes));
                line(svg, "stem", (&x, scale.y(dot.bytes)), (&x, scale.y(wanted)));
                if scale.is_beyond(wanted) {
                    let place: Attributes<'_> =
                        &[("class", &"beyond"), ("x", &x), ("y", &ABOVE), ("text-anchor", &"middle")];
                    svg.text_element("text", place, "▲");
                }
            }
            for dot in &dots.all {
                let place: Attributes<'_> = &[
                    ("class", &dots.class()),
                    ("cx", &scale.x(dot.x)),
                    ("cy", &scale.y(dot.bytes)),
                    ("r", &4),
                ];
                svg.element("circle", place, |circle| circle.text_element("title", &[], &dot.title));
            }
        }
        self.draw_marks(svg, scale);
        self.draw_labels(svg, scale);
    }

    fn draw_marks(&self, svg: &mut Markup, scale: &Scale) {
        for mark in &self.marks {
            let x = scale.x(mark.x);
            svg.element("g", &[("class", &format!("mark {}", mark.tone.class()))], |group| {
                group.text_element("title", &[], &mark.title);
                line(group, "moment", (&x, MARKS + 5.0), (&x, ABOVE + HEIGHT));
                let place: Attributes<'_> = &[("x", &x), ("y", &MARKS), ("text-anchor", &"middle")];
                group.text_element("text", place, mark.sign);
            });
        }
    }

    /// On top of everything, or dots would hide them.
    fn draw_labels(&self, svg: &mut Markup, scale: &Scale) {
        for step in 1..=scale.y_steps {
            let bytes = scale.y_step_bytes.saturating_mul(step);
            svg.text_element("text", &[("x", &0), ("y", &(scale.y(bytes) - 4.0))], Bytes(bytes));
        }
        for x in scale.x_labels() {
            let share = scale.share(x);
            let anchor = if share < 10.0 {
                "start"
            } else if share > 90.0 {
                "end"
            } else {
                "middle"
            };
            let y = ABOVE + HEIGHT + BELOW - 6.0;
            let place: Attributes<'_> = &[("x", &scale.x(x)), ("y", &y), ("text-anchor", &anchor)];
            svg.text_element("text", place, self.x.label(x));
        }
    }

    fn draw_spans(&self, svg: &mut Markup, scale: &Scale, lanes: &[usize]) {
        for (span, lane) in self.spans.iter().zip(lanes) {
            let (from, to) = (scale.share(span.from), scale.share(span.to));
            let place: Attributes<'_> = &[
                ("class", &format!("span {}", span.tone.class())),
                ("x", &format!("{from:.2}%")),
                // What is over at once is seen all the same.
                ("width", &format!("{:.2}%", (to - from).max(0.15))),
                ("y", &(ABOVE + HEIGHT + BELOW + *lane as f64 * LANE)),
                ("height", &(LANE - 2.0)),
            ];
            svg.element("rect", place, |rect| rect.text_element("title", &[], &span.title));
        }
    }

    fn legend(&self, list: &mut Markup) {
        for dots in self.dots.iter().rev() {
            key(list, dots.name, |svg| {
                let place: Attributes<'_> =
                    &[("class", &dots.class()), ("cx", &"50%"), ("cy", &"50%"), ("r", &4)];
                svg.element("circle", place, |_| ());
            });
        }
        for drawn in &self.lines {
            key(list, drawn.name, |svg| {
                let (area, stroke) = drawn.classes();
                svg.element("rect", &[("class", &area), ("width", &"100%"), ("height", &"100%")], |_| ());
                line(svg, stroke, ("0%", 1.0), ("100%", 1.0));
            });
        }
        if self.dots.iter().flat_map(|dots| &dots.all).any(|dot| dot.asked_bytes > 0) {
            key(list, "what was asked for beyond it (▲ goes on)", |svg| {
                line(svg, "stem", ("50%", 0.0), ("50%", 20.0));
            });
        }
        if let Some(capacity) = self.capacity_bytes {
            let name = format!("what the card has, {}", Bytes(capacity));
            key(list, name, |svg| line(svg, "ceiling", ("0%", 6.0), ("100%", 6.0)));
        }
        if !self.spans.is_empty() {
            key(list, self.spans_name, |svg| {
                let place: Attributes<'_> =
                    &[("class", &"span plain"), ("y", &"20%"), ("width", &"100%"), ("height", &"60%")];
                svg.element("rect", place, |_| ());
            });
        }
        let mut known: Vec<&str> = Vec::new();
        for mark in &self.marks {
            if !known.contains(&mark.name) {
                known.push(mark.name);
                list.element("li", &[("class", &mark.tone.class())], |item| {
                    item.text_element("span", &[("class", &"tone")], mark.sign);
                    item.text(format_args!(" {}", mark.name));
                });
            }
        }
    }
}

impl Dots {
    fn class(&self) -> &'static str {
        if self.is_main { "dot main" } else { "dot second" }
    }
}

impl Line {
    /// Of what is below it, and of itself.
    fn classes(&self) -> (&'static str, &'static str) {
        if self.is_main { ("area main", "line main") } else { ("area second", "line second") }
    }
}

/// Lines have no shares of the width in SVG: they are drawn in a square that is stretched.
fn draw_line(svg: &mut Markup, scale: &Scale, line: &Line) {
    let mut path = String::new();
    for (x, bytes) in &line.points {
        let sign = if path.is_empty() { 'M' } else { 'L' };
        let (x, y) = (10.0 * scale.share(*x), scale.y(*bytes) - ABOVE);
        // Memory can always be written to.
        let _ = write!(path, "{sign}{x:.2} {y:.1}");
    }
    let ends = line.points.first().zip(line.points.last());
    let area = ends.map(|(first, last)| {
        let [first, last] = [first.0, last.0].map(|x| 10.0 * scale.share(x));
        format!("{path}L{last:.2} {HEIGHT}L{first:.2} {HEIGHT}Z")
    });
    let square: Attributes<'_> = &[
        ("y", &ABOVE),
        ("width", &"100%"),
        ("height", &HEIGHT),
        ("viewBox", &format!("0 0 1000 {HEIGHT}")),
        ("preserveAspectRatio", &"none"),
    ];
    let (area_class, line_class) = line.classes();
    svg.element("svg", square, |svg| {
        svg.element("path", &[("class", &area_class), ("d", &area.unwrap_or_default())], |_| ());
        svg.element("path", &[("class", &line_class), ("d", &path)], |_| ());
    });
}

/// In which row each span is: the first that is free.
fn lanes(spans: &[Span]) -> Vec<usize> {
    let mut free_from: Vec<f64> = Vec::new();
    let mut place = |span: &Span| {
        if let Some(lane) = free_from.iter().position(|free_from| *free_from <= span.from) {
            free_from[lane] = span.to;
            return lane;
        }
        if free_from.len() < MOST_LANES {
            free_from.push(span.to);
        }
        free_from.len() - 1
    };
    spans.iter().map(&mut place).collect()
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
        let mut chart = Chart::new("memory".to_owned(), XAxis::Nth("test"), capacity_bytes);
        chart.dots = vec![Dots { name: "in use", is_main: true, all: dots.collect() }];
        chart
    }

    #[test]
    fn a_full_card_reaches_its_line_and_an_empty_one_the_ground() {
        let scale = Scale::of(&chart(vec![(1, 3 << 30, 1 << 30), (4479, 0, 0)], Some(4 << 30)));
        assert_eq!((scale.y_step_bytes, scale.y_steps), (1 << 30, 4));
        assert_eq!((scale.y(0), scale.y(4 << 30)), (ABOVE + HEIGHT, ABOVE));
        assert_eq!(scale.x_labels().collect::<Vec<_>>(), [1000.0, 2000.0, 3000.0, 4000.0]);
    }

    #[test]
    fn what_ran_at_once_stands_in_rows_and_what_came_later_takes_the_first_that_is_free() {
        let span = |from, to| Span { from, to, tone: Tone::Plain, title: String::new() };
        let spans = [span(0.0, 5.0), span(1.0, 2.0), span(2.0, 9.0), span(5.0, 6.0), span(5.5, 6.0)];
        assert_eq!(lanes(&spans), [0, 1, 1, 0, 2]);
        assert_eq!(lanes(&vec![span(0.0, 1.0); 20]).iter().max(), Some(&(MOST_LANES - 1)));
    }

    proptest! {
        #[test]
        fn everything_is_drawn_inside_whatever_the_numbers_are(
            dots in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u64>()), 0..20),
            capacity in any::<Option<u64>>(),
            seconds in any::<bool>(),
        ) {
            let mut chart = chart(dots.clone(), capacity);
            if seconds {
                chart.x = XAxis::Seconds;
                chart.lines = vec![Line {
                    name: "held",
                    is_main: true,
                    points: dots.iter().map(|(x, bytes, _)| (f64::from(*x), *bytes)).collect(),
                }];
            }
            let scale = Scale::of(&chart);
            prop_assert!(scale.y_steps <= 6 && scale.x_step > 0.0 && scale.x_labels().count() <= 6);
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
