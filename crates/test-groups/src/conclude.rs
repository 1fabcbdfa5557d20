//! From what was seen of a group to its report: counts, peaks, growth, advice. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::advice;
use crate::config::{Concurrency, Group, Runner};
use crate::report::{Accumulation, GroupReport, Outcome, Sample, TestReport, VramOf};

/// So many samples are kept.
pub const MOST_SAMPLES: usize = 2_000;

/// A group as it ran.
#[derive(Debug, Clone)]
pub struct GroupRun {
    /// How it was configured.
    pub group: Group,
    /// Its tests, those that did not run any more among them.
    pub tests: Vec<Ran>,
    /// What was seen of the card, in the order of time.
    pub samples: Vec<Sample>,
    /// How long it took.
    pub wall: Duration,
    /// Why not all of it ran, if not all of it ran.
    pub stopped: Option<String>,
    /// What was not seen, cut, or left behind.
    pub notes: Vec<String>,
    /// The size of the card in bytes; `None` where nothing was seen.
    pub card_bytes: Option<u64>,
    /// In use on the card before the first test, in bytes.
    pub before_bytes: Option<u64>,
    /// Tests that held memory of the card in the same look, at most.
    pub peak_gpu_processes: u64,
    /// Where all that was printed is kept.
    pub log: Option<PathBuf>,
}

/// A test as it ran.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What is saved of it. Its `vram` is that of its attempts with the card; those with the processor do not count.
    pub report: TestReport,
    /// Its attempts, in order; empty if it did not run.
    pub attempts: Vec<Attempt>,
    /// The process in which it ran, if other tests ran in that, too: any number that these have in common.
    pub process: Option<u32>,
}

/// One attempt of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it began, in milliseconds since the group began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// Whether it ran out of device memory.
    pub out_of_memory: bool,
}

/// The report of a group.
#[must_use]
pub fn conclude(mut run: GroupRun) -> GroupReport {
    run.tests.sort_by_key(|test| (test.attempts.is_empty(), test.report.started_ms));
    let accumulation = accumulation(&run);
    let advice = advice::of(&run, accumulation.as_ref());
    let counted =
        |outcome: Outcome| run.tests.iter().filter(|test| test.report.outcome == outcome).count() as u64;
    let peaks: Vec<u64> = run.tests.iter().filter_map(own_peak_bytes).collect();
    GroupReport {
        name: run.group.name.clone(),
        question: run.group.question.clone(),
        runner: runner(run.group.runner).to_owned(),
        concurrency: concurrency(run.group.concurrency),
        stopped: run.stopped.clone(),
        wall_s: run.wall.as_secs_f64(),
        passed: counted(Outcome::Passed),
        passed_on_cpu: counted(Outcome::PassedOnCpu),
        failed: counted(Outcome::Failed) + counted(Outcome::TimedOut),
        timed_out: counted(Outcome::TimedOut),
        skipped: counted(Outcome::Skipped) + counted(Outcome::NotRun),
        ooms: run.tests.iter().filter(|test| test.report.out_of_memory.is_some()).count() as u64,
        consolidations: run.tests.iter().map(|test| test.report.consolidations).fold(0, u64::saturating_add),
        card_bytes: run.card_bytes,
        before_bytes: run.before_bytes,
        peak_bytes: peak_bytes(&run),
        sum_of_peaks_bytes: (!peaks.is_empty()).then(|| peaks.iter().copied().fold(0, u64::saturating_add)),
        largest_peak_bytes: peaks.iter().copied().max(),
        peak_gpu_processes: run.peak_gpu_processes,
        first_failure: first_failure(&run.tests),
        accumulation,
        advice,
        notes: std::mem::take(&mut run.notes),
        tests: run.tests.into_iter().map(|test| test.report).collect(),
        samples: thinned(&run.samples, MOST_SAMPLES),
        log: run.log,
    }
}

