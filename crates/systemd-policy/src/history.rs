//! What was seen before: a ring of the few numbers of each look that forecasts and decisions need. Its memory is taken once.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observe::{Snapshot, Vram};

/// How many looks a history keeps unless told otherwise: two hours at 30 s.
const USUAL_CAPACITY: usize = 240;

/// What is kept of one look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, since the system was started.
    pub at: Duration,
    /// RAM that is not available, in bytes.
    pub ram_used_bytes: u64,
    /// RAM that there is, in bytes.
    pub ram_total_bytes: u64,
    /// Swap in use, in bytes.
    pub swap_used_bytes: u64,
    /// Swap that there is, in bytes.
    pub swap_total_bytes: u64,
    /// The share of the last ten seconds in which some task waited for memory, in percent.
    pub pressure_some_avg10: Option<f64>,
    /// The card's memory, if it was handed in.
    pub vram: Option<Vram>,
}

impl Sample {
    /// From a look.
    #[must_use]
    pub fn of(seen: &Snapshot) -> Self {
        Self {
            at: seen.at,
            ram_used_bytes: seen.system.ram_used_bytes(),
            ram_total_bytes: seen.system.ram_total_bytes,
            swap_used_bytes: seen.system.swap_used_bytes(),
            swap_total_bytes: seen.system.swap_total_bytes,
            pressure_some_avg10: seen.system.pressure.map(|pressure| pressure.some_avg10),
            vram: seen.vram,
        }
    }

    /// RAM in use, 0 to 1.
    #[must_use]
    pub fn ram_share(&self) -> f64 {
        share(self.ram_used_bytes, self.ram_total_bytes)
    }

    /// Swap in use, 0 to 1; 0 where there is none.
    #[must_use]
    pub fn swap_share(&self) -> f64 {
        share(self.swap_used_bytes, self.swap_total_bytes)
    }

    /// VRAM in use, 0 to 1; 0 where there is none, or none is known.
    #[must_use]
    pub fn vram_share(&self) -> f64 {
        self.vram.map_or(0.0, |vram| vram.share())
    }
}

/// A part of a whole, 0 to 1; 0 of nothing.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

/// The last looks, the oldest first.
#[derive(Debug, Clone)]
pub struct History {
    samples: VecDeque<Sample>,
    capacity: usize,
}

impl Default for History {
    fn default() -> Self {
        Self::new(USUAL_CAPACITY)
    }
}

impl History {
    /// Keeps the last `capacity` looks, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { samples: VecDeque::with_capacity(capacity), capacity }
    }

    /// Adds a look, and forgets the oldest where there is no room. One that is not later than the last is not added.
    pub fn push(&mut self, sample: Sample) {
        if self.samples.back().is_some_and(|last| sample.at <= last.at) {
            return;
        }
        if self.samples.len() == self.capacity {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Adds what was seen.
    pub fn record(&mut self, seen: &Snapshot) {
        self.push(Sample::of(seen));
    }

    /// All, the oldest first.
    #[must_use]
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.samples.iter()
    }

    /// The last so many, the oldest first.
    #[must_use]
    pub fn recent(&self, count: usize) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.samples.iter().skip(self.samples.len().saturating_sub(count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Sample {
        Sample { at: Duration::from_secs(seconds), ..Sample::default() }
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!((Sample::default().ram_share(), Sample::default().swap_share()), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn it_keeps_the_last_ones_in_order_and_never_grows(
            times in prop::collection::vec(0u64..1000, 0..300),
            capacity in 0usize..20,
        ) {
            let mut history = History::new(capacity);
            let memory = history.samples.capacity();
            let mut kept: Vec<u64> = Vec::new();
            for time in times {
                history.push(at(time));
                if kept.last().is_none_or(|last| time > *last) {
                    kept.push(time);
                }
                prop_assert_eq!(history.samples.capacity(), memory);
            }
            kept.drain(..kept.len().saturating_sub(capacity.max(1)));
            let seen: Vec<u64> = history.samples().map(|sample| sample.at.as_secs()).collect();
            prop_assert_eq!(&seen, &kept);
            let two: Vec<u64> = history.recent(2).map(|sample| sample.at.as_secs()).collect();
            prop_assert_eq!(&two[..], &kept[kept.len().saturating_sub(2)..]);
        }
    }
}
