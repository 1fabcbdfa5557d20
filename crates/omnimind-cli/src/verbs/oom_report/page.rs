//! A report as a page for people.

use std::collections::BTreeMap;

use oom_forensics::report::{Oom, Quote};
use oom_forensics::{Cause, Comparison, Report, Severity};

use super::words;
use crate::output::html::{
    Cell, Chart, Column, Dot, Dots, Markup, SortableTable, Tile, Tone, XAxis, bars, page, section, tiles,
};
use crate::output::{Bytes, Percent, count};

/// Rows of the table of errors.
const MOST_ERRORS: usize = 100;
/// Logs that are named at the top.
const MOST_LOGS: usize = 5;

pub(super) fn html(report: &Report, comparison: Option<&Comparison>) -> String {
    page("Out of GPU memory", &about(report), |page| {
        summary(page, report);
        if let Some(comparison) = comparison {
            targets(page, comparison);
        }
        advice(page, report);
        causes(page, report);
        charts(page, report);
        first(page, report);
        files(page, report);
        sizes(page, report);
        processes(page, report);
        known(page, report);
    })
}

fn about(report: &Report) -> Vec<String> {
    let logs = report.logs.iter().take(MOST_LOGS);
    let mut lines: Vec<String> =
        logs.map(|log| format!("{}: {}, {}", log.name, Bytes(log.bytes), count(log.lines, "line"))).collect();
    let left = report.logs.len().saturating_sub(MOST_LOGS) as u64;
    if left > 0 {
        lines.push(format!("and {} more", count(left, "log")));
    }
    lines
}

fn summary(page: &mut Markup, report: &Report) {
    let none_is_good = |count: u64, else_| if count == 0 { Tone::Good } else { else_ };
    let tile = |label, count: u64, tone| Tile { label, value: count.to_string(), tone };
    let rate = report.success_rate.map_or_else(|| "no tests".to_owned(), |rate| Percent(rate).to_string());
    let mut all = vec![
        tile("out of memory", report.oom_total, none_is_good(report.oom_total, Tone::Bad)),
        Tile { label: "success rate", value: rate, tone: Tone::Plain },
        tile("tests ran", report.tests_run, Tone::Plain),
        tile("passed", report.passed, Tone::Plain),
        tile("failed", report.failed, none_is_good(report.failed, Tone::Warn)),
        tile("errors", report.errors, none_is_good(report.errors, Tone::Warn)),
        tile("skipped", report.skipped, Tone::Plain),
    ];
    if let Some(seconds) = report.duration_s {
        all.push(Tile { label: "duration", value: format!("{seconds:.0} s"), tone: Tone::Plain });
    }
    section(page, "Summary", |page| {
        tiles(page, &all);
        if !report.notes.is_empty() {
            page.element("ul", &[("class", &"notes")], |list| {
                report.notes.iter().for_each(|note| list.text_element("li", &[], note));
            });
        }
    });
}

fn targets(page: &mut Markup, comparison: &Comparison) {
    let columns = ["measure", "before", "after", "wanted", "verdict"].map(Column::Text);
    let mut table = SortableTable::new("Targets", columns);
    for verdict in &comparison.verdicts {
        let [before, after, wanted] = words::verdict(verdict).map(Cell::Text);
        let (tone, word) = if verdict.met { (Tone::Good, "met") } else { (Tone::Bad, "missed") };
        let name = Cell::Text(words::measure(verdict.measure).to_owned());
        table.row([name, before, after, wanted, Cell::Toned(tone, word.to_owned())]);
    }
    let heading = if comparison.met { "All targets are met" } else { "Targets are missed" };
    section(page, heading, |page| table.write(page));
}

fn advice(page: &mut Markup, report: &Report) {
    if report.advice.is_empty() {
        return;
    }
    section(page, "What to do", |page| {
        page.element("ol", &[("class", &"advice")], |list| {
            report.advice.iter().for_each(|advice| list.text_element("li", &[], advice));
        });
    });
}

