//! Which tests may start now, so that what runs at once fits on the card: adaptive concurrency. Pure: it looks at nothing and
//! starts nothing; it is told what waits, what runs and what that holds.
//!
//! What a test needs is known from earlier runs ([`crate::history`]). A test that was never seen is taken to need as much as
//! the largest of its group that is known, and not less than an eighth of the card: that is wrong at times, but running each
//! new test alone would make a new suite serial. Only as long as nothing is known of any test, one runs alone, for measure.

use std::collections::{BTreeMap, VecDeque};

/// What is added to each test that needs the card: a share of its need, for what differs from run to run,
pub const MARGIN_SHARE: u64 = 20;
/// and at least so many bytes: allocators take memory in blocks (`PyTorch` 20 MiB, the driver 2 MiB), and leave gaps.
pub const LEAST_MARGIN_BYTES: u64 = 64 << 20;
/// A test of which nothing is known is taken to need at least one in so many parts of what the group may hold.
pub const UNKNOWN_PARTS: u64 = 8;
/// So many may pass a test that waits for room; then nothing starts before it.
pub const MOST_PASSES: u32 = 8;

/// What to keep free for a test that needs so much, in bytes: the need and a margin. Nothing for a test that needs nothing.
#[must_use]
pub fn with_margin(need_bytes: u64) -> u64 {
    if need_bytes == 0 {
        return 0;
    }
    need_bytes.saturating_add(LEAST_MARGIN_BYTES.max(need_bytes / MARGIN_SHARE))
}

/// What there is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// The size of the card in bytes.
    pub card_bytes: u64,
    /// What processes hold that do not belong to the group, in bytes.
    pub used_by_others_bytes: u64,
    /// What the group may hold at once, in bytes; `None` for all that is free.
    pub budget_bytes: Option<u64>,
}

impl Capacity {
    /// Where no card is seen: memory limits nothing, and only the number of tests does.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { card_bytes: u64::MAX, used_by_others_bytes: 0, budget_bytes: None }
    }

    /// What the group may hold now, in bytes.
    #[must_use]
    pub fn for_group_bytes(&self) -> u64 {
        let free = self.card_bytes.saturating_sub(self.used_by_others_bytes);
        self.budget_bytes.map_or(free, |budget| budget.min(free))
    }
}

/// A test that may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub test: usize,
    /// What is kept for it, in bytes.
    pub reserved_bytes: u64,
    /// Why it may.
    pub why: Why,
}

/// Why a test may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is room for it.
    Fits,
    /// Nothing is known of any test: it runs alone.
    FirstAlone,
    /// There is no room for it, and as nothing runs there will not be more: it runs alone, and may run out.
    TooLarge {
        /// What there is for the group, in bytes.
        available_bytes: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    test: usize,
    need_bytes: Option<u64>,
    passed: u32,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    reserved_bytes: u64,
    seen_bytes: u64,
    alone: bool,
}

/// Who waits, who runs, and what is left.
///
/// ```
/// use test_groups::admission::{Admission, Capacity, Why};
///
/// let capacity = Capacity { card_bytes: 4 << 30, used_by_others_bytes: 1 << 30, budget_bytes: None };
/// let mut admission = Admission::new(capacity, 8);
/// for (test, need_bytes) in [(0, 2 << 30), (1, 2 << 30), (2, 512 << 20)] {
///     admission.wait(test, Some(need_bytes));
/// }
/// assert_eq!(admission.start().map(|start| start.test), Some(0));
/// assert_eq!(admission.start().map(|start| start.test), Some(2), "a small one passes the one that does not fit");
/// assert_eq!(admission.start(), None);
/// admission.ended(0, None);
/// assert_eq!(admission.start().map(|start| (start.test, start.why)), Some((1, Why::Fits)));
/// ```
#[derive(Debug)]
pub struct Admission {
    capacity: Capacity,
    most_at_once: usize,
    waiting: VecDeque<Waiting>,
    running: BTreeMap<usize, Running>,
    /// The most that any test is known to need.
    largest_bytes: Option<u64>,
}

