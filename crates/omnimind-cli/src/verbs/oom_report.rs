//! `oom-report`: what logs of tests say about memory. Reads logs, prints and saves what was found; finding is left to
//! `oom-forensics`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oom_forensics::report::{FileCount, Process};
use oom_forensics::{
    Analyzer, Comparison, Config, Measure, Patterns, Report, Severity, Targets, Thresholds, Verdict, junit,
};
use serde::Serialize;

use crate::args;
use crate::failure::Failure;
use crate::output::{Align, BOLD, Bytes, DIM, GOOD, Paint, Percent, Table, WARN, count};
use crate::session::Session;

/// No line of the tables is longer, in columns.
const WIDTH: usize = 80;
/// Rows of a table, unless everything is asked for.
const MOST_ROWS: usize = 10;
/// A saved report is at most so long, in bytes.
const MOST_REPORT_BYTES: u64 = 64 << 20;

/// Two runs against what was wanted.
#[derive(Debug, Serialize)]
struct Compared {
    #[serde(flatten)]
    comparison: Comparison,
    before: Report,
    after: Report,
}

pub(super) fn run(session: &Session, args: &args::OomReport) -> Result<(), Failure> {
    let is_about_two =
        args.gate || args.ooms_below.is_some() || args.errors_below.is_some() || args.success_above.is_some();
    if is_about_two && args.compare.is_empty() {
        let text = "--gate and targets are about two runs; give --compare BEFORE AFTER instead of logs";
        return Err(Failure::Usage(text.to_owned()));
    }
    let config = config(args)?;
    match args.compare.as_slice() {
        [before, after] => compare(session, args, &config, before, after),
        _ => report(session, args, &config),
    }
}

fn config(args: &args::OomReport) -> Result<Config, Failure> {
    let patterns = match &args.patterns {
        None => Patterns::known(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|source| unreadable(path, source, "name a file of [[pattern]] tables"))?;
            Patterns::parse(&text)
        }
    };
    let patterns = patterns.map_err(|error| match &args.patterns {
        Some(path) => Failure::Usage(format!("{path:?}: {error}")),
        None => Failure::Usage(error.to_string()),
    })?;
    Ok(Config { thresholds: Thresholds::default(), patterns, first_ooms: MOST_ROWS })
}

fn unreadable(path: &Path, source: io::Error, next: &'static str) -> Failure {
    Failure::Io { what: format!("{path:?}"), source, next }
}

fn report(session: &Session, args: &args::OomReport, config: &Config) -> Result<(), Failure> {
    let stdin = args.logs.iter().filter(|path| is_stdin(path)).count();
    if stdin > 1 {
        return Err(Failure::Usage("stdin can be read once; give - once".to_owned()));
    }
    let report = read(session, &args.logs, config)?;
    save(args, &report, None)?;
    let verbose = session.output.is_verbose();
    session.output.result(&report, |out| print(out, &report, verbose))
}

