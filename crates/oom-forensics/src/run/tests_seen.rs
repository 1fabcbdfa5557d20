//! The tests of a run, each with a number: recognised again by name, or by order where a name is not printed.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::boundary::{Part, Status, TestName};
use crate::line::shortened;

/// So many tests are told apart. More are counted, and not recognised again.
const MOST_TESTS: usize = 200_000;
/// So many files.
const MOST_FILES: usize = 10_000;
/// So many results that failed wait for their section.
const MOST_WAITING: usize = 50_000;

/// A test, in the order in which they were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TestId(u32);

/// Whether a test ended for the first time in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    First,
    Again,
}

#[derive(Debug, Clone, Copy)]
struct Test {
    file: Option<u32>,
    /// From 1.
    position: u64,
    /// The session in which it ended last.
    ended_in: Option<u32>,
    /// Which out-of-memory error is its own, and in which session.
    incident: Option<(u32, u32)>,
}

/// Results that failed and whose section is still to come.
#[derive(Debug, Default)]
struct Waiting {
    by_name: HashMap<u64, VecDeque<TestId>>,
    nameless: VecDeque<TestId>,
    len: usize,
}

impl Waiting {
    fn push(&mut self, name: Option<u64>, id: TestId) {
        if self.len >= MOST_WAITING {
            return;
        }
        self.len += 1;
        match name {
            Some(name) => self.by_name.entry(name).or_default().push_back(id),
            None => self.nameless.push_back(id),
        }
    }

    fn take(&mut self, name: u64) -> Option<TestId> {
        let queue = self.by_name.get_mut(&name);
        let id = queue.and_then(VecDeque::pop_front).or_else(|| self.nameless.pop_front())?;
        self.len = self.len.saturating_sub(1);
        Some(id)
    }
}

#[derive(Debug, Default)]
pub(crate) struct TestsSeen {
    hasher: RandomState,
    tests: Vec<Test>,
    by_id: HashMap<u64, TestId>,
    by_bare_name: HashMap<u64, TestId>,
    failed: Waiting,
    errored: Waiting,
    /// Tests of sections whose file or name is not known yet.
    unnamed: Waiting,
    files: Vec<String>,
    file_ids: HashMap<u64, u32>,
    session: u32,
    seen: u64,
    forgotten: bool,
}

impl TestsSeen {
    pub(crate) fn begin_session(&mut self) {
        self.session += 1;
        (self.failed, self.errored, self.unnamed) = <_>::default();
    }

    /// Whether there were too many to tell them apart.
    pub(crate) fn forgot(&self) -> bool {
        self.forgotten
    }

    pub(crate) fn position(&self, id: TestId) -> Option<u64> {
        self.tests.get(id.0 as usize).map(|test| test.position)
    }

    pub(crate) fn file(&self, id: TestId) -> Option<&str> {
        let file = self.tests.get(id.0 as usize)?.file?;
        self.files.get(file as usize).map(String::as_str)
    }

    pub(crate) fn incident(&self, id: TestId) -> Option<u32> {
        let (session, incident) = self.tests.get(id.0 as usize)?.incident?;
        (session == self.session).then_some(incident)
    }

    pub(crate) fn set_incident(&mut self, id: TestId, incident: u32) {
        if let Some(test) = self.tests.get_mut(id.0 as usize) {
            test.incident = Some((self.session, incident));
        }
    }

    fn file_id(&mut self, file: &str) -> Option<u32> {
        let key = self.hasher.hash_one(file);
        if let Some(id) = self.file_ids.get(&key) {
            return Some(*id);
        }
        if self.files.len() >= MOST_FILES {
            self.forgotten = true;
            return None;
        }
        let id = self.files.len() as u32;
        self.files.push(shortened(file, 512));
        self.file_ids.insert(key, id);
        Some(id)
    }

    /// The next test, as far as there is room.
    fn add(&mut self, file: Option<&str>) -> Option<TestId> {
        self.seen += 1;
        if self.tests.len() >= MOST_TESTS {
            self.forgotten = true;
            return None;
        }
        let id = TestId(self.tests.len() as u32);
        let file = file.and_then(|file| self.file_id(file));
        self.tests.push(Test { file, position: self.seen, ended_in: None, incident: None });
        Some(id)
    }

    /// The number of a test that is named with its file.
    pub(crate) fn of(&mut self, test: TestName<'_>) -> Option<TestId> {
        let key = self.hasher.hash_one((test.file, test.name));
        if let Some(id) = self.by_id.get(&key) {
            return Some(*id);
        }
        let id = self.add(test.file)?;
        self.by_id.insert(key, id);
        let bare = self.bare(test.name);
        self.by_bare_name.insert(bare, id);
        Some(id)
    }

    /// What a test is called in the header of its section: `TestA.test_b`.
    fn bare(&self, name: &str) -> u64 {
        if name.contains("::") {
            self.hasher.hash_one(name.replace("::", "."))
        } else {
            self.hasher.hash_one(name)
        }
    }

    /// A test ended. What failed will have a section.
    pub(crate) fn ended(&mut self, id: TestId, name: Option<&str>, status: Status) -> Ended {
        if status == Status::Rerun {
            return Ended::Again;
        }
        let name = name.map(|name| self.bare(name));
        match status {
            Status::Failed => self.failed.push(name, id),
            Status::Error => self.errored.push(name, id),
            _ => {}
        }
        let session = Some(self.session);
        let Some(test) = self.tests.get_mut(id.0 as usize) else { return Ended::First };
        if std::mem::replace(&mut test.ended_in, session) == session { Ended::Again } else { Ended::First }
    }

    /// A test ended whose name is not printed.
    pub(crate) fn nameless(&mut self, file: Option<&str>, status: Status) {
        if status == Status::Rerun {
            return;
        }
        if let Some(id) = self.add(file) {
            self.ended(id, None, status);
        }
    }

    /// The test that a section is about. Sections come in the order in which tests failed; of the same name, too.
    pub(crate) fn of_section(&mut self, name: &str, part: Part) -> Option<TestId> {
        let bare = self.bare(name);
        let waiting = match part {
            Part::Errors => self.errored.take(bare),
            Part::Failures => self.failed.take(bare),
            _ => None,
        };
        let known = waiting.or_else(|| self.by_bare_name.get(&bare).copied());
        let id = if let Some(id) = known {
            id
        } else {
            let id = self.add(None)?;
            self.by_bare_name.insert(bare, id);
            id
        };
        if self.file(id).is_none() || !self.by_bare_name.contains_key(&bare) {
            self.unnamed.push(Some(bare), id);
        }
        Some(id)
    }

    /// The test that a line of the summary is about: one whose name and file are known, or else the next section of that name.
    pub(crate) fn of_summary(&mut self, test: TestName<'_>) -> Option<TestId> {
        let key = self.hasher.hash_one((test.file, test.name));
        if let Some(id) = self.by_id.get(&key) {
            return Some(*id);
        }
        let bare = self.bare(test.name);
        let Some(id) = self.unnamed.take(bare) else { return self.of(test) };
        let file = test.file.and_then(|file| self.file_id(file));
        if let Some(test) = self.tests.get_mut(id.0 as usize) {
            test.file = test.file.or(file);
        }
        self.by_id.insert(key, id);
        Some(id)
    }
}
