//! Out-of-memory errors: each once, with its numbers and the line it was read from.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::boundary::TestName;
use crate::cause::{Cause, Thresholds, diagnose};
use crate::line::shortened;
use crate::oom::{Message, ProcessUse, Source};

use super::{REPEATED_WITHIN_LINES, TestId, TestsSeen};

/// So many are kept whole. More are counted.
const MOST_KEPT: usize = 1_500;
/// So many processes are told apart.
const MOST_PROCESSES: usize = 4_096;
/// So many messages outside of tests are remembered, for the test that may report them again.
const MOST_UNPLACED: usize = 10_000;
/// So many of the last messages outside of tests may be printed again.
const MOST_RECENT: usize = 64;
/// Of a line so much is kept, in bytes.
pub(crate) const QUOTE_BYTES: usize = 400;
/// And of the name of a test.
const NAME_BYTES: usize = 300;
/// The number of an error that is counted and not kept.
const NOT_KEPT: u32 = u32::MAX;

/// A line of one of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log: u32,
    /// From 1.
    pub(crate) line: u64,
}

#[derive(Debug)]
pub(crate) struct Incident {
    pub(crate) test: Option<TestId>,
    pub(crate) name: Option<String>,
    pub(crate) place: Place,
    pub(crate) message: Message,
    pub(crate) text: String,
}

/// What is known of those that are not kept.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) by_file: BTreeMap<Option<String>, u64>,
    pub(crate) by_cause: BTreeMap<Cause, u64>,
    pub(crate) by_source: BTreeMap<Source, u64>,
    pub(crate) by_request: BTreeMap<Option<u32>, u64>,
    pub(crate) in_tests: u64,
}

/// A process that others had to share the card with.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    pub(crate) most_bytes: Option<u64>,
    pub(crate) seen: u64,
}

#[derive(Debug)]
pub(crate) struct Incidents {
    pub(crate) total: u64,
    pub(crate) kept: Vec<Incident>,
    pub(crate) counted: Counted,
    pub(crate) holders: BTreeMap<(u32, Option<String>), Holder>,
    thresholds: Thresholds,
    hasher: RandomState,
    /// Messages that stood nowhere, by what they say.
    unplaced: HashMap<u64, VecDeque<u32>>,
    unplaced_len: usize,
    recent: VecDeque<(u64, Place)>,
}

impl Incidents {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self {
            total: 0,
            kept: Vec::new(),
            counted: Counted::default(),
            holders: BTreeMap::new(),
            thresholds,
            hasher: RandomState::new(),
            unplaced: HashMap::new(),
            unplaced_len: 0,
            recent: VecDeque::new(),
        }
    }

    /// Takes in a message of a test, which has a name, or of nobody.
    pub(crate) fn add(
        &mut self,
        message: Message,
        subject: Option<(TestId, &str)>,
        place: Place,
        line: &str,
        tests: &mut TestsSeen,
    ) {
        let print = self.fingerprint(&message);
        let Some((id, name)) = subject else {
            if self.is_printed_again(print, place) {
                return;
            }
            let remember = message.numbers.tell_the_state() && self.unplaced_len < MOST_UNPLACED;
            let incident = self.push(message, None, place, line, None);
            if remember {
                self.unplaced.entry(print).or_default().push_back(incident);
                self.unplaced_len += 1;
            }
            return;
        };
        if let Some(incident) = tests.incident(id) {
            self.learn(incident, message, place, line);
            return;
        }
        let adopted = self.unplaced.get_mut(&print).and_then(VecDeque::pop_front);
        let incident = match adopted {
            Some(incident) => {
                self.unplaced_len -= 1;
                if let Some(incident) = self.kept.get_mut(incident as usize) {
                    (incident.test, incident.name) = (Some(id), Some(shortened(name, NAME_BYTES)));
                }
                incident
            }
            None => self.push(message, Some((id, name)), place, line, tests.file(id)),
        };
        tests.set_incident(id, incident);
    }

    /// Uses the full name of a test, which its summary has.
    pub(crate) fn rename(&mut self, subject: Option<TestId>, test: TestName<'_>, tests: &TestsSeen) {
        let incident = subject.and_then(|id| tests.incident(id));
        if let Some(incident) = incident.and_then(|incident| self.kept.get_mut(incident as usize)) {
            let name = format!("{}::{}", test.file.unwrap_or_default(), test.name);
            incident.name = Some(shortened(&name, NAME_BYTES));
        }
    }

    fn fingerprint(&self, message: &Message) -> u64 {
        if message.source == Source::Kernel {
            // Its two lines say different things of the same process.
            return self.hasher.hash_one(message.numbers.others.first().map(|victim| victim.pid));
        }
        // Several libraries wrap a message that has no numbers in one of their own.
        let source = message.numbers.tell_the_state().then_some(message.source);
        self.hasher.hash_one((source, &message.numbers))
    }

    fn is_printed_again(&mut self, print: u64, place: Place) -> bool {
        let near = |other: &Place| {
            other.log == place.log && place.line.saturating_sub(other.line) <= REPEATED_WITHIN_LINES
        };
        if let Some((_, last)) = self.recent.iter_mut().find(|(other, at)| *other == print && near(at)) {
            *last = place;
            return true;
        }
        if self.recent.len() == MOST_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((print, place));
        false
    }

    fn push(
        &mut self,
        message: Message,
        test: Option<(TestId, &str)>,
        place: Place,
        line: &str,
        file: Option<&str>,
    ) -> u32 {
        self.total += 1;
        if !message.source.is_host() {
            self.hold(&message.numbers.others);
        }
        if self.kept.len() < MOST_KEPT {
            self.kept.push(Incident {
                test: test.map(|(id, _)| id),
                name: test.map(|(_, name)| shortened(name, NAME_BYTES)),
                place,
                message,
                text: shortened(line, QUOTE_BYTES),
            });
            return self.kept.len() as u32 - 1;
        }
        let cause = diagnose(&message, None, &self.thresholds).cause;
        let counted = &mut self.counted;
        *counted.by_cause.entry(cause).or_default() += 1;
        *counted.by_source.entry(message.source).or_default() += 1;
        *counted.by_file.entry(file.map(str::to_owned)).or_default() += 1;
        let request = message.numbers.requested_bytes.map(crate::conclude::bucket);
        *counted.by_request.entry(request).or_default() += 1;
        counted.in_tests += u64::from(test.is_some());
        NOT_KEPT
    }

    /// A test says more about its error than before: its summary came before the message, or a short form before the long one.
    fn learn(&mut self, incident: u32, message: Message, place: Place, line: &str) {
        let Some(incident) = self.kept.get_mut(incident as usize) else { return };
        let knew = &incident.message.numbers;
        let is_better = !knew.tell_the_state() && message.numbers.tell_the_state()
            || knew.requested_bytes.is_none() && message.numbers.requested_bytes.is_some();
        if is_better {
            let others = message.numbers.others.clone();
            (incident.message, incident.place, incident.text) =
                (message, place, shortened(line, QUOTE_BYTES));
            self.hold(&others);
        }
    }

    fn hold(&mut self, processes: &[ProcessUse]) {
        for process in processes {
            let key = (process.pid, process.name.clone());
            if self.holders.len() >= MOST_PROCESSES && !self.holders.contains_key(&key) {
                continue;
            }
            let holder = self.holders.entry(key).or_default();
            holder.seen += 1;
            holder.most_bytes = holder.most_bytes.max(process.bytes);
        }
    }
}
