//! What became of each test so far, and what is to become of it next. Pure.

use crate::conclude::{Attempt, Ran};
use crate::config::{Group, OnOutOfMemory};
use crate::report::{Outcome, TestReport, TestVram};
use crate::vram::OutOfMemory;

/// The tests of a group.
#[derive(Debug)]
pub(super) struct Ledger {
    tests: Vec<Entry>,
    retries: u32,
    on_out_of_memory: OnOutOfMemory,
    cpu_fallback: String,
}

#[derive(Debug)]
struct Entry {
    ran: Ran,
    done: bool,
    on_cpu: bool,
    running: bool,
    /// The processes that it was started as: number, and when in milliseconds since the group began.
    processes: Vec<(u32, u64)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Passed,
    Failed,
    Skipped,
    /// It took too long.
    TimedOut,
    /// It was ended because its group was.
    Cut,
}

/// An attempt that ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) how: How,
    pub(super) message: Option<String>,
    pub(super) out_of_memory: Option<OutOfMemory>,
    pub(super) left_processes: u64,
    pub(super) vram: Option<TestVram>,
}

/// What is to become of a test after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Done,
    /// It is tried again.
    Retry,
    /// It is tried with the processor, alone.
    OnCpu,
}

impl Ledger {
    pub(super) fn new(group: &Group) -> Self {
        let settings: Vec<String> =
            group.cpu_environment.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        Self {
            tests: Vec::new(),
            retries: group.retries,
            on_out_of_memory: group.on_out_of_memory,
            cpu_fallback: format!("run again with {}", settings.join(" ")),
        }
    }

    /// One more test; returns its number.
    pub(super) fn add(&mut self, id: String, outcome: Outcome, message: Option<String>) -> usize {
        let report = TestReport {
            id,
            outcome,
            attempts: 0,
            started_ms: 0,
            duration_ms: 0,
            waited_ms: 0,
            vram: None,
            out_of_memory: None,
            cpu_fallback: None,
            consolidations: 0,
            consolidated_bytes: 0,
            message,
            left_processes: 0,
        };
        self.tests.push(Entry {
            ran: Ran { report, attempts: Vec::new(), process: None },
            done: outcome != Outcome::NotRun,
            on_cpu: false,
            running: false,
            processes: Vec::new(),
        });
        self.tests.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.tests.len()
    }

    pub(super) fn id(&self, test: usize) -> &str {
        &self.tests[test].ran.report.id
    }

    pub(super) fn report(&self, test: usize) -> &TestReport {
        &self.tests[test].ran.report
    }

    pub(super) fn is_done(&self, test: usize) -> bool {
        self.tests[test].done
    }

    pub(super) fn is_running(&self, test: usize) -> bool {
        self.tests[test].running
    }

    /// Whether its next attempt is one with the processor.
    pub(super) fn on_cpu(&self, test: usize) -> bool {
        self.tests[test].on_cpu
    }

    /// An attempt begins. `shared` is the number of its process if other tests run in it, too. Returns which attempt it is.
    pub(super) fn begin(&mut self, test: usize, now_ms: u64, waited_ms: u64, shared: Option<u32>) -> u32 {
        let entry = &mut self.tests[test];
        entry.running = true;
        entry.ran.process = if entry.ran.attempts.is_empty() { shared } else { None };
        entry.ran.report.attempts += 1;
        entry.ran.report.started_ms = now_ms;
        entry.ran.report.waited_ms += waited_ms;
        entry.ran.report.attempts
    }

    /// It runs as this process.
    pub(super) fn is_process(&mut self, test: usize, pid: u32, now_ms: u64) {
        self.tests[test].processes.push((pid, now_ms));
    }