impl Admission {
    /// Nothing waits and nothing runs. `most_at_once` limits how many run, whatever they need; 0 is taken as 1.
    #[must_use]
    pub fn new(capacity: Capacity, most_at_once: usize) -> Self {
        Self {
            capacity,
            most_at_once: most_at_once.max(1),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            largest_bytes: None,
        }
    }

    /// A test gets in line, with what it needs in bytes, if that is known. Tests are told apart by their number.
    pub fn wait(&mut self, test: usize, need_bytes: Option<u64>) {
        self.learn(need_bytes);
        self.waiting.push_back(Waiting { test, need_bytes, passed: 0 });
    }

    /// Processes outside the group hold so much now.
    pub fn others_hold(&mut self, bytes: u64) {
        self.capacity.used_by_others_bytes = bytes;
    }

    /// A test that runs was seen to hold so much. More than what is kept for it takes from what is left.
    pub fn saw(&mut self, test: usize, bytes: u64) {
        if let Some(running) = self.running.get_mut(&test) {
            running.seen_bytes = running.seen_bytes.max(bytes);
        }
    }

    /// A test ended, and what was kept for it is free. `peak_bytes` is what it needed, where that is known; what it was seen to
    /// hold counts in any case. Forgets a test that waits, too.
    pub fn ended(&mut self, test: usize, peak_bytes: Option<u64>) {
        if let Some(running) = self.running.remove(&test) {
            self.learn(peak_bytes);
            if running.seen_bytes > 0 {
                self.learn(Some(running.seen_bytes));
            }
        }
        self.waiting.retain(|waiting| waiting.test != test);
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// The next test that may start, which then runs; `None` if nothing may now. Ask until it is `None`, and again when a test
    /// has ended or others hold less.
    ///
    /// The order is that of waiting; one that finds room may pass others that do not, each of them [`MOST_PASSES`] times. If
    /// nothing runs and something waits, something starts.
    pub fn start(&mut self) -> Option<Start> {
        if self.running.len() >= self.most_at_once || self.running.values().any(|running| running.alone) {
            return None;
        }
        let available_bytes = self.capacity.for_group_bytes();
        let left_bytes = self.running.values().fold(available_bytes, |left, running| {
            left.saturating_sub(running.reserved_bytes.max(running.seen_bytes))
        });
        let mut found = None;
        for (place, waiting) in self.waiting.iter().enumerate() {
            let fits = self.assumed_bytes(waiting, available_bytes).filter(|bytes| *bytes <= left_bytes);
            if let Some(reserved_bytes) = fits {
                found = Some((place, reserved_bytes, Why::Fits));
                break;
            }
            if waiting.passed >= MOST_PASSES {
                break;
            }
        }
        if found.is_none() && self.running.is_empty() {
            let first = self.waiting.front()?;
            let why = match self.assumed_bytes(first, available_bytes) {
                None => Why::FirstAlone,
                Some(_) => Why::TooLarge { available_bytes },
            };
            found = Some((0, available_bytes, why));
        }
        let (place, reserved_bytes, why) = found?;
        self.waiting.iter_mut().take(place).for_each(|passed| passed.passed += 1);
        let test = self.waiting.remove(place)?.test;
        self.running.insert(test, Running { reserved_bytes, seen_bytes: 0, alone: why != Why::Fits });
        Some(Start { test, reserved_bytes, why })
    }

    /// What to keep for a test, in bytes; `None` if nothing is known of any.
    fn assumed_bytes(&self, waiting: &Waiting, available_bytes: u64) -> Option<u64> {
        if self.capacity.card_bytes == u64::MAX {
            return Some(0);
        }
        if waiting.need_bytes.is_some() {
            return waiting.need_bytes.map(with_margin);
        }
        let largest = with_margin(self.largest_bytes?).max(available_bytes / UNKNOWN_PARTS);
        // The largest may be one that the card has no room for; that need not be so for this one.
        Some(largest.min(available_bytes))
    }

    fn learn(&mut self, need_bytes: Option<u64>) {
        self.largest_bytes = self.largest_bytes.max(need_bytes);
    }
}
