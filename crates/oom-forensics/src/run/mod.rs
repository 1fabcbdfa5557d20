//! What is known of a run so far: which test a line belongs to, what was counted, and what is kept of it. All that grows with
//! the log has a limit.
//!
//! # What counts as one out-of-memory error
//!
//! A test runs out of memory once in a session, however often it says so: live, in its section, in a chain of exceptions, in the summary.
//! A message belongs to the test in whose section, output or summary line it stands. One that stands nowhere, because workers
//! mix their output, counts by itself, until a test reports the same numbers: then it was that test's. Outside of tests the same
//! message again, within [`REPEATED_WITHIN_LINES`] lines, is the same error printed again.

mod incidents;
mod known;
mod tests_seen;

use crate::Thresholds;
use crate::boundary::{self, Event, Part, Status, TestName, Totals};
use crate::line;
use crate::oom;
use crate::patterns::Patterns;
use crate::report::CountedFrom;
use crate::scan::{Candidate, Then};

pub(crate) use incidents::{Incident, Incidents, Place};
pub(crate) use known::Known;
pub(crate) use tests_seen::{Ended, TestId, TestsSeen};

/// The same message outside of tests is the same error within so many lines.
pub(crate) const REPEATED_WITHIN_LINES: u64 = 64;

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own about what was read so far.
pub(crate) struct Run {
    pub(crate) patterns: Patterns,
    pub(crate) tests: TestsSeen,
    pub(crate) incidents: Incidents,
    pub(crate) known: Known,
    /// Of runners that said their last line.
    totals: Totals,
    has_totals: bool,
    /// Of results since then.
    results: Totals,
    has_results: bool,
    /// Tests that count twice, because they passed and then failed in teardown: by their sections, by their results since the
    /// last totals, and by results that no totals followed.
    teardowns: u64,
    twice: u64,
    twice_settled: u64,
    part: Part,
    /// The test that what is printed now belongs to, and what it is called.
    current: Option<TestId>,
    name: String,
    /// The same test, while it runs alone.
    running: Option<TestId>,
    /// Whether results without a last line were counted one by one.
    unsettled: bool,
    workers: bool,
    binary: Option<String>,
    log: u32,
    found: Vec<usize>,
}

impl Run {
    pub(crate) fn new(patterns: Patterns, thresholds: Thresholds) -> Self {
        Self {
            known: Known::new(patterns.all().len()),
            patterns,
            tests: TestsSeen::default(),
            incidents: Incidents::new(thresholds),
            totals: Totals::default(),
            has_totals: false,
            results: Totals::default(),
            has_results: false,
            teardowns: 0,
            twice: 0,
            twice_settled: 0,
            part: Part::Progress,
            current: None,
            name: String::new(),
            running: None,
            unsettled: false,
            workers: false,
            binary: None,
            log: 0,
            found: Vec::new(),
        }
    }

    /// A log begins. What is open in the one before goes on: a run may be cut into several.
    pub(crate) fn begin_log(&mut self, log: u32) {
        self.log = log;
    }

    /// Takes in a line that may say something.
    pub(crate) fn look(&mut self, candidate: Candidate<'_>) -> Then {
        let text = line::text(candidate.text);
        let text = line::behind_timestamp(&text);
        let place = Place { log: self.log, line: candidate.line };
        let event = boundary::read(text, self.part);
        if let Some(event) = event {
            self.event(event);
        }
        // The name of a test may contain anything; only what is behind it says something.
        match event {
            Some(Event::Summary { test, message }) => {
                let subject = self.tests.of_summary(test);
                self.incidents.rename(subject, test, &self.tests);
                let outside = std::mem::replace(&mut self.current, subject);
                self.call(test);
                self.messages(message, place, text);
                self.current = outside;
                // The last line of a quiet run has no bars: it is known by what is before it.
                return Then::NextLine;
            }
            Some(Event::Dots { .. }) if text.ends_with("[100%]") => return Then::NextLine,
            Some(Event::Result { .. } | Event::Section { .. } | Event::Dots { .. }) => {}
            Some(Event::Started(begun)) => {
                let said = text.split_once(begun.name).map_or("", |(_, said)| said);
                self.messages(said, place, text);
            }
            _ => self.messages(text, place, text),
        }
        if is_rule(text) { Then::NextLine } else { Then::Search }
    }

