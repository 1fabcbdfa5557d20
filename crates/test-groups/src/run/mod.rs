//! Runs groups: starts tests, follows what they print and hold, and ends all that they left.

mod aftermath;
mod at_gate;
mod capture;
mod context;
mod dispatcher;
mod first_worker;
mod follow;
mod group;
mod ledger;
mod log;
mod options;
mod pull;
mod slots;
mod socket;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) use capture::{Capture, last_words};
pub(crate) use context::{Context, Halt};
pub use options::{Event, Observer, Options};
pub(crate) use socket::{Incoming, Socket};

use self::log::Log;
use crate::conclude::conclude;
use crate::config::{Config, Group};
use crate::error::{Error, Result};
use crate::history::History;
use crate::process::Reaper;
use crate::report::{Report, SCHEMA};
use crate::runners;
use crate::vram::{Forensics, Vram};
use crate::watch::Watch;

/// Runs the groups of a configuration, one after the other, and returns what that was like.
///
/// While it runs, orphaned descendants of this process become its children (`PR_SET_CHILD_SUBREAPER`), so that daemons that
/// tests leave behind are found and ended. If this process is killed with SIGKILL, tests that run are not ended.
///
/// What a test is depends on the runner: for `nextest` and `cargo-test` a `#[test]`, for `pytest` an item, for `command` a command.
/// Retries are made by the run itself, at once for processes of their own, each in a process of its own. A test that is run again
/// with the processor runs alone, after the others, or at once if the first failure is to end the group.
///
/// # Errors
///
/// [`Error::Config`] if a group is asked for that is not there, [`Error::RunnerMissing`] if the runner of one is not, before any
/// test runs; [`Error::File`] if the logs or the history cannot be written; [`Error::Runner`] if no group could begin. A build that
/// fails while other groups run is in the report.
pub fn run(
    config: &Config,
    options: &Options,
    vram: Box<dyn Vram>,
    forensics: &dyn Forensics,
    observer: &mut dyn Observer,
) -> Result<Report> {
    let groups = chosen(config, &options.groups)?;
    let place = Place::new(config, options)?;
    let vram_source = vram.source();
    let _reaper = Reaper::new();
    for group in &groups {
        place.with_context(group, forensics, "check", |context| match runners::check(context) {
            Ok(()) | Err(Halt::Told(_)) => Ok(()),
            Err(Halt::Broken(error)) => Err(error),
        })??;
    }
    observer.event(&Event::RunStarted { directory: &place.directory });
    let history_path = place.output.join("history.json");
    let (mut history, mut note) = History::read(&history_path)?;
    let watch = Watch::start(vram, config.sample_every);
    let mut report =
        Report { schema: SCHEMA, started_unix_ms: place.unix_ms, vram_source, groups: Vec::new() };
    let (mut first_error, mut began) = (None, 0);
    for group in &groups {
        observer.event(&Event::GroupStarted { group });
        let (mut run, error) = place.with_context(group, forensics, &group.name, |context| {
            group::run(context, &watch, &history, observer)
        })??;
        run.notes.extend(note.take());
        let concluded = conclude(run);
        match error {
            Some(error) => first_error = first_error.or(Some(error)),
            None => began += 1,
        }
        if !concluded.tests.is_empty() {
            history.learn(&concluded);
            // After each group, so that an hour of measuring is not lost with the next one.
            history.write(&history_path)?;
        }
        observer.event(&Event::GroupFinished { report: &concluded });
        report.groups.push(concluded);
    }
    match first_error {
        Some(error) if began == 0 => Err(error),
        _ => Ok(report),
    }
}

fn chosen<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Group>> {
    for name in names {
        if !config.groups.iter().any(|group| group.name == *name) {
            let near = config.groups.iter().max_by(|a, b| {
                strsim::jaro_winkler(&a.name, name).total_cmp(&strsim::jaro_winkler(&b.name, name))
            });
            let near = near.map_or(String::new(), |group| format!("; did you mean {:?}?", group.name));
            let path = config.root.join("test-groups.toml");
            return Err(Error::Config { path, reason: format!("there is no group {name:?}{near}") });
        }
    }
    let wanted = |group: &&Group| names.is_empty() || names.contains(&group.name);
    Ok(config.groups.iter().filter(wanted).collect())
}

/// Where a run keeps what it writes, and what tells it from all others.
struct Place<'a> {
    config: &'a Config,
    options: &'a Options,
    /// Of all runs.
    output: PathBuf,
    /// Of this run.
    directory: PathBuf,
    id: String,
    unix_ms: u64,
}

impl<'a> Place<'a> {
    fn new(config: &'a Config, options: &'a Options) -> Result<Self> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = since_1970.as_millis() as u64;
        let id = format!("{unix_ms}-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let output = options.output_dir.clone().unwrap_or_else(|| config.root.join("target/test-groups"));
        let output = std::path::absolute(&output).unwrap_or(output);
        let directory = output.join(&id);
        fs::create_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
        Ok(Self { config, options, output, directory, id, unix_ms })
    }

    fn with_context<T>(
        &self,
        group: &Group,
        forensics: &dyn Forensics,
        name: &str,
        then: impl FnOnce(&Context<'_>) -> T,
    ) -> Result<T> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        let log = self.directory.join(format!("{name}.log"));
        let log = Log::create(&log).map_err(file(&log))?;
        let private =
            tempfile::Builder::new().prefix("omnimind-").tempdir().map_err(file(&std::env::temp_dir()))?;
        let context = Context {
            group,
            directory: Context::directory_of(self.config, group),
            run: &self.id,
            log: &log,
            witness: self.directory.join(format!("{}.witness.jsonl", group.name)),
            private: private.path(),
            gate: self.options.gate.as_deref(),
            forensics,
            interrupted: &self.options.interrupted,
            began: Instant::now(),
        };
        Ok(then(&context))
    }
}
