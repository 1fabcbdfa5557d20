//! A ring: the last so many of something, in memory that is taken once.

/// The last `capacity` items.
#[derive(Debug)]
pub(super) struct Ring<T> {
    items: Vec<T>,
    capacity: usize,
    /// Where the next one goes once it is full: there the oldest is.
    oldest: usize,
}

impl<T: Clone> Ring<T> {
    /// A capacity of 0 counts as 1.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { items: Vec::with_capacity(capacity), capacity, oldest: 0 }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.items.len() < self.capacity {
            self.items.push(item);
        } else if let Some(place) = self.items.get_mut(self.oldest) {
            *place = item;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }

    pub(super) fn last(&self) -> Option<&T> {
        let at = if self.oldest == 0 { self.items.len() } else { self.oldest };
        self.items.get(at.checked_sub(1)?)
    }

    /// All of them, the oldest first.
    pub(super) fn to_vec(&self) -> Vec<T> {
        let (younger, older) = self.items.split_at(self.oldest);
        [older, younger].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_the_last_ones_in_their_order_and_never_takes_more_memory(
            capacity in 1usize..20,
            count in 0usize..100,
        ) {
            let mut ring = Ring::new(capacity);
            let taken = ring.items.capacity();
            for item in 0..count {
                ring.push(item);
                prop_assert_eq!(ring.last(), Some(&item));
            }
            let expected: Vec<usize> = (count.saturating_sub(capacity)..count).collect();
            prop_assert_eq!(ring.to_vec(), expected);
            prop_assert_eq!(ring.items.capacity(), taken);
        }
    }
}
