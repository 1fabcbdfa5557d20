//! A report as a page for people.

use std::time::{Duration, SystemTime};

use test_groups::report::{Outcome, TestReport};
use test_groups::{GroupReport, Report};

use super::words;
use crate::output::html::{
    Cell, Chart, Column, Line, Mark, Markup, SortableTable, Span, Tile, Tone, XAxis, page, section, tiles,
};
use crate::output::{Bytes, count, timestamp};

/// Tests of a group that are drawn below its chart.
const MOST_SPANS: usize = 2000;

pub(super) fn html(report: &Report) -> String {
    page("Groups of tests under VRAM watch", &about(report), |page| {
        summary(page, report);
        section(page, "Groups", |page| groups(page, report));
        for group in &report.groups {
            section(page, &group.name, |page| details(page, group));
        }
    })
}

fn about(report: &Report) -> Vec<String> {
    let began = SystemTime::UNIX_EPOCH + Duration::from_millis(report.started_unix_ms);
    let source = match report.vram_source.as_str() {
        "none" => "no GPU was seen".to_owned(),
        source => format!("VRAM as seen by: {source}"),
    };
    vec![format!("{}; {source}", timestamp(began))]
}

fn summary(page: &mut Markup, report: &Report) {
    let sum = |of: fn(&GroupReport) -> u64| report.groups.iter().map(of).sum::<u64>();
    let tile = |label, count: u64, tone| Tile { label, value: count.to_string(), tone };
    let none_is_good = |count: u64, else_| if count == 0 { Tone::Good } else { else_ };
    let (failed, ooms) = (sum(|group| group.failed), sum(|group| group.ooms));
    let peak = report.groups.iter().filter_map(|group| group.peak_bytes).max();
    let wall = report.groups.iter().map(|group| group.wall_s).sum();
    let mut all = vec![
        tile("tests", sum(words::tests), Tone::Plain),
        tile("passed", sum(|group| group.passed), Tone::Plain),
        tile("passed on CPU", sum(|group| group.passed_on_cpu), Tone::Plain),
        tile("failed", failed, none_is_good(failed, Tone::Bad)),
        tile("out of memory", ooms, none_is_good(ooms, Tone::Warn)),
        tile("consolidations", sum(|group| group.consolidations), Tone::Plain),
        Tile { label: "time", value: words::seconds(wall), tone: Tone::Plain },
    ];
    if peak.is_some() {
        all.insert(5, Tile { label: "highest peak", value: words::bytes(peak), tone: Tone::Plain });
    }
    section(page, "Summary", |page| tiles(page, &all));
}

fn groups(page: &mut Markup, report: &Report) {
    let columns = [
        Column::Text("group"),
        Column::Text("result"),
        Column::Number("tests"),
        Column::Number("passed"),
        Column::Number("CPU"),
        Column::Number("failed"),
        Column::Number("OOM"),
        Column::Number("peak"),
        Column::Number("processes"),
        Column::Number("growth"),
        Column::Number("time"),
    ];
    let mut table = SortableTable::new("Groups", columns);
    for group in &report.groups {
        let (tone, result) = match group {
            group if group.failed > 0 => (Tone::Bad, "failed"),
            group if group.stopped.is_some() => (Tone::Bad, "stopped"),
            group if group.passed_on_cpu > 0 => (Tone::Warn, "passed, some on CPU"),
            _ => (Tone::Good, "passed"),
        };
        let growth = group.accumulation.map_or(Cell::Missing, |growth| {
            Cell::Number(growth.bytes_per_test, words::growth(Some(&growth)))
        });
        table.row([
            Cell::Text(group.name.clone()),
            Cell::Toned(tone, result.to_owned()),
            Cell::count(words::tests(group)),
            Cell::count(group.passed),
            Cell::count(group.passed_on_cpu),
            Cell::count(group.failed),
            Cell::count(group.ooms),
            Cell::bytes(group.peak_bytes),
            Cell::count(group.peak_gpu_processes),
            growth,
            Cell::Number(group.wall_s, words::seconds(group.wall_s)),
        ]);
    }
    table.write(page);
}

fn details(page: &mut Markup, group: &GroupReport) {
    let mut about = format!("{}, {}", group.runner, group.concurrency);
    if !group.question.is_empty() {
        about = format!("{} ({about})", group.question);
    }
    page.text_element("p", &[], about);
    if let Some(stopped) = &group.stopped {
        page.element("p", &[("class", &"bad")], |line| {
            line.text_element("span", &[("class", &"tone wraps")], format!("Not all of it ran: {stopped}"));
        });
    }
    if let Some(first) = &group.first_failure {
        page.text_element("p", &[], format!("The first to fail was {first}"));
    }
    if !group.advice.is_empty() {
        page.element("ol", &[("class", &"advice")], |list| {
            for advice in &group.advice {
                list.text_element("li", &[], advice);
            }
        });
    }
    if group.samples.is_empty() {
        page.text_element("p", &[], "The card was not seen while it ran, so there is nothing to draw.");
    } else {
        chart(group).write(page);
    }
    needs(page, group);
    if !group.tests.is_empty() {
        tests(page, group);
    }
    if !group.notes.is_empty() {
        page.element("ul", &[("class", &"notes")], |list| {
            for note in &group.notes {
                list.text_element("li", &[], note);
            }
        });
    }
}