fn compare(
    session: &Session,
    args: &args::OomReport,
    config: &Config,
    before: &Path,
    after: &Path,
) -> Result<(), Failure> {
    if is_stdin(before) && is_stdin(after) {
        return Err(Failure::Usage("stdin can be read once; give - once".to_owned()));
    }
    let known = Targets::default();
    let targets = Targets {
        ooms_below: args.ooms_below.unwrap_or(known.ooms_below),
        errors_below: args.errors_below.unwrap_or(known.errors_below),
        success_above: args.success_above.map_or(known.success_above, |percent| percent / 100.0),
    };
    let targets = targets.validated().map_err(|_| {
        Failure::Usage("no run does better than 100 %; give --success-above a number below 100".to_owned())
    })?;
    let (before, after) = (either(session, before, config)?, either(session, after, config)?);
    let comparison = Comparison::new(&before, &after, targets);
    save(args, &after, Some(&comparison))?;
    let compared = Compared { comparison, before, after };
    session.output.result(&compared, |out| print_comparison(out, &compared.comparison))?;
    if args.gate && !compared.comparison.met {
        let missed = compared.comparison.verdicts.iter().filter(|verdict| !verdict.met);
        let missed: Vec<&str> = missed.map(|verdict| name(verdict.measure)).collect();
        return Err(Failure::Partial(format!("targets are missed: {}", missed.join(", "))));
    }
    Ok(())
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(session: &Session, logs: &[PathBuf], config: &Config) -> Result<Report, Failure> {
    let _reading = session.working("reading logs");
    let mut analyzer = Analyzer::new(config.clone());
    for path in logs {
        if is_stdin(path) {
            take(&mut analyzer, path, "stdin", io::stdin().lock())?;
        } else {
            let file =
                File::open(path).map_err(|source| unreadable(path, source, "name a log, or - for stdin"))?;
            take(&mut analyzer, path, &path.display().to_string(), file)?;
        }
    }
    Ok(analyzer.finish())
}

fn take(analyzer: &mut Analyzer, path: &Path, name: &str, log: impl Read) -> Result<(), Failure> {
    analyzer.read(name, log).map_err(|error| match error {
        oom_forensics::Error::Read { source, .. } => unreadable(
            path,
            source,
            "it must be a file that is plain text, or packed by gzip or zstd (up to -19)",
        ),
        other => Failure::Usage(other.to_string()),
    })
}

/// A log, or a report that was saved.
fn either(session: &Session, path: &Path, config: &Config) -> Result<Report, Failure> {
    if !is_stdin(path) {
        let open = |source| unreadable(path, source, "name a log, or a report saved with --json");
        let file = File::open(path).map_err(open)?;
        let mut text = Vec::new();
        file.take(4096).read_to_end(&mut text).map_err(open)?;
        let head = String::from_utf8_lossy(&text);
        if head.trim_start().starts_with('{') && head.contains("\"schema\"") {
            let file = File::open(path).map_err(open)?;
            return saved(path, file);
        }
    }
    read(session, &[path.to_owned()], config)
}

fn saved(path: &Path, file: File) -> Result<Report, Failure> {
    let report: Report = serde_json::from_reader(io::BufReader::new(file.take(MOST_REPORT_BYTES)))
        .map_err(|error| Failure::Usage(format!("{path:?} is no report: {error}; save one with --json")))?;
    report.validated().map_err(|error| Failure::Usage(format!("{path:?}: {error}")))
}

fn save(args: &args::OomReport, report: &Report, comparison: Option<&Comparison>) -> Result<(), Failure> {
    let Some(path) = &args.junit else { return Ok(()) };
    let xml = junit::xml(report, comparison).map_err(|error| Failure::Usage(error.to_string()))?;
    fs::write(path, xml).map_err(|source| unreadable(path, source, "choose a file that can be written"))
}

fn print(out: &mut dyn Write, report: &Report, verbose: bool) -> io::Result<()> {
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
        let range = match bucket.below_bytes {
            Some(below) => format!("below {}", Bytes(below)),
            None => format!("from {}", Bytes(bucket.from_bytes)),
        };
        let bar = "#".repeat((bucket.ooms * 40).div_ceil(most) as usize);
        table.row([range, bucket.ooms.to_string(), bar]);
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
        let severity = match pattern.severity {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        };
        table.row([pattern.count.to_string(), severity.to_owned(), tail(&pattern.name, 55)]);
    }
    table.write(out)?;
    for quote in happened().filter(|_| verbose).filter_map(|pattern| pattern.evidence.as_ref()) {
        wrapped(out, 4, &format!("{}:{}: {}", quote.log, quote.line, quote.text))?;
    }
    Ok(())
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::Ooms => "out of memory",
        Measure::Errors => "errors",
        Measure::SuccessRate => "success rate",
    }
}

fn print_comparison(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    let mut table = Table::new([
        ("", Align::Left),
        ("before", Align::Right),
        ("after", Align::Right),
        ("wanted", Align::Right),
        ("", Align::Left),
    ]);
    for verdict in &comparison.verdicts {
        let Verdict { measure, before, after, wanted, met } = *verdict;
        let shown = |value: f64| match measure {
            Measure::SuccessRate => Percent(value).to_string(),
            _ => format!("{value:.0}"),
        };
        let sign = if measure == Measure::SuccessRate { "above" } else { "below" };
        let known = |value: Option<f64>| value.map_or_else(|| "no tests".to_owned(), shown);
        let (word, style) = if met { ("met", GOOD) } else { ("missed", WARN) };
        let cells = [
            name(measure).to_owned(),
            known(before),
            known(after),
            format!("{sign} {}", shown(wanted)),
            word.to_owned(),
        ];
        table.styled_row(cells, style);
    }
    table.write(out)
}

/// The end of a text that is too long, which is what tells tests and files apart.
fn tail(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let end: String = text.chars().skip(length + 1 - most).collect();
    format!("…{end}")
}

/// A text of several lines, indented. Words that are too long stand out.
fn wrapped(out: &mut dyn Write, indent: usize, text: &str) -> io::Result<()> {
    let room = WIDTH - indent;
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            writeln!(out, "{:indent$}{line}", "")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{:indent$}{line}", "")
}
