//! `oom-report`: what logs of tests say about memory. Reads logs, prints and saves what was found; finding is left to
//! `oom-forensics`.

mod page;
mod print;
mod words;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oom_forensics::{Analyzer, Comparison, Config, Patterns, Report, Targets, junit};
use serde::Serialize;

use crate::args;
use crate::failure::Failure;
use crate::session::Session;

/// Rows of a table, unless everything is asked for.
const MOST_ROWS: usize = 10;
/// Errors that a page shows in its chart.
const MOST_CHARTED: usize = 1000;
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
    if args.schema {
        return session.output.schema(oom_forensics::schema::schema());
    }
    let is_about_two =
        args.gate || args.ooms_below.is_some() || args.errors_below.is_some() || args.success_above.is_some();
    if is_about_two && args.compare.is_empty() {
        let text = "--gate and targets are about two runs; give --compare BEFORE AFTER instead of logs";
        return Err(Failure::Usage(text.to_owned()));
    }
    let config = config(session, args)?;
    match args.compare.as_slice() {
        [before, after] => compare(session, args, &config, before, after),
        _ => report(session, args, &config),
    }
}

/// What to look for: of what was typed, or else of the settings, or else what comes along.
fn config(session: &Session, args: &args::OomReport) -> Result<Config, Failure> {
    let set = &session.config().oom_report;
    let file = args.patterns.as_ref().or(Some(&set.patterns).filter(|path| !path.as_os_str().is_empty()));
    let patterns = match file {
        None => Patterns::known().map_err(|error| Failure::Usage(error.to_string()))?,
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|source| unreadable(path, source, "name a file of [[pattern]] tables"))?;
            Patterns::parse(&text).map_err(|error| Failure::Usage(format!("{path:?}: {error}")))?
        }
    };
    let first_ooms = if args.html.is_some() { MOST_CHARTED } else { MOST_ROWS };
    Ok(Config { thresholds: set.thresholds, patterns, first_ooms })
}

fn unreadable(path: &Path, source: io::Error, next: &'static str) -> Failure {
    Failure::Io { what: format!("{path:?}"), source, next }
}

fn report(session: &Session, args: &args::OomReport, config: &Config) -> Result<(), Failure> {
    let stdin = args.logs.iter().filter(|path| is_stdin(path)).count();
    if stdin > 1 {
        return Err(Failure::Usage("stdin can be read once; give - once".to_owned()));
    }
    let report = save(args, read(session, &args.logs, config)?, None)?;
    let verbose = session.output.is_verbose();
    session.output.result(&report, |out| print::report(out, &report, verbose))
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
    let set = session.config().oom_report.targets;
    let targets = Targets {
        ooms_below: args.ooms_below.unwrap_or(set.ooms_below),
        errors_below: args.errors_below.unwrap_or(set.errors_below),
        success_above: args.success_above.map_or(set.success_above, |percent| percent / 100.0),
    };
    let targets = targets.validated().map_err(|_| {
        Failure::Usage("no run does better than 100 %; give --success-above a number below 100".to_owned())
    })?;
    let (before, after) = (either(session, before, config)?, either(session, after, config)?);
    let comparison = Comparison::new(&before, &after, targets);
    let after = save(args, after, Some(&comparison))?;
    let compared = Compared { comparison, before, after };
    session.output.result(&compared, |out| print::comparison(out, &compared.comparison))?;
    if args.gate && !compared.comparison.met {
        let missed = compared.comparison.verdicts.iter().filter(|verdict| !verdict.met);
        let missed: Vec<&str> = missed.map(|verdict| words::measure(verdict.measure)).collect();
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

/// Writes the files that were asked for. What remains is the report as it is without them.
fn save(
    args: &args::OomReport,
    mut report: Report,
    comparison: Option<&Comparison>,
) -> Result<Report, Failure> {
    if let Some(path) = &args.html {
        write(path, page::html(&report, comparison))?;
    }
    report.first_ooms.truncate(MOST_ROWS);
    if let Some(path) = &args.junit {
        let xml = junit::xml(&report, comparison).map_err(|error| Failure::Usage(error.to_string()))?;
        write(path, xml)?;
    }
    Ok(report)
}

fn write(path: &Path, text: String) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| unreadable(path, source, "choose a file that can be written"))
}
