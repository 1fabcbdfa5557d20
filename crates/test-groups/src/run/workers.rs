//! Which test each worker of pytest has, and which is still to be given to one. Pure.

use std::collections::{BTreeMap, VecDeque};

/// Workers that end this often without having run a test will not run one.
const MOST_IDLE_DEATHS: u32 = 2;

/// The tests that workers pull, in order.
#[derive(Debug, Default)]
pub(super) struct Workers {
    queue: VecDeque<usize>,
    live: BTreeMap<u32, Worker>,
    next: u32,
    idle_deaths: u32,
    closed: bool,
}

#[derive(Debug, Default)]
struct Worker {
    /// Given to it and not ended, in its order: the one that runs, and the one after.
    given: VecDeque<usize>,
    has_run: bool,
}

/// A worker that is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// It never ran a test, and neither did those before it.
    pub(super) hopeless: bool,
}

impl Workers {
    pub(super) fn new(tests: impl IntoIterator<Item = usize>) -> Self {
        Self { queue: tests.into_iter().collect(), ..Self::default() }
    }

    /// Whether one more worker would be of use, if there may be so many.
    pub(super) fn wants(&self, most: usize) -> bool {
        self.live.len() < most && !self.queue.is_empty()
    }

    /// One more worker; its number.
    pub(super) fn begin(&mut self) -> u32 {
        let number = self.next;
        self.next += 1;
        self.live.insert(number, Worker::default());
        number
    }

    /// A worker asks for its next test.
    pub(super) fn give(&mut self, worker: u32) -> Option<usize> {
        let worker = self.live.get_mut(&worker)?;
        let test = self.queue.pop_front()?;
        worker.given.push_back(test);
        Some(test)
    }

    /// A worker says that it begins, ended, or never had a test with an id for which `is_it` holds.
    pub(super) fn given(&mut self, worker: u32, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let worker = self.live.get_mut(&worker)?;
        worker.given.iter().copied().find(|test| is_it(*test))
    }

    /// A test of this worker runs.
    pub(super) fn began(&mut self, worker: u32) {
        if let Some(worker) = self.live.get_mut(&worker) {
            worker.has_run = true;
            self.idle_deaths = 0;
        }
    }

    /// A test of this worker ended.
    pub(super) fn ended(&mut self, worker: u32, test: usize) {
        if let Some(worker) = self.live.get_mut(&worker) {
            worker.given.retain(|given| *given != test);
        }
    }

    /// A worker is gone; what it was given and did not begin is given to another.
    pub(super) fn gone(&mut self, worker: u32) -> Gone {
        let Some(worker) = self.live.remove(&worker) else { return Gone { hopeless: false } };
        let left = !worker.given.is_empty() || !self.queue.is_empty();
        if self.closed {
            return Gone { hopeless: false };
        }
        for test in worker.given.into_iter().rev() {
            self.queue.push_front(test);
        }
        if !worker.has_run && left {
            self.idle_deaths += 1;
        }
        Gone { hopeless: self.idle_deaths >= MOST_IDLE_DEATHS }
    }

    /// Nothing more is given.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.queue.clear();
    }

    /// Whether all workers are gone and nothing is left to give.
    pub(super) fn is_done(&self) -> bool {
        self.live.is_empty() && self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crashed_worker_did_not_begin_is_given_to_the_next() {
        let mut workers = Workers::new(0..3);
        let first = workers.begin();
        assert_eq!((workers.give(first), workers.give(first)), (Some(0), Some(1)));
        workers.began(first);
        workers.ended(first, 0);
        assert_eq!(workers.gone(first), Gone { hopeless: false });
        assert!(workers.wants(1) && !workers.is_done());
        let second = workers.begin();
        assert_eq!(
            (workers.give(second), workers.give(second), workers.give(second)),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn workers_that_end_before_they_run_anything_are_not_started_forever() {
        let mut workers = Workers::new(0..3);
        for _ in 1..MOST_IDLE_DEATHS {
            let worker = workers.begin();
            assert!(!workers.gone(worker).hopeless);
        }
        let worker = workers.begin();
        assert!(workers.gone(worker).hopeless);
    }

    #[test]
    fn after_the_end_nothing_is_given_again() {
        let mut workers = Workers::new(0..3);
        let worker = workers.begin();
        workers.give(worker);
        workers.close();
        workers.gone(worker);
        assert!(workers.is_done() && !workers.wants(1));
    }

    #[test]
    fn a_worker_that_came_too_late_for_a_test_is_no_bad_sign() {
        let mut workers = Workers::new(0..1);
        let (first, late) = (workers.begin(), workers.begin());
        workers.give(first);
        workers.began(first);
        assert_eq!(workers.give(late), None);
        assert!(!workers.gone(late).hopeless);
        workers.ended(first, 0);
        workers.gone(first);
        assert!(workers.is_done());
    }
}
