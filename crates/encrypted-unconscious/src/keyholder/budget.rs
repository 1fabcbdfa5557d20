//! What may still be given away: buckets of units that fill up again with time. A fold over the records of the
//! [audit log](super::audit), and nothing else.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{answer::KeyholderError, audit::Record, clock::Stand};

/// A unit, in parts: a bucket that is refilled by one unit a day gets one part in a millisecond.
const PARTS: u64 = 24 * 60 * 60 * 1000;
/// So that parts fit into 64 bits, far from the limit.
const MOST_UNITS: u64 = 1_000_000_000;

/// A bucket's size and how fast it fills up again, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Units in a full bucket.
    pub capacity: u64,
    /// Units that come back in 24 hours.
    pub per_day: u64,
}

/// How much may be asked, and what it costs.
///
/// An answer that a memory does not resemble the query says little, and costs little. One that it does says more. A sum says most,
/// because whoever asks can put a memory of its own into it and so choose where the answer changes: one bit of where the other
/// points, each time. The defaults give ten of these away, and then one a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Of each memory, whoever asks: it bounds what all callers together can learn about it.
    pub memory: Allowance,
    /// Of sums over all memories of a store. There is one for the whole keyholder, and not one for each store, because anybody
    /// could name another store.
    pub everyone: Allowance,
    /// Of each caller (user id), about whatever it asks.
    pub caller: Allowance,
    /// Units for an answer that no level is reached.
    pub price_of_silence: u64,
    /// Units for an answer that reaches a level. So much must be there before anything is answered.
    pub price_of_level: u64,
    /// Units for a sum: for each member of a chosen set, or once for all of a store.
    pub price_of_sum: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            memory: Allowance { capacity: 256, per_day: 32 },
            everyone: Allowance { capacity: 64, per_day: 8 },
            caller: Allowance { capacity: 200_000, per_day: 200_000 },
            price_of_silence: 1,
            price_of_level: 16,
            price_of_sum: 32,
        }
    }
}

impl BudgetConfig {
    /// # Errors
    /// [`KeyholderError::Config`].
    pub fn validate(&self) -> Result<(), KeyholderError> {
        let refuse = |reason: String| Err(KeyholderError::Config { reason });
        if self.price_of_silence == 0 || self.price_of_silence > self.price_of_level || self.price_of_sum == 0
        {
            return refuse(
                "prices must be at least 1, and that of silence at most that of a level".to_owned(),
            );
        }
        let dearest = self.price_of_level.max(self.price_of_sum);
        for (name, allowance, least) in [
            ("memory", self.memory, dearest),
            ("everyone", self.everyone, self.price_of_sum),
            ("caller", self.caller, dearest),
        ] {
            if !(least..=MOST_UNITS).contains(&allowance.capacity) {
                return refuse(format!(
                    "the capacity of `{name}` is {}; it must be {least} (the price of one answer) to {MOST_UNITS}",
                    allowance.capacity
                ));
            }
            if !(1..=MOST_UNITS).contains(&allowance.per_day) {
                return refuse(format!("`{name}` must be refilled by 1 to {MOST_UNITS} units a day"));
            }
        }
        Ok(())
    }
}

/// What was taken out of a bucket and has not come back yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bucket {
    /// In parts, at `time`.
    pub(super) spent: u64,
    /// Of the ledger, in milliseconds.
    pub(super) time: u64,
}

impl Bucket {
    fn spent(&self, allowance: Allowance, time: u64) -> u64 {
        let back = time.saturating_sub(self.time).saturating_mul(allowance.per_day);
        self.spent.saturating_sub(back)
    }

    fn charge(&mut self, allowance: Allowance, time: u64, units: u64) {
        let spent = self.spent(allowance, time).saturating_add(units.saturating_mul(PARTS));
        *self = Self { spent, time: self.time.max(time) };
    }

    /// Whether that many units are there; if not, when they will be.
    fn afford(&self, allowance: Allowance, time: u64, units: u64) -> Result<(), Duration> {
        let needed = self.spent(allowance, time).saturating_add(units.saturating_mul(PARTS));
        match needed.saturating_sub(allowance.capacity.saturating_mul(PARTS)) {
            0 => Ok(()),
            lacking => Err(Duration::from_millis(lacking.div_ceil(allowance.per_day.max(1)))),
        }
    }
}

