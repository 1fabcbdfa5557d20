//! How many tests run at once.

use std::collections::{BTreeSet, VecDeque};

use crate::admission::{Admission, Capacity};
use crate::config::Concurrency;
use crate::watch::Board;

/// Adaptive groups run at least so many at once if the card has room for them, however few processors there are: tests that use
/// a card wait for it.
const LEAST_ADAPTIVE: usize = 4;
/// And at most so many: what each takes of the processor and of main memory is not looked at.
const MOST_ADAPTIVE: usize = 16;

/// Who waits and who runs.
#[derive(Debug)]
pub(super) enum Slots {
    /// So many at once, in the order in which they came.
    Fixed { most: usize, waiting: VecDeque<usize>, running: BTreeSet<usize> },
    /// As many as the card has room for.
    Adaptive(Admission),
}

/// How many run at once at most.
pub(super) fn most_at_once(concurrency: Concurrency) -> usize {
    match concurrency {
        Concurrency::Isolated | Concurrency::Sequential => 1,
        Concurrency::Parallel(most) => most.max(1),
        Concurrency::Adaptive => std::thread::available_parallelism()
            .map_or(1, std::num::NonZero::get)
            .clamp(LEAST_ADAPTIVE, MOST_ADAPTIVE),
    }
}

impl Slots {
    pub(super) fn new(concurrency: Concurrency, budget_bytes: Option<u64>, board: Option<&Board>) -> Self {
        let most = most_at_once(concurrency);
        if concurrency != Concurrency::Adaptive {
            return Self::Fixed { most, waiting: VecDeque::new(), running: BTreeSet::new() };
        }
        let card = board.and_then(|board| Some((board.card_bytes()?, board.others_bytes()?)));
        let capacity = card.map_or_else(Capacity::unlimited, |(card_bytes, used_by_others_bytes)| Capacity {
            card_bytes,
            used_by_others_bytes,
            budget_bytes,
        });
        Self::Adaptive(Admission::new(capacity, most))
    }

    /// A test could start.
    pub(super) fn wait(&mut self, test: usize, need_bytes: Option<u64>) {
        match self {
            Self::Fixed { waiting, .. } => waiting.push_back(test),
            Self::Adaptive(admission) => admission.wait(test, need_bytes),
        }
    }

    /// A test goes before all others that wait, where order is kept.
    pub(super) fn wait_first(&mut self, test: usize, need_bytes: Option<u64>) {
        match self {
            Self::Fixed { waiting, .. } => waiting.push_front(test),
            Self::Adaptive(admission) => admission.wait(test, need_bytes),
        }
    }

    /// The next that starts now, which then runs.
    pub(super) fn start(&mut self) -> Option<usize> {
        match self {
            Self::Fixed { most, waiting, running } => {
                let test = (running.len() < *most).then(|| waiting.pop_front())??;
                running.insert(test);
                Some(test)
            }
            Self::Adaptive(admission) => Some(admission.start()?.test),
        }
    }

    /// A test ended, or does not wait any more.
    pub(super) fn ended(&mut self, test: usize, peak_bytes: Option<u64>) {
        match self {
            Self::Fixed { waiting, running, .. } => {
                running.remove(&test);
                waiting.retain(|other| *other != test);
            }
            Self::Adaptive(admission) => admission.ended(test, peak_bytes),
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Self::Fixed { waiting, .. } => waiting.len(),
            Self::Adaptive(admission) => admission.waiting(),
        }
    }

    /// What was seen of the card.
    pub(super) fn looked(&mut self, board: &Board) {
        let Self::Adaptive(admission) = self else { return };
        if let Some(bytes) = board.others_bytes() {
            admission.others_hold(bytes);
        }
        for (test, bytes) in board.held_by_tests() {
            admission.saw(test, bytes);
        }
    }
}