fn runner(runner: Runner) -> &'static str {
    match runner {
        Runner::Nextest => "nextest",
        Runner::CargoTest => "cargo-test",
        Runner::Pytest => "pytest",
        Runner::Command => "command",
    }
}

fn concurrency(concurrency: Concurrency) -> String {
    match concurrency {
        Concurrency::Isolated => "isolated".to_owned(),
        Concurrency::Sequential => "sequential".to_owned(),
        Concurrency::Parallel(tests) => format!("parallel {tests}"),
        Concurrency::Adaptive => "adaptive".to_owned(),
    }
}

/// What a test held at most that was not there when it began, in bytes. Where it had its processes for itself, these are all
/// that they held.
pub(crate) fn own_peak_bytes(test: &Ran) -> Option<u64> {
    let vram = test.report.vram?;
    Some(match vram.of {
        VramOf::Processes if test.process.is_none() => vram.peak_bytes,
        VramOf::Processes | VramOf::Card => vram.peak_bytes.saturating_sub(vram.before_bytes),
    })
}

/// What the group held at most: as its processes did where that was seen, else what came on top of what was there before.
fn peak_bytes(run: &GroupRun) -> Option<u64> {
    let held = run.samples.iter().filter_map(|sample| match (sample.group_bytes, run.before_bytes) {
        (Some(bytes), _) => Some(bytes),
        (None, before) => Some(sample.used_bytes.saturating_sub(before?)),
    });
    // Peaks between two looks are known from the tests themselves.
    held.chain(run.tests.iter().filter_map(|test| match test.report.vram?.of {
        VramOf::Processes => Some(test.report.vram?.peak_bytes),
        VramOf::Card => Some(test.report.vram?.peak_bytes.saturating_sub(run.before_bytes?)),
    }))
    .max()
}

/// The one that ended first of those that failed.
fn first_failure(tests: &[Ran]) -> Option<String> {
    let failed =
        tests.iter().filter(|test| matches!(test.report.outcome, Outcome::Failed | Outcome::TimedOut));
    failed
        .min_by_key(|test| test.report.started_ms.saturating_add(test.report.duration_ms))
        .map(|test| test.report.id.clone())
}

/// Of the process that ran most tests, else of the card while no test ran.
fn accumulation(run: &GroupRun) -> Option<Accumulation> {
    let mut by_process: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for test in &run.tests {
        if let (Some(process), Some(vram)) = (test.process, test.report.vram) {
            let after = by_process.entry(process).or_default();
            after.push((after.len() as u64, vram.after_bytes));
        }
    }
    match by_process.into_values().max_by_key(Vec::len) {
        Some(after) => Accumulation::of(&after),
        None => Accumulation::of(&between_tests(run)),
    }
}

/// How much was in use while no test ran, by how many had ended: the least of each pause.
fn between_tests(run: &GroupRun) -> Vec<(u64, u64)> {
    let mut ends: Vec<u64> =
        run.tests.iter().flat_map(|test| test.attempts.iter().map(|one| one.ended_ms)).collect();
    ends.sort_unstable();
    let mut pauses: BTreeMap<u64, u64> = BTreeMap::new();
    for sample in run.samples.iter().filter(|sample| sample.running == 0) {
        let ended = ends.partition_point(|end| *end <= sample.at_ms) as u64;
        let bytes = sample.group_bytes.unwrap_or(sample.used_bytes);
        if ended > 0 {
            pauses.entry(ended).and_modify(|least| *least = bytes.min(*least)).or_insert(bytes);
        }
    }
    pauses.into_iter().collect()
}

/// At most so many samples, each the highest of its stretch of time.
fn thinned(samples: &[Sample], most: usize) -> Vec<Sample> {
    let stretch = samples.len().div_ceil(most.max(1)).max(1);
    samples
        .chunks(stretch)
        .filter_map(|stretch| stretch.iter().rev().max_by_key(|sample| sample.used_bytes))
        .copied()
        .collect()
}
