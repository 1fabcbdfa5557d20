//! Shared memory of a block: which bytes were written, and who touched them since the last barrier.

use std::ops::Range;

use super::machine::Mistake;
use crate::fault::Space;

/// How an access touches shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    Read,
    Write,
    Atomic,
}

/// What is known of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Of no variable.
    Gap,
    Unwritten,
    Written,
}

/// Warps that touched a byte since the barrier of this number, one bit each.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    barrier: u32,
    readers: u32,
    writers: u32,
    atomics: u32,
}

/// Shared memory of the block that runs.
#[derive(Debug)]
pub(super) struct Shared {
    bytes: Vec<u8>,
    states: Vec<State>,
    uses: Vec<Uses>,
    /// Barriers so far, over all blocks.
    barriers: u32,
}

impl Shared {
    /// For variables at these places.
    pub(super) fn new(variables: &[(usize, usize)]) -> Self {
        let size = variables.last().map_or(0, |&(_, end)| end);
        let mut shared = Self {
            bytes: vec![0; size],
            states: vec![State::Gap; size],
            uses: vec![Uses::default(); size],
            barriers: 0,
        };
        for &(start, end) in variables {
            shared.states[start..end].fill(State::Unwritten);
        }
        shared
    }

    /// A new block: nobody wrote anything.
    pub(super) fn start_block(&mut self) {
        for state in self.states.iter_mut().filter(|state| **state == State::Written) {
            *state = State::Unwritten;
        }
        self.barrier();
    }

    /// All threads met: what was touched before cannot collide with what comes.
    pub(super) fn barrier(&mut self) {
        self.barriers = self.barriers.wrapping_add(1);
    }

    /// Checks an access, and remembers it.
    fn touch(
        &mut self,
        warp: u32,
        address: u64,
        bytes: usize,
        touch: Touch,
    ) -> Result<Range<usize>, Mistake> {
        let outside = || Mistake::OutOfBounds { space: Space::Shared, address, bytes: bytes as u64 };
        let start = usize::try_from(address).map_err(|_| outside())?;
        let range = start..start.checked_add(bytes).ok_or_else(outside)?;
        let states = self.states.get_mut(range.clone()).ok_or_else(outside)?;
        if states.contains(&State::Gap) {
            return Err(outside());
        }
        if touch != Touch::Write
            && let Some(at) = states.iter().position(|state| *state == State::Unwritten)
        {
            return Err(Mistake::ReadOfUnwritten { space: Space::Shared, address: address + at as u64 });
        }
        if touch != Touch::Read {
            states.fill(State::Written);
        }
        let own = 1u32 << (warp & 31);
        for (at, uses) in self.uses[range.clone()].iter_mut().enumerate() {
            if uses.barrier != self.barriers {
                *uses = Uses { barrier: self.barriers, ..Uses::default() };
            }
            let others = match touch {
                Touch::Read | Touch::Atomic => uses.writers,
                Touch::Write => uses.readers | uses.writers | uses.atomics,
            } & !own;
            if others != 0 {
                let other_warp = others.trailing_zeros();
                return Err(Mistake::SharedRace { address: address + at as u64, other_warp });
            }
            match touch {
                Touch::Read => uses.readers |= own,
                Touch::Write => uses.writers |= own,
                Touch::Atomic => uses.atomics |= own,
            }
        }
        Ok(range)
    }

    pub(super) fn read(
        &mut self,
        warp: u32,
        address: u64,
        out: &mut [u8],
        touch: Touch,
    ) -> Result<(), Mistake> {
        let range = self.touch(warp, address, out.len(), touch)?;
        out.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        warp: u32,
        address: u64,
        bytes: &[u8],
        touch: Touch,
    ) -> Result<(), Mistake> {
        let range = self.touch(warp, address, bytes.len(), touch)?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Shared {
        let mut shared = Shared::new(&[(0, 16), (64, 80)]);
        shared.start_block();
        shared.write(0, 0, &[7; 16], Touch::Write).unwrap();
        shared
    }

    #[test]
    fn a_barrier_parts_what_collides() {
        let mut shared = written();
        let mut out = [0; 4];
        let race = shared.read(1, 4, &mut out, Touch::Read);
        assert!(matches!(race, Err(Mistake::SharedRace { address: 4, other_warp: 0 })), "{race:?}");
        shared.barrier();
        shared.read(1, 4, &mut out, Touch::Read).unwrap();
        shared.read(2, 4, &mut out, Touch::Read).unwrap();
        let race = shared.write(2, 6, &[1], Touch::Write);
        assert!(matches!(race, Err(Mistake::SharedRace { address: 6, other_warp: 1 })), "{race:?}");
    }

    #[test]
    fn atomics_collide_with_writes_only() {
        let mut shared = written();
        shared.barrier();
        shared.write(0, 0, &[1; 4], Touch::Atomic).unwrap();
        shared.write(1, 0, &[1; 4], Touch::Atomic).unwrap();
        shared.read(2, 0, &mut [0; 4], Touch::Read).unwrap();
        assert!(shared.write(3, 0, &[1; 4], Touch::Write).is_err());
    }

    #[test]
    fn the_gaps_and_the_unwritten_are_known() {
        let mut shared = written();
        for outside in [14, 16, 62, 78, 80, u64::MAX] {
            let found = shared.write(0, outside, &[1; 4], Touch::Write);
            assert!(matches!(found, Err(Mistake::OutOfBounds { .. })), "{outside}: {found:?}");
        }
        let found = shared.read(0, 64, &mut [0; 4], Touch::Read);
        assert!(matches!(found, Err(Mistake::ReadOfUnwritten { address: 64, .. })), "{found:?}");
        shared.start_block();
        assert!(
            shared.read(0, 0, &mut [0; 4], Touch::Read).is_err(),
            "a block finds nothing of the one before it"
        );
    }
}
