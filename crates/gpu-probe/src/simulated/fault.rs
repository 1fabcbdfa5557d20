//! Failures on demand: which call of which kind fails next, and how. Decides only; what a failure looks like is the
//! card's business.

/// A failure to come. Those with `after` and thefts happen once; the others stay until they are cleared.
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
    /// One [`occupy`](crate::DeviceMemory::occupy) fails as if the card were full, after `after` that are let through.
    Occupy {
        /// How many are let through before.
        after: u64,
    },
    /// One [`vacate`](crate::DeviceMemory::vacate) fails in the driver, after `after` that are let through.
    Vacate {
        /// How many are let through before.
        after: u64,
    },
    /// A read finds an error that the card cannot correct, after `after` that are let through.
    Ecc {
        /// How many reads are let through before.
        after: u64,
    },
    /// The card is lost half-way through a read, after `after` that are let through, and stays lost.
    LostAfterReads {
        /// How many reads are let through before.
        after: u64,
    },
    /// The card is lost half-way through a write, after `after` that are let through, and stays lost.
    LostAfterWrites {
        /// How many writes are let through before.
        after: u64,
    },
    /// Between the next look and the next allocation (or `occupy`), another process takes `bytes` bytes, or what is left.
    StolenBeforeAllocation {
        /// How many bytes it takes.
        bytes: u64,
        /// Which process; it appears where it was not there before.
        pid: u32,
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
    Occupy,
    Vacate,
}

/// In which way an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strike {
    /// It is refused, and nothing happens.
    Refused,
    /// The memory is found to be broken.
    Uncorrectable,
    /// The card is gone from now on, the operation half done.
    Lost,
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

    /// What another process takes before the next allocation: (process, bytes).
    pub(super) fn theft(&mut self) -> Option<(u32, u64)> {
        let theft = |fault: &Fault| match *fault {
            Fault::StolenBeforeAllocation { bytes, pid } => Some((pid, bytes)),
            _ => None,
        };
        let (at, taken) =
            self.pending.iter().enumerate().find_map(|(at, fault)| Some((at, theft(fault)?)))?;
        self.pending.remove(at);
        Some(taken)
    }

    /// Whether, and how, this operation fails; the worst of several. Counts it.
    pub(super) fn strikes(&mut self, operation: Operation) -> Option<Strike> {
        let mut worst = None;
        self.pending.retain_mut(|fault| {
            let (after, strike) = match (&mut *fault, operation) {
                (Fault::AllocationsAbove { bytes: limit }, Operation::Allocate { bytes }) => {
                    if bytes > *limit {
                        worst = worst.max(Some(Strike::Refused));
                    }
                    return true;
                }
                (Fault::Allocation { after }, Operation::Allocate { .. })
                | (Fault::Write { after }, Operation::Write)
                | (Fault::Read { after }, Operation::Read)
                | (Fault::Free { after }, Operation::Free)
                | (Fault::Occupy { after }, Operation::Occupy)
                | (Fault::Vacate { after }, Operation::Vacate) => (after, Strike::Refused),
                (Fault::Ecc { after }, Operation::Read) => (after, Strike::Uncorrectable),
                (Fault::LostAfterReads { after }, Operation::Read)
                | (Fault::LostAfterWrites { after }, Operation::Write) => (after, Strike::Lost),
                _ => return true,
            };
            if let Some(left) = after.checked_sub(1) {
                *after = left;
                return true;
            }
            worst = worst.max(Some(strike));
            if strike == Strike::Lost {
                *fault = Fault::DeviceLost;
                return true;
            }
            false
        });
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_lost_in_a_read_stays_lost() {
        let mut faults = Faults::default();
        faults.add(Fault::LostAfterReads { after: 1 });
        faults.add(Fault::Read { after: 1 });
        assert_eq!(faults.strikes(Operation::Read), None);
        assert!(!faults.is_lost());
        assert_eq!(faults.strikes(Operation::Read), Some(Strike::Lost));
        assert!(faults.is_lost());
    }

    #[test]
    fn each_theft_happens_once() {
        let mut faults = Faults::default();
        faults.add(Fault::StolenBeforeAllocation { bytes: 5, pid: 1 });
        faults.add(Fault::StolenBeforeAllocation { bytes: 6, pid: 2 });
        assert_eq!((faults.theft(), faults.theft(), faults.theft()), (Some((1, 5)), Some((2, 6)), None));
    }

    #[test]
    fn a_fault_strikes_once_and_at_the_call_it_was_set_for() {
        // R32
        let mut faults = Faults::default();
        faults.add(Fault::Write { after: 2 });
        faults.add(Fault::Read { after: 0 });
        let writes: Vec<bool> = (0..5).map(|_| faults.strikes(Operation::Write).is_some()).collect();
        assert_eq!(writes, [false, false, true, false, false]);
        assert_eq!(faults.strikes(Operation::Read), Some(Strike::Refused));
        assert_eq!(faults.strikes(Operation::Read), None);
    }

    #[test]
    fn a_size_limit_stays_until_it_is_cleared() {
        let mut faults = Faults::default();
        faults.add(Fault::AllocationsAbove { bytes: 10 });
        for _ in 0..2 {
            assert_eq!(faults.strikes(Operation::Allocate { bytes: 11 }), Some(Strike::Refused));
            assert_eq!(faults.strikes(Operation::Allocate { bytes: 10 }), None);
        }
        faults.clear();
        assert_eq!(faults.strikes(Operation::Allocate { bytes: 11 }), None);
    }
}
