//! One group: its tests are listed, run, and handed over with all that was seen.

use std::cell::OnceCell;
use std::thread::Scope;
use std::time::{Duration, UNIX_EPOCH};

use super::context::{Context, Halt};
use super::dispatcher::{Dispatcher, Inbox, Outside};
use super::first_worker::{self, FirstWorker};
use super::ledger::Ledger;
use super::options::{Event, Observer};
use crate::conclude::GroupRun;
use crate::config::{Concurrency, Runner};
use crate::error::{Error, Result};
use crate::history::History;
use crate::report::Outcome;
use crate::runners::{Listed, Suite};
use crate::watch::{Board, Watch};
use crate::witness::Witness;

/// Runs it. The error is why it could not begin, if it could not; the report says so, too.
pub(super) fn run(
    context: &Context<'_>,
    watch: &Watch,
    history: &History,
    observer: &mut dyn Observer,
) -> Result<(GroupRun, Option<Error>)> {
    let group = context.group;
    let witness = Witness::create(&context.witness)
        .map_err(|source| Error::File { path: context.witness.clone(), source })?;
    watch.begin_group(Board::new(group.device, context.run, &group.name, context.began));
    let mut ledger = Ledger::new(group);
    let mut notes = Vec::new();
    let mut error = None;
    let outside = Outside { watch, history, observer, witness, began_unix_ms: unix_ms_of(context) };
    let listed = OnceCell::new();
    let (of_ledger, of_notes) = (&mut ledger, &mut notes);
    let ran = std::thread::scope(|scope| {
        let inbox = Inbox::new();
        let (suite, tests, first) = list(scope, context, &inbox)?;
        add(of_ledger, &suite, tests);
        let suite = listed.get_or_init(|| suite);
        let stopped = Dispatcher::run(scope, context, suite, of_ledger, of_notes, outside, (inbox, first));
        Ok(stopped.or_else(|| not_collected(suite)))
    });
    let stopped = match ran {
        Ok(stopped) => stopped,
        Err(Halt::Told(reason)) => Some(reason),
        Err(Halt::Broken(broken)) => {
            let reason = broken.to_string();
            context.log.line(&reason);
            error = Some(broken);
            Some(reason)
        }
    };
    ledger.close();
    let board = watch.end_group();
    notes.extend(context.log.finish());
    notes.extend(board.as_ref().map(Board::notes).unwrap_or_default());
    let run = GroupRun {
        group: group.clone(),
        tests: ledger.into_tests(),
        wall: context.began.elapsed(),
        stopped,
        notes,
        card_bytes: board.as_ref().and_then(Board::card_bytes),
        before_bytes: board.as_ref().and_then(Board::before_bytes),
        peak_gpu_processes: board.as_ref().map_or(0, Board::most_holding),
        samples: board.map(Board::into_samples).unwrap_or_default(),
        log: Some(context.log.path().to_owned()),
    };
    Ok((run, error))
}

/// Finds out which tests there are. The process that pytest collects in goes on as a worker, where there are workers.
fn list<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    context: &'env Context<'env>,
    inbox: &Inbox,
) -> Result<(Suite, Vec<Listed>, Option<FirstWorker>), Halt> {
    let group = context.group;
    if group.runner == Runner::Pytest && group.concurrency != Concurrency::Isolated {
        let (suite, tests, first) = first_worker::list(scope, context, inbox)?;
        return Ok((Suite::Pytest(suite), tests, Some(first)));
    }
    let (suite, tests) = Suite::list(context)?;
    Ok((suite, tests, None))
}

/// When the group began, in milliseconds since 1970.
fn unix_ms_of(context: &Context<'_>) -> u64 {
    let now = UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    now.saturating_sub(context.began.elapsed()).as_millis() as u64
}

fn add(ledger: &mut Ledger, suite: &Suite, tests: Vec<Listed>) {
    for test in tests {
        let outcome = if test.skipped { Outcome::Skipped } else { Outcome::NotRun };
        ledger.add(test.id, outcome, None);
    }
    if let Suite::Pytest(suite) = suite {
        for (file, message) in &suite.errors {
            let message = super::last_words(message);
            ledger.add(file.clone(), Outcome::Failed, message);
        }
    }
}

/// As pytest has it, tests do not run if some could not be collected.
fn not_collected(suite: &Suite) -> Option<String> {
    match suite {
        Suite::Pytest(suite) if suite.stops() => {
            Some(format!("{} could not be collected", suite.errors.len()))
        }
        _ => None,
    }
}

/// Tells an observer what was listed.
pub(super) fn tell_listed(observer: &mut dyn Observer, group: &str, to_run: usize, skipped: usize) {
    observer.event(&Event::TestsListed { group, to_run, skipped });
}
