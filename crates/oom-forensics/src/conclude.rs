//! From what is known of a run to its report.

use std::collections::BTreeMap;

use crate::advice;
use crate::boundary::Totals;
use crate::cause::{Cause, Diagnosis, Thresholds, diagnose};
use crate::growth::Growth;
use crate::oom::Source;
use crate::report::{
    CauseCount, FileCount, Log, Oom, PatternCount, Process, Quote, Report, SCHEMA, SizeBucket, SourceCount,
};
use crate::run::{Incident, Place, Run};

/// The bound of the first bucket of sizes, in bytes; each further one is four times the one before.
const FIRST_BOUND_BYTES: u64 = 1 << 20;
/// The last bound is 64 GiB.
const BOUNDS: u32 = 9;
const MOST_FILES: usize = 1_000;
const MOST_PROCESSES: usize = 100;
/// Lines that are quoted for a cause.
const MOST_EVIDENCE: usize = 3;

/// In which bucket an allocation of so many bytes is, from 0.
pub(crate) fn bucket(bytes: u64) -> u32 {
    (0..BOUNDS).find(|at| bytes < FIRST_BOUND_BYTES << (2 * at)).unwrap_or(BOUNDS)
}

fn bounds(bucket: u32) -> (u64, Option<u64>) {
    let from = if bucket == 0 { 0 } else { FIRST_BOUND_BYTES << (2 * (bucket - 1)) };
    (from, (bucket < BOUNDS).then(|| FIRST_BOUND_BYTES << (2 * bucket)))
}

/// The whole report.
pub(crate) fn report(
    mut run: Run,
    logs: Vec<Log>,
    first: usize,
    thresholds: &Thresholds,
    notes: Vec<String>,
) -> Report {
    let (totals, tests_run, counted_from) = run.counted();
    let growth = growth(&run);
    let diagnoses: Vec<Diagnosis> = run
        .incidents
        .kept
        .iter()
        .map(|incident| diagnose(&incident.message, growth.as_ref(), thresholds))
        .collect();
    let quote = |place: Place, text: &str| Quote {
        log: logs.get(place.log as usize).map(|log| log.name.clone()).unwrap_or_default(),
        line: place.line,
        text: text.to_owned(),
    };
    let kept = || run.incidents.kept.iter().zip(&diagnoses);
    let Totals { passed, failed, errors, skipped, expected_failures, unexpected_passes, seconds } = totals;
    let mut report = Report {
        schema: SCHEMA,
        tests_run,
        passed,
        failed,
        errors,
        skipped,
        expected_failures,
        unexpected_passes,
        success_rate: (tests_run > 0)
            .then(|| (passed.saturating_add(expected_failures) as f64 / tests_run as f64).min(1.0)),
        counted_from,
        duration_s: seconds,
        oom_total: run.incidents.total,
        oom_in_tests: run.incidents.counted.in_tests
            + kept().filter(|(incident, _)| incident.test.is_some()).count() as u64,
        first_ooms: kept().take(first).map(|(incident, why)| oom(&run, incident, why, &quote)).collect(),
        by_file: by_file(&run),
        by_cause: by_cause(&run, &diagnoses, &quote),
        by_source: by_source(&run),
        by_size: Vec::new(),
        size_unknown: 0,
        processes: processes(&run),
        growth,
        patterns: patterns(&run, &quote),
        advice: Vec::new(),
        notes,
        logs: Vec::new(),
    };
    (report.by_size, report.size_unknown) = by_size(&run);
    if run.tests.forgot() {
        report.notes.push(
            "there are more tests than are told apart: later ones that print an error several times may count several times"
                .to_owned(),
        );
    }
    report.logs = logs;
    report.advice = advice::of(&report);
    report
}

fn growth(run: &Run) -> Option<Growth> {
    let in_use: Vec<(u64, u64)> = run
        .incidents
        .kept
        .iter()
        .filter_map(|incident| {
            Some((run.tests.position(incident.test?)?, incident.message.numbers.allocated_bytes?))
        })
        .collect();
    Growth::of(&in_use)
}

