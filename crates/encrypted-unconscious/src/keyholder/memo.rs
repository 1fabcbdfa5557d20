//! A bounded memory of what was worked out, which forgets what was not used for longest.

use std::{collections::HashMap, hash::Hash, mem};

/// Keeps between half of its capacity and all of it: when the newer half is full, it takes the place of the older.
#[derive(Debug)]
pub(super) struct Memo<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
    half: usize,
}

impl<K: Hash + Eq + Copy, V> Memo<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { newer: HashMap::new(), older: HashMap::new(), half: (capacity / 2).max(1) }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        if !self.newer.contains_key(key)
            && let Some(value) = self.older.remove(key)
        {
            self.insert(*key, value);
        }
        self.newer.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.newer.len() >= self.half {
            self.older = mem::take(&mut self.newer);
        }
        self.older.remove(&key);
        self.newer.insert(key, value);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten_in_time() {
        let mut memo = Memo::new(100);
        for key in 0..1000 {
            memo.insert(key, key * 2);
            assert_eq!(memo.get(&0), Some(&0), "after {key}");
            assert_eq!(memo.get(&key), Some(&(key * 2)));
            assert!(memo.len() <= 100);
        }
        assert_eq!(memo.get(&1), None);
        assert!(memo.get(&980).is_some());
    }
}
