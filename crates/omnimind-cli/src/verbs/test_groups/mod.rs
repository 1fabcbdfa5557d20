//! `test-groups`: runs groups of tests under VRAM watch. Running them is left to `test-groups`; this says what to look at, and
//! tells what happens and what came of it.

mod live;
mod page;
mod print;
mod surroundings;
mod words;

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gpu_probe::{GpuProbe, SHARED_CARD_VARIABLE, SimulatedGpu, detect_to_look};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tempfile::TempDir;
use test_groups::{Concurrency, Config, Error, Group, Options, Report, Runner, junit, schema};

use self::live::Live;
use self::surroundings::{Cards, Outputs};
use crate::args::{self, SchemaOf};
use crate::config::GpuSource;
use crate::failure::Failure;
use crate::output::{Align, Table};
use crate::session::Session;

/// What a group is, for whoever looks for its name.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    question: &'a str,
    runner: &'static str,
    concurrency: String,
}

pub(super) fn run(session: &Session, args: &args::TestGroups) -> Result<(), Failure> {
    match args.schema {
        Some(SchemaOf::Report) => return session.output.schema(schema::report_schema()),
        Some(SchemaOf::Config) => return session.output.schema(schema::config_schema()),
        None => {}
    }
    let mut config = Config::read(&args.file).map_err(|error| failure(error, &args.file))?;
    if args.list {
        return list(session, &config);
    }
    if args.keep_going {
        for group in &mut config.groups {
            group.fail_fast = false;
        }
    }
    for path in [&args.html, &args.junit].into_iter().flatten() {
        // Before an hour of tests, not after it.
        OpenOptions::new().append(true).create(true).open(path).map_err(|source| unwritable(path, source))?;
    }
    let (cards, _kept) = cards(session, args, &mut config)?;
    let options = Options {
        groups: args.groups.clone(),
        output_dir: args.output_dir.clone(),
        interrupted: interrupted()?,
        gate: None,
    };
    let outputs = Outputs { thresholds: session.config().oom_report.thresholds };
    let mut live = Live::new(session.output);
    let report = test_groups::run(&config, &options, Box::new(Cards(cards)), &outputs, &mut live)
        .map_err(|error| failure(error, &args.file))?;
    drop(live);
    save(args, &report)?;
    let verbose = session.output.is_verbose();
    session.output.result(&report, |out| print::report(out, &report, verbose))?;
    words::failure(&report).map_or(Ok(()), |why| Err(Failure::Partial(why)))
}

/// Becomes a test, once there is room for it. Returns only if that fails.
pub(super) fn enter(args: &args::TestGroups, socket: &Path) -> Failure {
    Failure::Io {
        what: "the gate before a test".to_owned(),
        source: test_groups::gate::enter(socket, &args.command),
        next: "it is for test runners that `omnimind test-groups` starts",
    }
}

fn failure(error: Error, file: &Path) -> Failure {
    match error {
        Error::File { path, source } => {
            let next = if path == file {
                "name a file of [[group]] tables with --file"
            } else {
                "choose another directory for logs with --output-dir"
            };
            Failure::Io { what: format!("{path:?}"), source, next }
        }
        Error::Config { .. } => Failure::Usage(error.to_string()),
        other => Failure::Partial(other.to_string()),
    }
}

/// What is looked at. A simulated card is shared with the tests, for as long as the directory that comes with it is kept.
fn cards(
    session: &Session,
    args: &args::TestGroups,
    config: &mut Config,
) -> Result<(Arc<dyn GpuProbe>, Option<TempDir>), Failure> {
    if !args.simulated && session.config().gpu.source == GpuSource::Auto {
        // Looking takes nothing of a card.
        let found = detect_to_look();
        session.output.note(&found.note);
        return Ok((found.probe, None));
    }
    let dir = tempfile::tempdir().map_err(|source| Failure::Io {
        what: "a directory for the simulated card".to_owned(),
        source,
        next: "set TMPDIR to a directory that can be written",
    })?;
    let book = dir.path().join("card");
    let capacity_bytes = session.config().gpu.simulated_bytes;
    let gpu = SimulatedGpu::shared(&book, capacity_bytes).map_err(Failure::from_gpu)?;
    let text =
        book.to_str().ok_or_else(|| Failure::Usage(format!("{book:?} is not UTF-8; set another TMPDIR")))?;
    for group in &mut config.groups {
        group.environment.insert(SHARED_CARD_VARIABLE.to_owned(), text.to_owned());
    }
    Ok((Arc::new(gpu), Some(dir)))
}

/// Set by the first Ctrl-C; the second one ends the process.
fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let second = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupted));
        second.and_then(|_| flag::register(signal, Arc::clone(&interrupted))).map_err(|source| {
            Failure::Io {
                what: "signals cannot be waited for".to_owned(),
                source,
                next: "this system does not let a process catch its signals",
            }
        })?;
    }
    Ok(interrupted)
}

fn save(args: &args::TestGroups, report: &Report) -> Result<(), Failure> {
    let write = |path: &Path, text: Vec<u8>| fs::write(path, text).map_err(|source| unwritable(path, source));
    if let Some(path) = &args.html {
        write(path, page::html(report).into_bytes())?;
    }
    if let Some(path) = &args.junit {
        let mut xml = Vec::new();
        junit(report, &mut xml).map_err(|error| Failure::Usage(error.to_string()))?;
        write(path, xml)?;
    }
    Ok(())
}

fn unwritable(path: &Path, source: io::Error) -> Failure {
    Failure::Io { what: format!("{path:?}"), source, next: "choose a file that can be written" }
}

fn list(session: &Session, config: &Config) -> Result<(), Failure> {
    let groups: Vec<Listed<'_>> = config.groups.iter().map(listed).collect();
    session.output.result(&groups, |out| {
        let columns = ["group", "runner", "at once", "question"].map(|name| (name, Align::Left));
        let mut table = Table::new(columns);
        for group in &groups {
            let cells = [group.name, group.runner, &group.concurrency, group.question];
            table.row(cells.map(str::to_owned));
        }
        table.write(out)
    })
}

fn listed(group: &Group) -> Listed<'_> {
    let runner = match group.runner {
        Runner::Nextest => "nextest",
        Runner::CargoTest => "cargo-test",
        Runner::Pytest => "pytest",
        Runner::Command => "command",
    };
    let concurrency = match group.concurrency {
        Concurrency::Isolated => "isolated".to_owned(),
        Concurrency::Sequential => "sequential".to_owned(),
        Concurrency::Parallel(count) => format!("parallel {count}"),
        Concurrency::Adaptive => "adaptive".to_owned(),
    };
    Listed { name: &group.name, question: &group.question, runner, concurrency }
}