fn oom(run: &Run, incident: &Incident, why: &Diagnosis, quote: &impl Fn(Place, &str) -> Quote) -> Oom {
    let file = incident.test.and_then(|id| run.tests.file(id));
    let test = incident.name.as_ref().map(|name| match file {
        // Sections have `TestA.test_b`, and no file.
        Some(file) if !name.contains("::") => format!("{file}::{}", name.replacen('.', "::", 1)),
        _ => name.clone(),
    });
    Oom {
        test,
        position: incident.test.and_then(|id| run.tests.position(id)),
        at: quote(incident.place, &incident.text),
        source: incident.message.source,
        numbers: incident.message.numbers.clone(),
        cause: why.cause,
        reason: why.reason.clone(),
    }
}

/// Pairs with their counts, most first, and else in their own order.
fn most_first<K: Ord>(counts: BTreeMap<K, u64>) -> Vec<(K, u64)> {
    let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn by_file(run: &Run) -> Vec<FileCount> {
    let mut counts = run.incidents.counted.by_file.clone();
    for incident in &run.incidents.kept {
        let file = incident.test.and_then(|id| run.tests.file(id));
        *counts.entry(file.map(str::to_owned)).or_default() += 1;
    }
    let counts = most_first(counts).into_iter().take(MOST_FILES);
    counts.map(|(file, ooms)| FileCount { file, ooms }).collect()
}

fn by_cause(run: &Run, diagnoses: &[Diagnosis], quote: &impl Fn(Place, &str) -> Quote) -> Vec<CauseCount> {
    let mut counts = run.incidents.counted.by_cause.clone();
    for diagnosis in diagnoses {
        *counts.entry(diagnosis.cause).or_default() += 1;
    }
    let found = |cause: Cause| {
        run.incidents.kept.iter().zip(diagnoses).filter(move |(_, diagnosis)| diagnosis.cause == cause)
    };
    most_first(counts)
        .into_iter()
        .map(|(cause, ooms)| CauseCount {
            cause,
            ooms,
            reason: found(cause).next().map(|(_, diagnosis)| diagnosis.reason.clone()).unwrap_or_default(),
            evidence: found(cause)
                .take(MOST_EVIDENCE)
                .map(|(incident, _)| quote(incident.place, &incident.text))
                .collect(),
        })
        .collect()
}

fn by_source(run: &Run) -> Vec<SourceCount> {
    let mut counts: BTreeMap<Source, u64> = run.incidents.counted.by_source.clone();
    for incident in &run.incidents.kept {
        *counts.entry(incident.message.source).or_default() += 1;
    }
    most_first(counts).into_iter().map(|(source, ooms)| SourceCount { source, ooms }).collect()
}

/// All buckets from the first to the last that has any, and how many have no size.
fn by_size(run: &Run) -> (Vec<SizeBucket>, u64) {
    let mut counts = run.incidents.counted.by_request.clone();
    for incident in &run.incidents.kept {
        *counts.entry(incident.message.numbers.requested_bytes.map(bucket)).or_default() += 1;
    }
    let unknown = counts.remove(&None).unwrap_or_default();
    let used = counts.keys().flatten().copied();
    let (Some(first), Some(last)) = (used.clone().min(), used.max()) else { return (Vec::new(), unknown) };
    let buckets = (first..=last).map(|at| {
        let (from_bytes, below_bytes) = bounds(at);
        SizeBucket { from_bytes, below_bytes, ooms: counts.get(&Some(at)).copied().unwrap_or_default() }
    });
    (buckets.collect(), unknown)
}

fn processes(run: &Run) -> Vec<Process> {
    let mut processes: Vec<Process> = run
        .incidents
        .holders
        .iter()
        .map(|((pid, name), holder)| Process {
            pid: *pid,
            name: name.clone(),
            most_bytes: holder.most_bytes,
            seen: holder.seen,
        })
        .collect();
    processes.sort_by_key(|process| (std::cmp::Reverse(process.seen), process.pid));
    processes.truncate(MOST_PROCESSES);
    processes
}

fn patterns(run: &Run, quote: &impl Fn(Place, &str) -> Quote) -> Vec<PatternCount> {
    let found = run.patterns.all().iter().zip(&run.known.found);
    let mut patterns: Vec<PatternCount> = found
        .map(|(pattern, found)| PatternCount {
            name: pattern.name.clone(),
            severity: pattern.severity,
            count: found.count,
            lines: found.lines,
            evidence: found.first.as_ref().map(|(place, text)| quote(*place, text)),
        })
        .collect();
    patterns.sort_by_key(|pattern| std::cmp::Reverse((pattern.severity, pattern.count)));
    patterns
}
