//! Failures on demand: which call of which kind fails next. Decides only; what a failure looks like is the
//! card's business.

/// A failure to come. Those with `after` happen once; the others stay until they are cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// One allocation fails as if the card were full, after `after` that are let through (0: the next one).
    Allocation {
        /// How many allocations are let through before.
        after: u64,
    },
    /// Every allocation of more than `bytes` bytes fails as if the card were full.
    AllocationsAbove {
        /// Largest size in bytes that is let through.
        bytes: u64,
    },
    /// One write fails in the driver, after `after` that are let through. Nothing of it reaches the card.
    Write {
        /// How many writes are let through before.
        after: u64,
    },
    /// One read fails in the driver, after `after` that are let through.
    Read {
        /// How many reads are let through before.
        after: u64,
    },
    /// One `free` fails in the driver, after `after` that are let through. The allocation stays.
    Free {
        /// How many calls of `free` are let through before.
        after: u64,
    },
    /// The card does not answer any call any more.
    DeviceLost,
}

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Allocate { bytes: u64 },
    Write,
    Read,
    Free,
}

/// The failures to come on one card.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pending: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.pending.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.pending.contains(&Fault::DeviceLost)
    }

    /// Whether this operation fails. Counts it.
    pub(super) fn strikes(&mut self, operation: Operation) -> bool {
        let mut strikes = false;
        self.pending.retain_mut(|fault| {
            let after = match (fault, operation) {
                (Fault::AllocationsAbove { bytes: limit }, Operation::Allocate { bytes }) => {
                    strikes |= bytes > *limit;
                    return true;
                }
                (Fault::Allocation { after }, Operation::Allocate { .. })
                | (Fault::Write { after }, Operation::Write)
                | (Fault::Read { after }, Operation::Read)
                | (Fault::Free { after }, Operation::Free) => after,
                _ => return true,
            };
            if let Some(left) = after.checked_sub(1) {
                *after = left;
                return true;
            }
            strikes = true;
            false
        });
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_once_and_at_the_call_it_was_set_for() {
        // R32
        let mut faults = Faults::default();
        faults.add(Fault::Write { after: 2 });
        faults.add(Fault::Read { after: 0 });
        let writes: Vec<bool> = (0..5).map(|_| faults.strikes(Operation::Write)).collect();
        assert_eq!(writes, [false, false, true, false, false]);
        assert!(faults.strikes(Operation::Read));
        assert!(!faults.strikes(Operation::Read));
    }

    #[test]
    fn a_size_limit_stays_until_it_is_cleared() {
        let mut faults = Faults::default();
        faults.add(Fault::AllocationsAbove { bytes: 10 });
        for _ in 0..2 {
            assert!(faults.strikes(Operation::Allocate { bytes: 11 }));
            assert!(!faults.strikes(Operation::Allocate { bytes: 10 }));
        }
        faults.clear();
        assert!(!faults.strikes(Operation::Allocate { bytes: 11 }));
    }
}
