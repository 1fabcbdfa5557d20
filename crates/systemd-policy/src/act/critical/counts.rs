//! How many hold each address: a step function, kept as the points where it changes.

use std::collections::BTreeMap;
use std::ops::Range;

/// From each key on so many hold what follows; nobody holds what is before the first.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<usize, usize>);

impl Counts {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn at(&self, address: usize) -> usize {
        self.0.range(..=address).next_back().map_or(0, |(_, count)| *count)
    }

    /// The parts of a range that are held by equally many, in order, with how many that are.
    pub(super) fn within(&self, range: &Range<usize>) -> Vec<(Range<usize>, usize)> {
        if range.is_empty() {
            return Vec::new();
        }
        let inner = self.0.range(range.start + 1..range.end).map(|(address, _)| *address);
        let starts: Vec<usize> = std::iter::once(range.start).chain(inner).collect();
        let ends = starts[1..].iter().copied().chain([range.end]);
        starts.iter().zip(ends).map(|(start, end)| (*start..end, self.at(*start))).collect()
    }

    /// One more holds this range.
    pub(super) fn hold(&mut self, range: &Range<usize>) {
        self.change(range, |count| count + 1);
    }

    /// One less holds this range. Returns the parts that nobody holds any more.
    pub(super) fn release(&mut self, range: &Range<usize>) -> Vec<Range<usize>> {
        let last =
            self.within(range).into_iter().filter(|(_, count)| *count == 1).map(|(part, _)| part).collect();
        self.change(range, |count| count.saturating_sub(1));
        last
    }

    fn change(&mut self, range: &Range<usize>, to: impl Fn(usize) -> usize) {
        let Some((first, _)) = self.within(range).first().cloned() else { return };
        let (before, after) =
            (first.start.checked_sub(1).map_or(0, |last| self.at(last)), self.at(range.end));
        let mut previous = before;
        for (part, count) in self.within(range) {
            let count = to(count);
            if count == previous {
                self.0.remove(&part.start)
            } else {
                self.0.insert(part.start, count)
            };
            previous = count;
        }
        if after == previous {
            self.0.remove(&range.end)
        } else {
            self.0.insert(range.end, after)
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_count_as_a_plain_table_does_and_nothing_is_left_at_the_end(
            ranges in prop::collection::vec((0usize..64, 0usize..20), 1..20),
            order in any::<u64>(),
        ) {
            let (mut counts, mut table) = (Counts::new(), [0usize; 100]);
            let mut held = Vec::new();
            for (step, (start, length)) in ranges.into_iter().enumerate() {
                let range = start..start + length;
                counts.hold(&range);
                table[range.clone()].iter_mut().for_each(|count| *count += 1);
                held.push(range);
                if order >> (step % 64) & 1 == 1 {
                    let range = held.swap_remove((order as usize).wrapping_add(step) % held.len());
                    table[range.clone()].iter_mut().for_each(|count| *count -= 1);
                    let freed: Vec<usize> = counts.release(&range).into_iter().flatten().collect();
                    let expected: Vec<usize> = range.filter(|address| table[*address] == 0).collect();
                    prop_assert_eq!(freed, expected);
                }
                for (address, count) in table.iter().enumerate() {
                    prop_assert_eq!(counts.at(address), *count);
                }
            }
            for range in held {
                counts.release(&range);
            }
            prop_assert!(counts.0.is_empty());
        }
    }
}