fn causes(page: &mut Markup, report: &Report) {
    if report.by_cause.is_empty() {
        return;
    }
    let columns = [
        Column::Text("cause"),
        Column::Number("errors"),
        Column::Number("share"),
        Column::Text("the first of them"),
        Column::Text("lines"),
    ];
    let mut table = SortableTable::new("Causes", columns);
    for found in &report.by_cause {
        let share = found.ooms as f64 / report.oom_total.max(1) as f64;
        table.row([
            Cell::Toned(Tone::Plain, found.cause.words().to_owned()),
            Cell::count(found.ooms),
            Cell::Number(share, Percent(share).to_string()),
            Cell::Long(found.reason.clone()),
            Cell::Quotes(found.evidence.iter().map(quoted).collect()),
        ]);
    }
    section(page, "Why", |page| table.write(page));
}

fn quoted(quote: &Quote) -> String {
    format!("{}:{}\n{}", quote.log, quote.line, quote.text)
}

/// What was in use when memory ran out, for each card that is named.
fn charts(page: &mut Markup, report: &Report) {
    // Which of the tests it was, or else which of the errors.
    let all_have_a_place = report.first_ooms.iter().all(|oom| oom.position.is_some());
    let mut cards: BTreeMap<Option<u32>, Vec<(f64, &Oom)>> = BTreeMap::new();
    for (at, oom) in (1_u64..).zip(&report.first_ooms) {
        let place = oom.position.filter(|_| all_have_a_place).unwrap_or(at);
        // What ran out of main memory says nothing about a card.
        if oom.cause != Cause::HostMemory {
            cards.entry(oom.numbers.device).or_default().push((place as f64, oom));
        }
    }
    let x = XAxis::Nth(if all_have_a_place { "test" } else { "error" });
    let charts: Vec<Chart> = cards.into_iter().filter_map(|(device, ooms)| chart(device, &ooms, x)).collect();
    if charts.is_empty() {
        return;
    }
    section(page, "Memory in use when it ran out", |page| {
        let shown = report.first_ooms.len() as u64;
        if shown < report.oom_total {
            page.text_element("p", &[], format!("The first {shown} of {} errors.", report.oom_total));
        }
        for chart in charts {
            chart.write(page);
        }
    });
}

fn chart(device: Option<u32>, ooms: &[(f64, &Oom)], x: XAxis) -> Option<Chart> {
    let dot = |x: f64, oom: &Oom, bytes: u64, asked_bytes: u64| {
        let test = oom.test.as_deref().unwrap_or("no test");
        let asked =
            if asked_bytes > 0 { format!(", {} asked for", Bytes(asked_bytes)) } else { String::new() };
        let title = format!("{test}\n{} in use{asked}; {}", Bytes(bytes), oom.cause.words());
        Dot { x, bytes, asked_bytes, title }
    };
    let (mut on_card, mut own) = (Vec::new(), Vec::new());
    for &(x, oom) in ooms {
        let numbers = &oom.numbers;
        let asked = numbers.requested_bytes.unwrap_or_default();
        if let Some((total, free)) = numbers.total_bytes.zip(numbers.free_bytes) {
            on_card.push(dot(x, oom, total.saturating_sub(free), asked));
        }
        if let Some(bytes) = numbers.allocated_bytes {
            own.push(dot(x, oom, bytes, 0));
        }
    }
    if on_card.is_empty() && own.is_empty() {
        return None;
    }
    let card = device.map_or_else(|| "the card".to_owned(), |device| format!("card {device}"));
    let dots = vec![
        Dots { name: "in use by the test itself", is_main: false, all: own },
        Dots { name: "in use by all", is_main: true, all: on_card },
    ];
    let caption = format!("Memory in use on {card} at each error, over the run");
    let capacity_bytes = ooms.iter().filter_map(|(_, oom)| oom.numbers.total_bytes).max();
    let mut chart = Chart::new(caption, x, capacity_bytes);
    chart.dots = dots.into_iter().filter(|dots| !dots.all.is_empty()).collect();
    Some(chart)
}

