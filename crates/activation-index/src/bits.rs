//! A set of small numbers, one bit each.

/// Numbers below a limit that grows as needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// An empty set with room for the numbers below `limit`.
    pub(crate) fn with_limit(limit: usize) -> Self {
        Self { words: vec![0; limit.div_ceil(64)], len: 0 }
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word & 1 << (number % 64) != 0)
    }

    /// Adds a number; says whether it is new. One beyond the limit is not added.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        let Some(word) = self.words.get_mut(number as usize / 64) else { return false };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.len += usize::from(new);
        new
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Removes all numbers, and makes room for those below `limit`.
    pub(crate) fn reset(&mut self, limit: usize) {
        self.words.clear();
        self.words.resize(limit.div_ceil(64), 0);
        self.len = 0;
    }
}