/// What it needs of a card, by how it is run.
fn needs(page: &mut Markup, group: &GroupReport) {
    let needs = [
        ("one by one", group.largest_peak_bytes),
        ("as it was run", group.peak_bytes),
        ("all at once", group.sum_of_peaks_bytes),
    ];
    let known: Vec<String> =
        needs.iter().filter_map(|(how, bytes)| Some(format!("{how} {}", Bytes((*bytes)?)))).collect();
    if !known.is_empty() {
        page.text_element("p", &[], format!("What it needs of the card: {}.", known.join(", ")));
    }
}

fn chart(group: &GroupReport) -> Chart {
    let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
    let caption = format!("VRAM while {} ran, with its tests below", group.name);
    let mut chart = Chart::new(caption, XAxis::Seconds, group.card_bytes);
    let of_group: Vec<(f64, u64)> = group
        .samples
        .iter()
        .filter_map(|sample| Some((seconds(sample.at_ms), sample.group_bytes?)))
        .collect();
    let of_all = group.samples.iter().map(|sample| (seconds(sample.at_ms), sample.used_bytes)).collect();
    chart.lines = vec![
        Line { name: "in use by all", is_main: of_group.is_empty(), points: of_all },
        Line { name: "in use by its tests", is_main: true, points: of_group },
    ];
    chart.lines.retain(|line| !line.points.is_empty());
    let ran = || group.tests.iter().filter(|test| test.attempts > 0);
    chart.spans_name = "a test";
    chart.spans = ran()
        .take(MOST_SPANS)
        .map(|test| Span {
            from: seconds(test.started_ms),
            to: seconds(test.started_ms.saturating_add(test.duration_ms)),
            tone: if test.outcome == Outcome::Passed { Tone::Plain } else { words::tone(test.outcome) },
            title: title(test),
        })
        .collect();
    chart.marks = ran().take(MOST_SPANS).flat_map(marks).collect();
    chart
}

/// What a test is and what became of it, in a line.
fn title(test: &TestReport) -> String {
    let held = test.vram.map_or_else(String::new, |vram| format!(", {} at most", Bytes(vram.peak_bytes)));
    format!("{}\n{}{held}", test.id, words::outcome(test.outcome))
}

/// What of a test is marked in the chart, where it ended: when in its course something happened is not known.
fn marks(test: &TestReport) -> Vec<Mark> {
    let x = test.started_ms.saturating_add(test.duration_ms) as f64 / 1000.0;
    let mut marks = Vec::new();
    let mut mark = |name, sign, tone, title: String| marks.push(Mark { x, name, sign, tone, title });
    if words::is_failure(test) {
        mark("a test failed", "✕", Tone::Bad, title(test));
    }
    if let Some(fallback) = &test.cpu_fallback {
        mark("went on with the CPU", "▼", Tone::Warn, format!("{}\n{fallback}", test.id));
    }
    if test.consolidations > 0 {
        let freed = Bytes(test.consolidated_bytes);
        let said =
            format!("{}\n{}, {freed} given back", test.id, count(test.consolidations, "consolidation"));
        mark("memories were consolidated", "◆", Tone::Good, said);
    }
    marks
}

fn tests(page: &mut Markup, group: &GroupReport) {
    let columns = [
        Column::Text("test"),
        Column::Text("result"),
        Column::Number("time"),
        Column::Number("before"),
        Column::Number("peak"),
        Column::Number("after"),
        Column::Number("consolidated"),
        Column::Text("out of memory"),
        Column::Text("message"),
    ];
    let mut table = SortableTable::new("Tests", columns);
    for test in &group.tests {
        let seconds = test.duration_ms as f64 / 1000.0;
        let cause = test.out_of_memory.as_ref().map(|oom| {
            let cause = oom.cause.as_deref().unwrap_or("unknown").replace('_', " ");
            oom.requested_bytes.map_or(cause.clone(), |bytes| format!("{cause}, {} asked for", Bytes(bytes)))
        });
        let said = [&test.message, &test.cpu_fallback].into_iter().flatten().cloned().collect();
        table.row([
            Cell::Code(test.id.clone()),
            Cell::Toned(words::tone(test.outcome), words::outcome(test.outcome).to_owned()),
            if test.attempts == 0 { Cell::Missing } else { Cell::Number(seconds, words::seconds(seconds)) },
            Cell::bytes(test.vram.map(|vram| vram.before_bytes)),
            Cell::bytes(test.vram.map(|vram| vram.peak_bytes)),
            Cell::bytes(test.vram.map(|vram| vram.after_bytes)),
            Cell::bytes((test.consolidations > 0).then_some(test.consolidated_bytes)),
            cause.map_or(Cell::Missing, Cell::Text),
            Cell::Quotes(said),
        ]);
    }
    table.write(page);
}