    /// Out-of-memory messages and known errors in what was said.
    fn messages(&mut self, said: &str, place: Place, line: &str) {
        let mut found = std::mem::take(&mut self.found);
        self.patterns.found_in(said.as_bytes(), &mut found);
        for pattern in &found {
            self.known.add(*pattern, self.current, place, line);
        }
        self.found = found;
        if let Some(message) = oom::recognise(said) {
            let subject = self.current.map(|id| (id, self.name.as_str()));
            self.incidents.add(message, subject, place, line, &mut self.tests);
        }
    }

    /// Keeps what the current test is called.
    fn call(&mut self, test: TestName<'_>) {
        self.name.clear();
        if let Some(file) = test.file.filter(|file| *file != test.name) {
            self.name.push_str(file);
            self.name.push_str("::");
        }
        self.name.push_str(test.name);
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Session => {
                self.settle();
                self.tests.begin_session();
                self.known.begin_session();
                (self.part, self.current, self.running, self.workers) = (Part::Progress, None, None, false);
            }
            Event::Workers => (self.workers, self.current, self.running) = (true, None, None),
            Event::Part(part) => (self.part, self.current) = (part, None),
            Event::Started(test) => {
                let id = self.tests.of(test);
                if !self.workers {
                    (self.running, self.current) = (id, id);
                    self.call(test);
                }
            }
            Event::Result { test, status } => self.result(test, status),
            Event::Output(test) => {
                self.current = None;
                if let Some(test) = test {
                    let binary = self.binary.take();
                    let test = TestName { file: test.file.or(binary.as_deref()), ..test };
                    self.current = self.tests.of(test);
                    self.call(test);
                    self.binary = binary;
                }
            }
            Event::Dots { file, dots } => {
                for dot in dots.bytes() {
                    let status = boundary::status_of_dot(dot);
                    self.tests.nameless(file, status);
                    self.count(status);
                }
            }
            Event::Section { name, is_teardown } => {
                self.current = self.tests.of_section(name, self.part);
                self.teardowns += u64::from(is_teardown && self.part == Part::Errors);
                self.call(TestName { file: None, name });
            }
            Event::Summary { .. } => {}
            Event::Binary(name) => self.binary = Some(line::shortened(name, 256)),
            Event::Totals(totals) => {
                self.totals.add(&totals);
                (self.has_totals, self.has_results, self.results) = (true, false, Totals::default());
                self.twice = 0;
                (self.part, self.current, self.running) = (Part::Progress, None, None);
            }
        }
    }

    fn result(&mut self, test: Option<TestName<'_>>, status: Status) {
        let binary = self.binary.take();
        let named = test.map(|test| TestName { file: test.file.or(binary.as_deref()), ..test });
        let id = match named {
            Some(test) => self.tests.of(test),
            None => self.running,
        };
        // Pytest shows what a failed test said later, nextest right behind its result.
        let speaks = test
            .is_some_and(|test| status == Status::Failed && test.file.is_some_and(|f| !f.contains(".py")));
        if let Some(test) = named {
            self.call(test);
        }
        self.binary = binary;
        if test.is_none() && id.is_none() {
            return;
        }
        self.running = None;
        self.current = id.filter(|_| speaks);
        match id.map_or(Ended::First, |id| self.tests.ended(id, test.map(|test| test.name), status)) {
            Ended::First => self.count(status),
            // It had passed, and then its teardown failed.
            Ended::Again if status == Status::Error => {
                self.count(status);
                self.twice += 1;
            }
            Ended::Again => {}
        }
    }

    fn count(&mut self, status: Status) {
        self.results.count(status);
        self.has_results = true;
    }

    /// Results without a last line are counted as they are.
    fn settle(&mut self) {
        if self.has_results {
            self.totals.add(&self.results);
            (self.has_results, self.results) = (false, Totals::default());
            self.unsettled = true;
            self.twice_settled += self.twice;
            self.twice = 0;
        }
    }

    /// Numbers of tests, how many ran, and where that comes from.
    pub(crate) fn counted(&mut self) -> (Totals, u64, CountedFrom) {
        self.settle();
        let from = match (self.has_totals, self.unsettled) {
            (true, true) => CountedFrom::Both,
            (true, false) => CountedFrom::Totals,
            (false, true) => CountedFrom::Results,
            (false, false) => CountedFrom::Nothing,
        };
        let twice = (self.teardowns + self.twice_settled).min(self.totals.errors);
        (self.totals, self.totals.run() - twice, from)
    }
}

/// Nextest rules off its summary with a line.
fn is_rule(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line.chars().all(|c| c == '\u{2500}')
}
