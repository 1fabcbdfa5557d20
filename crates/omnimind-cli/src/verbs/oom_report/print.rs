//! A report as tables of eighty columns.

use std::io::{self, Write};

use oom_forensics::report::{FileCount, Process};
use oom_forensics::{Comparison, Report};

use super::{MOST_ROWS, words};
use crate::output::{
    Align, BOLD, Bytes, DIM, GOOD, Paint, Percent, Table, WARN, WIDTH, count, tail, wrapped,
};

pub(super) fn report(out: &mut dyn Write, report: &Report, verbose: bool) -> io::Result<()> {
    let rows = if verbose { usize::MAX } else { MOST_ROWS };
    for log in &report.logs {
        let size = format!("{}, {}", Bytes(log.bytes), count(log.lines, "line"));
        writeln!(out, "{}  {}", tail(&log.name, WIDTH - 30).paint(BOLD), size.paint(DIM))?;
    }
    print_tests(out, report)?;
    print_first(out, report)?;
    print_causes(out, report, verbose)?;
    print_sizes(out, report)?;
    print_files(out, report, rows)?;
    print_processes(out, &report.processes, rows)?;
    print_known(out, report, verbose)?;
    if !report.advice.is_empty() {
        heading(out, "what to do")?;
        report.advice.iter().try_for_each(|advice| wrapped(out, 2, advice))?;
    }
    report.notes.iter().try_for_each(|note| wrapped(out, 0, &format!("note: {note}")))
}

fn print_tests(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.tests_run + report.skipped > 0 {
        let took = report.duration_s.map(|seconds| format!(" in {seconds:.0} s")).unwrap_or_default();
        let failed = format!("{} failed, {}", report.failed, count(report.errors, "error"));
        let skipped = report.skipped;
        writeln!(
            out,
            "{} ran{took}: {} passed, {failed}; {skipped} skipped",
            count(report.tests_run, "test"),
            report.passed
        )?;
    } else {
        writeln!(out, "no tests")?;
    }
    let style = if report.oom_total == 0 { GOOD } else { WARN };
    let total = format!("{} out of memory", report.oom_total);
    match report.success_rate {
        Some(rate) => writeln!(out, "{}, success rate {}", total.paint(style), Percent(rate)),
        None => writeln!(out, "{}", total.paint(style)),
    }
}

fn heading(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "\n{}", text.paint(BOLD))
}

fn print_first(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.first_ooms.is_empty() {
        return Ok(());
    }
    heading(out, "first out of memory")?;
    let mut table = Table::new([
        ("line", Align::Right),
        ("test", Align::Right),
        ("asked for", Align::Right),
        ("name", Align::Left),
    ])
    .indented(2);
    for oom in &report.first_ooms {
        let position = oom.position.map(|position| position.to_string()).unwrap_or_default();
        let asked = oom.numbers.requested_bytes.map(|bytes| Bytes(bytes).to_string()).unwrap_or_default();
        let name = oom.test.as_deref().map_or_else(|| "no test".to_owned(), |test| tail(test, 47));
        table.row([oom.at.line.to_string(), position, asked, name]);
    }
    table.write(out)
}

fn print_causes(out: &mut dyn Write, report: &Report, verbose: bool) -> io::Result<()> {
    if report.by_cause.is_empty() {
        return Ok(());
    }
    heading(out, "why")?;
    for found in &report.by_cause {
        let share = Percent(found.ooms as f64 / report.oom_total.max(1) as f64);
        writeln!(out, "  {:>6}  {share:>7}  {}", found.ooms, found.cause.words().paint(BOLD))?;
        wrapped(out, 19, &format!("first: {}", found.reason))?;
        for quote in found.evidence.iter().filter(|_| verbose) {
            wrapped(out, 19, &format!("{}:{}: {}", quote.log, quote.line, quote.text))?;
        }
    }
    Ok(())
}

fn print_sizes(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.by_size.is_empty() {
        return Ok(());
    }
    heading(out, "asked for")?;
    let most = report.by_size.iter().map(|bucket| bucket.ooms).max().unwrap_or_default().max(1);
    let mut table = Table::new([("", Align::Right), ("", Align::Right), ("", Align::Left)]).indented(2);
    for bucket in &report.by_size {
        let bar = "#".repeat((bucket.ooms * 40).div_ceil(most) as usize);
        table.row([words::range(bucket), bucket.ooms.to_string(), bar]);
    }
    if report.size_unknown > 0 {
        table.row(["not said".to_owned(), report.size_unknown.to_string(), String::new()]);
    }
    table.write(out)
}

fn print_files(out: &mut dyn Write, report: &Report, rows: usize) -> io::Result<()> {
    if report.by_file.is_empty() {
        return Ok(());
    }
    heading(out, "out of memory by file")?;
    let mut table = Table::new([("", Align::Right), ("", Align::Left)]).indented(2);
    for FileCount { file, ooms } in report.by_file.iter().take(rows) {
        let file = file.as_deref().map_or_else(|| "no test".to_owned(), |file| tail(file, 60));
        table.row([ooms.to_string(), file]);
    }
    table.write(out)?;
    more(out, report.by_file.len(), rows)
}

fn more(out: &mut dyn Write, all: usize, rows: usize) -> io::Result<()> {
    if all > rows {
        writeln!(out, "  {}", format!("and {} more; -v shows all", all - rows).paint(DIM))?;
    }
    Ok(())
}

fn print_processes(out: &mut dyn Write, processes: &[Process], rows: usize) -> io::Result<()> {
    if processes.is_empty() {
        return Ok(());
    }
    heading(out, "who else held the card")?;
    let columns =
        [("pid", Align::Right), ("seen", Align::Right), ("at most", Align::Right), ("name", Align::Left)];
    let mut table = Table::new(columns).indented(2);
    for process in processes.iter().take(rows) {
        let held = process.most_bytes.map(|bytes| Bytes(bytes).to_string()).unwrap_or_default();
        let name = process.name.as_deref().map(|name| tail(name, 40)).unwrap_or_default();
        table.row([process.pid.to_string(), process.seen.to_string(), held, name]);
    }
    table.write(out)?;
    more(out, processes.len(), rows)
}

fn print_known(out: &mut dyn Write, report: &Report, verbose: bool) -> io::Result<()> {
    let happened = || report.patterns.iter().filter(|pattern| pattern.count > 0);
    if happened().next().is_none() {
        return Ok(());
    }
    heading(out, "known errors")?;
    let mut table = Table::new([("", Align::Right), ("", Align::Left), ("", Align::Left)]).indented(2);
    for pattern in happened() {
        let severity = words::severity(pattern.severity);
        table.row([pattern.count.to_string(), severity.to_owned(), tail(&pattern.name, 55)]);
    }
    table.write(out)?;
    for quote in happened().filter(|_| verbose).filter_map(|pattern| pattern.evidence.as_ref()) {
        wrapped(out, 4, &format!("{}:{}: {}", quote.log, quote.line, quote.text))?;
    }
    Ok(())
}

pub(super) fn comparison(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    let mut table = Table::new([
        ("", Align::Left),
        ("before", Align::Right),
        ("after", Align::Right),
        ("wanted", Align::Right),
        ("", Align::Left),
    ]);
    for verdict in &comparison.verdicts {
        let [before, after, wanted] = words::verdict(verdict);
        let (word, style) = if verdict.met { ("met", GOOD) } else { ("missed", WARN) };
        let cells = [words::measure(verdict.measure).to_owned(), before, after, wanted, word.to_owned()];
        table.styled_row(cells, style);
    }
    table.write(out)
}
