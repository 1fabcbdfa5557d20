//! A report as tables: one row per group, and what failed in each.

use std::io::{self, Write};

use test_groups::report::TestReport;
use test_groups::{GroupReport, Report};

use super::words;
use crate::output::{Align, BAD, BOLD, Bytes, DIM, GOOD, Paint, Table, WARN, printable, tail, wrapped};

/// A message of a test is cut here, in characters.
const MOST_MESSAGE: usize = 400;

pub(super) fn report(out: &mut dyn Write, report: &Report, verbose: bool) -> io::Result<()> {
    let mut table = Table::new([
        ("group", Align::Left),
        ("tests", Align::Right),
        ("passed", Align::Right),
        ("CPU", Align::Right),
        ("failed", Align::Right),
        ("OOM", Align::Right),
        ("peak", Align::Right),
        ("procs", Align::Right),
        ("growth", Align::Right),
        ("time", Align::Right),
    ]);
    for group in &report.groups {
        let cells = [
            tail(&group.name, 16),
            words::tests(group).to_string(),
            group.passed.to_string(),
            group.passed_on_cpu.to_string(),
            group.failed.to_string(),
            group.ooms.to_string(),
            words::bytes(group.peak_bytes),
            group.peak_gpu_processes.to_string(),
            words::growth(group.accumulation.as_ref()),
            words::seconds(group.wall_s),
        ];
        let style = match group {
            group if group.failed > 0 || group.stopped.is_some() => BAD,
            group if group.passed_on_cpu > 0 => WARN,
            _ => GOOD,
        };
        table.styled_row(cells, style);
    }
    table.write(out)?;
    report.groups.iter().try_for_each(|group| details(out, group, verbose))
}

fn details(out: &mut dyn Write, group: &GroupReport, verbose: bool) -> io::Result<()> {
    let shown = || group.tests.iter().filter(|test| verbose || words::is_failure(test));
    let is_silent = shown().next().is_none()
        && group.advice.is_empty()
        && group.notes.is_empty()
        && group.stopped.is_none();
    if is_silent {
        return Ok(());
    }
    writeln!(out, "\n{}", group.name.as_str().paint(BOLD))?;
    if let Some(stopped) = &group.stopped {
        wrapped(out, 2, &format!("not all of it ran: {stopped}"))?;
    }
    if let Some(first) = &group.first_failure {
        wrapped(out, 2, &format!("the first to fail was {first}"))?;
    }
    for test in shown() {
        print_test(out, test)?;
    }
    for advice in &group.advice {
        wrapped(out, 2, advice)?;
    }
    for note in &group.notes {
        wrapped(out, 2, &format!("note: {note}"))?;
    }
    Ok(())
}

fn print_test(out: &mut dyn Write, test: &TestReport) -> io::Result<()> {
    let style = if words::is_failure(test) { BAD } else { DIM };
    let outcome = format!("{:>13}", words::outcome(test.outcome));
    let held = match test.vram {
        Some(vram) => {
            let [before, peak, after] = [vram.before_bytes, vram.peak_bytes, vram.after_bytes].map(Bytes);
            format!("{before} before, {peak} at most, {after} after")
        }
        None => "no look at the card".to_owned(),
    };
    let took = words::seconds(test.duration_ms as f64 / 1000.0);
    writeln!(out, "  {}  {}", outcome.paint(style), printable(&test.id))?;
    writeln!(out, "{:17}{}", "", format!("{took}; {held}").paint(DIM))?;
    let out_of_memory = test.out_of_memory.as_ref();
    if let Some(cause) = out_of_memory.and_then(|oom| oom.cause.as_ref()) {
        wrapped(out, 17, &format!("out of memory: {}", cause.replace('_', " ")))?;
    }
    if let Some(fallback) = &test.cpu_fallback {
        wrapped(out, 17, fallback)?;
    }
    if let Some(message) = test.message.as_ref().filter(|_| words::is_failure(test)) {
        let cut: String = message.chars().take(MOST_MESSAGE).collect();
        wrapped(out, 17, &cut)?;
    }
    Ok(())
}
