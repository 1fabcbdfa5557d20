//! The best so many of all that is offered.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::entry::Neighbour;

/// The best `k` of those offered, in a heap with the worst on top.
pub(crate) struct Best {
    k: usize,
    heap: BinaryHeap<Ranked>,
}

/// A neighbour that is greater the worse it is: less alike, or as alike with a greater id.
struct Ranked(Neighbour);

impl Best {
    /// Room for the best `k` of at most `of`.
    pub(crate) fn new(k: usize, of: usize) -> Self {
        let k = k.min(of);
        Self { k, heap: BinaryHeap::with_capacity(k) }
    }

    /// Whether something as similar as this could be among the best.
    pub(crate) fn wants(&self, similarity: f32) -> bool {
        self.heap.len() < self.k || self.heap.peek().is_some_and(|worst| similarity >= worst.0.similarity)
    }

    pub(crate) fn offer(&mut self, neighbour: Neighbour) {
        let ranked = Ranked(neighbour);
        if self.heap.len() < self.k {
            self.heap.push(ranked);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && ranked < *worst
        {
            *worst = ranked;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn into_sorted(self) -> Vec<Neighbour> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.0).collect()
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        b.similarity.total_cmp(&a.similarity).then_with(|| a.id.cmp(&b.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}
