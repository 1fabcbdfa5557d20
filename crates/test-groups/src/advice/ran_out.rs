//! Why tests ran out of device memory: they were too large, others held the card, or they did not fit together.

use std::collections::BTreeSet;

use super::{MOST_OF_A_KIND, available_bytes, names};
use crate::conclude::{GroupRun, Ran, own_peak_bytes};
use crate::config::Concurrency;
use crate::report::{Outcome, Sample, VramOf};
use crate::size::human;

/// What ran when a test ran out, and what is known of it.
struct Moment<'r> {
    /// The one that ran out.
    test: &'r Ran,
    /// What ran beside it.
    beside: Vec<&'r Ran>,
    /// What it needs, in bytes: what it held and what it asked for.
    needs_bytes: Option<u64>,
    /// What all of them need, in bytes, where each is known.
    together_bytes: Option<u64>,
    /// What processes outside the group held, in bytes; before the group, if it is not known for then.
    outside_bytes: Option<u64>,
}

/// Sentences about tests that ran out, those about single tests first.
pub(super) fn advice(run: &GroupRun) -> Vec<String> {
    let (mut large, mut outside, mut together, mut unclear) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut said: BTreeSet<Vec<&str>> = BTreeSet::new();
    let ran_out = run.tests.iter().filter(|test| test.report.out_of_memory.is_some());
    for moment in ran_out.map(|test| moment(run, test)) {
        if let Some(sentence) = too_large(run, &moment) {
            large.push(sentence);
        } else if let Some(sentence) = others(run, &moment) {
            outside.push(sentence);
        } else if let Some(sentence) = not_together(run, &moment) {
            let mut group: Vec<&str> = moment.all().map(|test| test.report.id.as_str()).collect();
            group.sort_unstable();
            if said.insert(group) {
                together.push(sentence);
            }
        } else {
            unclear.extend(unexplained(run, &moment));
        }
    }
    [large, outside, together, unclear].into_iter().flat_map(limited).collect()
}

fn limited(mut sentences: Vec<String>) -> Vec<String> {
    let more = sentences.len().saturating_sub(MOST_OF_A_KIND);
    sentences.truncate(MOST_OF_A_KIND);
    if let (Some(last), 1..) = (sentences.last_mut(), more) {
        *last = format!("{last} So it is with {more} more.");
    }
    sentences
}

impl<'r> Moment<'r> {
    fn all(&self) -> impl Iterator<Item = &'r Ran> {
        std::iter::once(self.test).chain(self.beside.iter().copied())
    }
}

fn moment<'r>(run: &'r GroupRun, test: &'r Ran) -> Moment<'r> {
    let attempt = test.attempts.iter().find(|attempt| attempt.out_of_memory).or(test.attempts.last());
    let highest: Option<&Sample> = attempt.and_then(|attempt| {
        let during =
            run.samples.iter().filter(|s| (attempt.started_ms..=attempt.ended_ms).contains(&s.at_ms));
        during.max_by_key(|sample| sample.used_bytes)
    });
    let at_ms = highest.map(|sample| sample.at_ms).or(attempt.map(|attempt| attempt.ended_ms));
    let runs = |other: &&Ran| {
        // One that begins in the millisecond in which another ends did not run beside it.
        at_ms.is_some_and(|at| other.attempts.iter().any(|one| one.started_ms < at && at < one.ended_ms))
    };
    let held_nothing = |other: &Ran| {
        other.report.vram.is_some_and(|vram| vram.of == VramOf::Processes && vram.peak_bytes == 0)
    };
    let others = run.tests.iter().filter(|other| other.report.id != test.report.id && !held_nothing(other));
    let beside: Vec<&Ran> = others.filter(runs).collect();
    // What the card held is that of all who ran.
    let whose =
        |test: &Ran| test.report.vram.is_some_and(|vram| vram.of == VramOf::Processes) || beside.is_empty();
    let needs_bytes = own_peak_bytes(test).filter(|_| whose(test)).map(|held| {
        let asked = test.report.out_of_memory.as_ref().and_then(|out| out.requested_bytes);
        held.saturating_add(asked.unwrap_or(0))
    });
    let together_bytes = beside
        .iter()
        .map(|test| own_peak_bytes(test).filter(|_| whose(test)))
        .try_fold(needs_bytes, |sum, held| Some(sum?.checked_add(held?)))
        .flatten();
    let outside_bytes =
        highest.and_then(|sample| Some(sample.used_bytes.saturating_sub(sample.group_bytes?)));
    Moment { test, beside, needs_bytes, together_bytes, outside_bytes }
}

fn too_large(run: &GroupRun, moment: &Moment<'_>) -> Option<String> {
    let card = run.card_bytes?;
    let needs = moment.needs_bytes.filter(|needs| *needs > card)?;
    let report = &moment.test.report;
    let said = format!("{} alone needs {}, and the card has {}", report.id, human(needs), human(card));
    Some(if report.outcome == Outcome::PassedOnCpu {
        let seconds = report.duration_ms as f64 / 1e3;
        format!(
            "{said}: run it on the processor from the start, where it passed in {seconds:.1} s, or make it smaller."
        )
    } else {
        format!("{said}: run it on the processor, or make it smaller.")
    })
}

/// Without the processes outside the group it would have fitted.
fn others(run: &GroupRun, moment: &Moment<'_>) -> Option<String> {
    let (card, together, outside) = (run.card_bytes?, moment.together_bytes?, moment.outside_bytes?);
    let blamed = together <= card && together.saturating_add(outside) > card;
    blamed.then(|| {
        format!(
            "Processes outside the group held {} of {} when {} ran out, and the group needed {}: end them, or wait until they \
             have.",
            human(outside),
            human(card),
            moment.test.report.id,
            human(together),
        )
    })
}

fn not_together(run: &GroupRun, moment: &Moment<'_>) -> Option<String> {
    if moment.beside.is_empty() {
        return None;
    }
    let tests = names(moment.all());
    let serialise = match moment.beside.len() {
        1 => "Serialise these two".to_owned(),
        beside => format!("Serialise these {}", beside + 1),
    };
    let how = match run.group.concurrency {
        Concurrency::Parallel(_) => {
            "; concurrency = \"adaptive\" starts a test only when there is room for it"
        }
        _ => "",
    };
    let Some(together) = moment.together_bytes else {
        return Some(format!("{serialise}: {tests}: they ran when the first of them ran out{how}."));
    };
    let available = available_bytes(run)?;
    (together > available).then(|| {
        format!(
            "{serialise}: {tests}: together they needed {} of {}{how}.",
            human(together),
            human(available)
        )
    })
}

fn unexplained(run: &GroupRun, moment: &Moment<'_>) -> Option<String> {
    let (needed, available) = (moment.together_bytes?, available_bytes(run)?);
    Some(format!(
        "{} ran out although no more than {} of {} was seen to be needed: what is free may be in pieces \
         (PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True), or it held more for a moment than was seen.",
        moment.test.report.id,
        human(needed),
        human(available),
    ))
}