fn first(page: &mut Markup, report: &Report) {
    if report.first_ooms.is_empty() {
        return;
    }
    let columns = [
        Column::Number("test no."),
        Column::Text("test"),
        Column::Text("cause"),
        Column::Number("asked for"),
        Column::Number("in use"),
        Column::Number("free"),
        Column::Text("why"),
        Column::Text("line"),
    ];
    let mut table = SortableTable::new("First errors", columns);
    for oom in report.first_ooms.iter().take(MOST_ERRORS) {
        let numbers = &oom.numbers;
        table.row([
            oom.position.map_or(Cell::Missing, Cell::count),
            oom.test.clone().map_or_else(|| Cell::Text("no test".to_owned()), Cell::Code),
            Cell::Text(oom.cause.words().to_owned()),
            Cell::bytes(numbers.requested_bytes),
            Cell::bytes(numbers.allocated_bytes),
            Cell::bytes(numbers.free_bytes),
            Cell::Long(oom.reason.clone()),
            Cell::Quotes(vec![quoted(&oom.at)]),
        ]);
    }
    let shown = report.first_ooms.len().min(MOST_ERRORS) as u64;
    let heading = if shown == report.oom_total {
        format!("{shown} out of memory")
    } else {
        format!("The first {shown} of {} out of memory", report.oom_total)
    };
    section(page, heading, |page| table.write(page));
}

fn files(page: &mut Markup, report: &Report) {
    if report.by_file.is_empty() {
        return;
    }
    let columns = [Column::Text("test file"), Column::Number("errors"), Column::Number("share")];
    let mut table = SortableTable::new("Errors by test file", columns);
    for found in &report.by_file {
        let share = found.ooms as f64 / report.oom_total.max(1) as f64;
        table.row([
            found.file.clone().map_or_else(|| Cell::Text("no test".to_owned()), Cell::Code),
            Cell::count(found.ooms),
            Cell::Number(share, Percent(share).to_string()),
        ]);
    }
    section(page, "By test file", |page| table.write(page));
}

fn sizes(page: &mut Markup, report: &Report) {
    if report.by_size.is_empty() {
        return;
    }
    let mut rows: Vec<(String, u64)> =
        report.by_size.iter().map(|bucket| (words::range(bucket), bucket.ooms)).collect();
    if report.size_unknown > 0 {
        rows.push(("not said".to_owned(), report.size_unknown));
    }
    section(page, "By what was asked for", |page| bars(page, &rows));
}

fn processes(page: &mut Markup, report: &Report) {
    if report.processes.is_empty() {
        return;
    }
    let columns = [
        Column::Number("process"),
        Column::Text("name"),
        Column::Number("errors that name it"),
        Column::Number("at most"),
    ];
    let mut table = SortableTable::new("Other processes on the card", columns);
    for process in &report.processes {
        table.row([
            Cell::count(process.pid.into()),
            process.name.clone().map_or(Cell::Missing, Cell::Code),
            Cell::count(process.seen),
            Cell::bytes(process.most_bytes),
        ]);
    }
    section(page, "Who else held the card", |page| table.write(page));
}

fn known(page: &mut Markup, report: &Report) {
    let columns = [
        Column::Text("severity"),
        Column::Text("error"),
        Column::Number("times"),
        Column::Number("lines"),
        Column::Text("the first"),
    ];
    let mut table = SortableTable::new("Known errors", columns);
    for pattern in report.patterns.iter().filter(|pattern| pattern.count > 0) {
        let tone = match pattern.severity {
            Severity::Critical | Severity::High => Tone::Bad,
            Severity::Medium => Tone::Warn,
            Severity::Low => Tone::Plain,
        };
        table.row([
            Cell::Toned(tone, words::severity(pattern.severity).to_owned()),
            Cell::Code(pattern.name.clone()),
            Cell::count(pattern.count),
            Cell::count(pattern.lines),
            Cell::Quotes(pattern.evidence.iter().map(quoted).collect()),
        ]);
    }
    if !table.rows.is_empty() {
        section(page, "Known errors", |page| table.write(page));
    }
}
