//! Known errors: how often each happened, and where first.

use std::collections::HashSet;

use crate::line::shortened;

use super::incidents::QUOTE_BYTES;
use super::{Place, TestId};

/// So many pairs of a test and an error are remembered. After that every line counts.
const MOST_PAIRS: usize = 200_000;

#[derive(Debug, Clone, Default)]
pub(crate) struct PatternFound {
    /// Once per test, and once per line outside of tests.
    pub(crate) count: u64,
    pub(crate) lines: u64,
    pub(crate) first: Option<(Place, String)>,
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) found: Vec<PatternFound>,
    of_tests: HashSet<(TestId, u16)>,
}

impl Known {
    pub(crate) fn new(patterns: usize) -> Self {
        Self { found: vec![PatternFound::default(); patterns], of_tests: HashSet::new() }
    }

    /// The same tests may run again, and err again.
    pub(crate) fn begin_session(&mut self) {
        self.of_tests.clear();
    }

    pub(crate) fn add(&mut self, pattern: usize, test: Option<TestId>, place: Place, line: &str) {
        let Some(found) = self.found.get_mut(pattern) else { return };
        found.lines += 1;
        let is_new = test.is_none_or(|test| {
            let pair = (test, pattern as u16);
            if self.of_tests.len() < MOST_PAIRS {
                self.of_tests.insert(pair)
            } else {
                !self.of_tests.contains(&pair)
            }
        });
        found.count += u64::from(is_new);
        found.first.get_or_insert_with(|| (place, shortened(line, QUOTE_BYTES)));
    }
}