    /// An attempt ended.
    pub(super) fn end(&mut self, test: usize, now_ms: u64, end: End) -> Next {
        let (retries, on_out_of_memory) = (self.retries, self.on_out_of_memory);
        let entry = &mut self.tests[test];
        entry.running = false;
        let report = &mut entry.ran.report;
        report.duration_ms = now_ms.saturating_sub(report.started_ms);
        report.left_processes += end.left_processes;
        let ran_out = end.out_of_memory.is_some();
        let attempt = Attempt { started_ms: report.started_ms, ended_ms: now_ms, out_of_memory: ran_out };
        entry.ran.attempts.push(attempt);
        if !entry.on_cpu {
            report.vram = together(report.vram, end.vram);
        }
        if report.out_of_memory.is_none() {
            report.out_of_memory = end.out_of_memory;
        }
        let failed = matches!(end.how, How::Failed | How::TimedOut);
        if failed || end.how == How::Skipped || end.how == How::Cut {
            report.message = end.message;
        }
        if failed && !entry.on_cpu {
            if ran_out && on_out_of_memory == OnOutOfMemory::RetryOnCpu && end.how == How::Failed {
                entry.on_cpu = true;
                return Next::OnCpu;
            }
            if !ran_out && report.attempts <= retries {
                return Next::Retry;
            }
        }
        report.outcome = match end.how {
            How::Passed if entry.on_cpu => Outcome::PassedOnCpu,
            How::Passed => Outcome::Passed,
            How::Failed => Outcome::Failed,
            How::Skipped => Outcome::Skipped,
            How::TimedOut => Outcome::TimedOut,
            How::Cut => Outcome::NotRun,
        };
        if entry.on_cpu && report.outcome == Outcome::PassedOnCpu {
            report.cpu_fallback = Some(self.cpu_fallback.clone());
        }
        if end.how == How::Passed {
            report.message = None;
        }
        entry.done = true;
        Next::Done
    }

    /// Nothing more runs: what was still to be tried again is what it last was.
    pub(super) fn close(&mut self) {
        for entry in self.tests.iter_mut().filter(|entry| !entry.done) {
            entry.done = true;
            if !entry.ran.attempts.is_empty() {
                entry.ran.report.outcome = Outcome::Failed;
            }
        }
    }

    /// The test that ran as this process at this time, if it was started as that.
    pub(super) fn of_process(&self, pid: u32, at_ms: u64) -> Option<usize> {
        let started = |entry: &Entry| {
            let processes =
                entry.processes.iter().filter(|(process, from)| *process == pid && *from <= at_ms);
            processes.map(|(_, from)| *from).max()
        };
        let tests = self.tests.iter().enumerate().filter_map(|(test, entry)| Some((started(entry)?, test)));
        tests.max().map(|(_, test)| test)
    }

    /// The only test that ran at this time; `None` if several did, or none.
    pub(super) fn only_at(&self, at_ms: u64) -> Option<usize> {
        let ran = |entry: &Entry| {
            let now = entry.running && entry.ran.report.started_ms <= at_ms;
            now || entry.ran.attempts.iter().any(|one| one.started_ms <= at_ms && at_ms <= one.ended_ms)
        };
        let mut tests = (0..self.tests.len()).filter(|test| ran(&self.tests[*test]));
        let only = tests.next()?;
        tests.next().is_none().then_some(only)
    }

    /// A process of this test consolidated a memory.
    pub(super) fn consolidated(&mut self, test: usize, bytes: u64) {
        let report = &mut self.tests[test].ran.report;
        report.consolidations += 1;
        report.consolidated_bytes = report.consolidated_bytes.saturating_add(bytes);
    }

    /// A process of this test said that it went on with the processor.
    pub(super) fn fell_back(&mut self, test: usize, what: String) {
        self.tests[test].ran.report.cpu_fallback.get_or_insert(what);
    }

    /// Processes were found that this test had left in one that it shared.
    pub(super) fn left_behind(&mut self, test: usize, processes: u64) {
        self.tests[test].ran.report.left_processes += processes;
    }

    pub(super) fn into_tests(self) -> Vec<Ran> {
        self.tests.into_iter().map(|entry| entry.ran).collect()
    }
}

/// Over several attempts: the last before and after, the highest peak. What the processes held says more than the card.
fn together(before: Option<TestVram>, now: Option<TestVram>) -> Option<TestVram> {
    match (before, now) {
        (Some(before), Some(now)) if before.of == now.of => {
            Some(TestVram { peak_bytes: now.peak_bytes.max(before.peak_bytes), ..now })
        }
        (before, now) => now.or(before),
    }
}