/// All buckets. One that is not there is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budgets {
    pub(super) config: BudgetConfig,
    pub(super) memories: HashMap<[u8; 32], Bucket>,
    pub(super) callers: HashMap<u32, Bucket>,
    pub(super) everyone: Bucket,
}

impl Budgets {
    pub(super) fn new(config: BudgetConfig) -> Self {
        Self { config, memories: HashMap::new(), callers: HashMap::new(), everyone: Bucket::default() }
    }

    /// Takes out what a record says.
    pub(super) fn apply(&mut self, record: &Record) {
        let (config, time) = (&self.config, record.time);
        for (memory, &units) in record.memories.iter().zip(&record.units) {
            self.memories.entry(memory.0).or_default().charge(config.memory, time, units);
        }
        if record.caller > 0 {
            self.callers.entry(record.uid).or_default().charge(config.caller, time, record.caller);
        }
        if record.everyone > 0 {
            self.everyone.charge(config.everyone, time, record.everyone);
        }
    }

    pub(super) fn afford_memory(&self, memory: &[u8; 32], stand: &Stand, units: u64) -> Result<(), Duration> {
        let bucket = self.memories.get(memory).copied().unwrap_or_default();
        bucket.afford(self.config.memory, stand.time, units)
    }

    pub(super) fn afford_everyone(&self, stand: &Stand, units: u64) -> Result<(), Duration> {
        self.everyone.afford(self.config.everyone, stand.time, units)
    }

    pub(super) fn afford_caller(&self, uid: u32, stand: &Stand, units: u64) -> Result<(), Duration> {
        let bucket = self.callers.get(&uid).copied().unwrap_or_default();
        bucket.afford(self.config.caller, stand.time, units)
    }

    /// Memories about which nothing can be asked for now.
    pub(super) fn memories_over_budget(&self, stand: &Stand) -> usize {
        let over = |bucket: &&Bucket| {
            bucket.afford(self.config.memory, stand.time, self.config.price_of_level).is_err()
        };
        self.memories.values().filter(over).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The reference: a bucket that is refilled every millisecond.
        #[test]
        fn a_bucket_never_gives_more_than_it_holds(
            capacity in 1u64..50,
            per_day in 1u64..5_000_000,
            asks in prop::collection::vec((1u64..20, 0u64..3000), 1..60),
        ) {
            let allowance = Allowance { capacity, per_day };
            let (mut bucket, mut time, mut holds) = (Bucket::default(), 0, capacity * PARTS);
            for (units, wait) in asks {
                time += wait;
                for _ in 0..wait {
                    holds = (holds + per_day).min(capacity * PARTS);
                }
                match bucket.afford(allowance, time, units) {
                    Ok(()) => {
                        prop_assert!(holds >= units * PARTS);
                        holds -= units * PARTS;
                        bucket.charge(allowance, time, units);
                    }
                    Err(again_in) => {
                        prop_assert!(holds < units * PARTS);
                        let then = time + again_in.as_millis() as u64;
                        prop_assert_eq!(bucket.afford(allowance, then, units).is_ok(), units <= capacity);
                        prop_assert!(bucket.afford(allowance, then - 1, units).is_err());
                    }
                }
                prop_assert_eq!(capacity * PARTS - bucket.spent(allowance, time), holds);
            }
        }
    }

    #[test]
    fn a_configuration_that_could_never_answer_is_refused_with_the_reason() {
        let reason = |change: &dyn Fn(&mut BudgetConfig)| {
            let mut config = BudgetConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        BudgetConfig::default().validate().unwrap();
        assert!(reason(&|config| config.price_of_silence = 0).contains("prices"));
        assert!(reason(&|config| config.price_of_silence = 17).contains("silence"));
        assert!(reason(&|config| config.memory.capacity = 15).contains("capacity of `memory` is 15"));
        assert!(reason(&|config| config.everyone.capacity = u64::MAX).contains("`everyone`"));
        assert!(reason(&|config| config.caller.per_day = 0).contains("`caller`"));
    }

    #[test]
    fn a_part_of_a_configuration_leaves_the_rest_as_it_is_and_a_word_too_many_is_refused() {
        let config: BudgetConfig = serde_json::from_str(r#"{"price_of_level": 20}"#).unwrap();
        assert_eq!(config, BudgetConfig { price_of_level: 20, ..BudgetConfig::default() });
        assert!(serde_json::from_str::<BudgetConfig>(r#"{"price": 20}"#).is_err());
    }
}
