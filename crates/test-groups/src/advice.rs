//! What to do about a group, from what was seen of it. Every number in a sentence was measured, or is a sum of such.

mod ran_out;

use std::time::Duration;

use crate::admission::with_margin;
use crate::conclude::{GroupRun, Ran, own_peak_bytes};
use crate::config::Concurrency;
use crate::report::{Accumulation, Outcome, VramOf};
use crate::size::{human, human_f64};

/// So many tests are named in one sentence.
const MOST_NAMES: usize = 4;
/// So many sentences of one kind.
const MOST_OF_A_KIND: usize = 5;

/// Sentences, most useful first.
pub(crate) fn of(run: &GroupRun, accumulation: Option<&Accumulation>) -> Vec<String> {
    let mut advice = ran_out::advice(run);
    advice.extend(accumulation.and_then(|found| growth(run, found)));
    advice.extend(timeouts(run));
    advice.extend(left_processes(run));
    advice.extend(more_at_once(run));
    advice
}

/// `a, b, c and 3 more`.
fn names<'t>(tests: impl IntoIterator<Item = &'t Ran>) -> String {
    let tests: Vec<&str> = tests.into_iter().map(|test| test.report.id.as_str()).collect();
    let named = tests[..tests.len().min(MOST_NAMES)].join(", ");
    match tests.len().saturating_sub(MOST_NAMES) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// What there was for the group on the card, in bytes.
fn available_bytes(run: &GroupRun) -> Option<u64> {
    Some(run.card_bytes?.saturating_sub(run.before_bytes.unwrap_or(0)))
}

/// What a test needs if it has a process for itself, in bytes: not less than was seen.
fn alone_bytes(test: &Ran) -> Option<u64> {
    match test.report.vram?.of {
        VramOf::Processes => Some(test.report.vram?.peak_bytes),
        VramOf::Card => own_peak_bytes(test),
    }
}

fn growth(run: &GroupRun, found: &Accumulation) -> Option<String> {
    if !found.grows {
        return None;
    }
    let grown = format!(
        "Memory in use grows by {} with each test, over {} tests (95 %: {} to {})",
        human_f64(found.bytes_per_test),
        found.tests,
        human_f64(found.low_bytes_per_test),
        human_f64(found.high_bytes_per_test),
    );
    let left = |test: &&Ran| {
        let vram = test.report.vram.filter(|_| test.process.is_some());
        vram.map_or(0, |vram| vram.after_bytes.saturating_sub(vram.before_bytes))
    };
    let mut most: Vec<&Ran> =
        run.tests.iter().filter(|test| left(test) as f64 >= found.bytes_per_test).collect();
    if most.is_empty() {
        return Some(format!(
            "{grown} while none runs: look for processes that outlive their test, and for services that tests fill."
        ));
    }
    most.sort_by_key(|test| std::cmp::Reverse(left(test)));
    let named =
        most.iter().take(MOST_NAMES).map(|test| format!("{} leaves {}", test.report.id, human(left(test))));
    Some(format!(
        "{grown}: {}. Drop models in teardown, look for caches and globals, or run the group isolated.",
        named.collect::<Vec<_>>().join(", ")
    ))
}

fn timeouts(run: &GroupRun) -> Option<String> {
    let late: Vec<&Ran> = run.tests.iter().filter(|test| test.report.outcome == Outcome::TimedOut).collect();
    let timeout = run.group.timeout.filter(|_| !late.is_empty())?;
    let (took, hang, slow) = match late.len() {
        1 => (
            "One test".to_owned(),
            "it hangs rather than being slow",
            "a longer timeout may be all that it needs",
        ),
        tests => (
            format!("{tests} tests"),
            "they hang rather than being slow",
            "a longer timeout may be all that they need",
        ),
    };
    let said = format!("{took} took longer than {}: {}", humantime::format_duration(timeout), names(late));
    let passed = run.tests.iter().filter(|test| test.report.outcome == Outcome::Passed);
    let Some(slowest) = passed.max_by_key(|test| test.report.duration_ms) else {
        return Some(format!("{said}; none passed."));
    };
    let slowest_took = Duration::from_millis(slowest.report.duration_ms);
    let why = if slowest_took * 2 < timeout { hang } else { slow };
    Some(format!("{said}; the slowest that passed took {}: {why}.", humantime::format_duration(slowest_took)))
}

fn left_processes(run: &GroupRun) -> Option<String> {
    let left: Vec<&Ran> = run.tests.iter().filter(|test| test.report.left_processes > 0).collect();
    let processes: u64 = left.iter().map(|test| test.report.left_processes).fold(0, u64::saturating_add);
    (processes > 0).then(|| {
        format!(
            "{processes} processes were left behind and had to be ended: end them in the teardown of {}.",
            names(left)
        )
    })
}

/// Whether more would fit at once, by the largest.
fn more_at_once(run: &GroupRun) -> Option<String> {
    let now = match run.group.concurrency {
        Concurrency::Isolated | Concurrency::Sequential => 1,
        Concurrency::Parallel(tests) => tests as u64,
        Concurrency::Adaptive => return None,
    };
    let ran: Vec<&Ran> = run.tests.iter().filter(|test| !test.attempts.is_empty()).collect();
    if ran.iter().any(|test| test.report.out_of_memory.is_some()) {
        return None;
    }
    // Nobody knows whose bytes those of the card were, if several ran.
    if now > 1 && ran.iter().any(|test| test.report.vram.is_some_and(|vram| vram.of == VramOf::Card)) {
        return None;
    }
    let needs: Vec<u64> = ran.iter().map(|test| alone_bytes(test)).collect::<Option<_>>()?;
    let largest = needs.iter().copied().max().filter(|largest| *largest > 0)?;
    let available = available_bytes(run)?.min(run.group.gpu_budget_bytes.unwrap_or(u64::MAX));
    let fit = (available / with_margin(largest)).min(needs.len() as u64);
    (fit > now).then(|| {
        format!("Run up to {fit} at once: the largest needs {} of {}.", human(largest), human(available))
    })
}
