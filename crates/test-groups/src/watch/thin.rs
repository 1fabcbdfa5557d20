//! What was in use over hours, in bounded memory: the highest of each stretch of time.

use crate::report::Sample;

/// So many are kept while a group runs; whoever reports it thins them further.
const MOST: usize = 8_000;

/// Samples in the order of time; the stretches double whenever there are too many.
#[derive(Debug, Default)]
pub(super) struct Thinned {
    samples: Vec<Sample>,
    /// So many looks (less one) are one sample by now.
    more_looks: u32,
    in_last: u32,
}

impl Thinned {
    pub(super) fn push(&mut self, sample: Sample) {
        match self.samples.last_mut() {
            // Pauses between tests are kept apart from tests: what is held then shows what tests leave behind.
            Some(last) if self.in_last < self.more_looks && (last.running == 0) == (sample.running == 0) => {
                self.in_last += 1;
                *last = higher(*last, sample);
            }
            _ => {
                self.samples.push(sample);
                self.in_last = 0;
            }
        }
        if self.samples.len() >= MOST {
            self.samples = self.samples.chunks(2).map(|pair| higher(pair[0], pair[pair.len() - 1])).collect();
            self.more_looks = self.more_looks * 2 + 1;
            self.in_last = self.more_looks;
        }
    }

    pub(super) fn into_samples(self) -> Vec<Sample> {
        self.samples
    }

    pub(super) fn last(&self) -> Option<Sample> {
        self.samples.last().copied()
    }
}

fn higher(a: Sample, b: Sample) -> Sample {
    let bytes = |sample: &Sample| (sample.used_bytes, sample.group_bytes);
    if bytes(&b) > bytes(&a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn however_many_there_are_the_highest_stays_and_time_goes_on(count in 1u64..100_000, peak in any::<prop::sample::Index>()) {
            let peak = peak.index(count as usize) as u64;
            let mut thinned = Thinned::default();
            for at_ms in 0..count {
                let used_bytes = if at_ms == peak { 1_000_000 } else { at_ms % 1000 };
                thinned.push(Sample { at_ms, used_bytes, group_bytes: None, running: u32::from(at_ms % 3000 > 10) });
            }
            let samples = thinned.into_samples();
            prop_assert!(samples.len() < MOST);
            prop_assert!(samples.iter().any(|sample| sample.used_bytes == 1_000_000 && sample.at_ms == peak));
            prop_assert!(samples.is_sorted_by(|a, b| a.at_ms < b.at_ms));
        }
    }
}
