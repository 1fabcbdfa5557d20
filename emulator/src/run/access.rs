//! Loads, stores and atomics of the lanes of a warp.

use super::machine::{Machine, Mistake};
use super::shared::Touch;
use super::warp::Warp;
use super::{LANES, for_lanes, lanes_of};
use crate::decode::{LOCAL_WINDOW, Named, SHARED_WINDOW, Slot, Target, VARIABLES_WINDOW};
use crate::fault::{Fault, Space};
use crate::instructions::Ternary;
use crate::memory::MemoryFault;

/// Most bytes that a lane reads or writes at once.
const MOST: usize = 16;

/// Where an address leads.
enum Way {
    Memory(u64),
    Variables(u64),
    Shared(u64),
    Local(u64),
}

/// The memory that an address leads to, by the space that the instruction names.
fn way(space: Named, address: u64) -> Option<Way> {
    match (space, address & LOCAL_WINDOW) {
        (Named::Shared, _) => Some(Way::Shared(address)),
        (Named::Local, _) => Some(Way::Local(address)),
        (Named::Generic | Named::Global, 0) => Some(Way::Memory(address)),
        (_, VARIABLES_WINDOW) => Some(Way::Variables(address - VARIABLES_WINDOW)),
        (Named::Generic, SHARED_WINDOW) => Some(Way::Shared(address - SHARED_WINDOW)),
        (Named::Generic, LOCAL_WINDOW) => Some(Way::Local(address - LOCAL_WINDOW)),
        _ => None,
    }
}

/// Whether a generic address is of this memory.
pub(super) fn is_of(space: Named, address: u64) -> bool {
    match way(Named::Generic, address) {
        Some(Way::Memory(_)) => space == Named::Global,
        Some(Way::Variables(_)) => matches!(space, Named::Global | Named::Constant),
        Some(Way::Shared(_)) => space == Named::Shared,
        Some(Way::Local(_)) => space == Named::Local,
        None => false,
    }
}

fn shown(space: Named) -> Space {
    match space {
        Named::Generic | Named::Global => Space::Global,
        Named::Shared => Space::Shared,
        Named::Local => Space::Local,
        Named::Constant => Space::Constant,
    }
}

fn of_memory(fault: MemoryFault) -> Mistake {
    match fault {
        MemoryFault::OutOfBounds { address, bytes } => {
            Mistake::OutOfBounds { space: Space::Global, address, bytes }
        }
        MemoryFault::ReadOfUnwritten { address } => {
            Mistake::ReadOfUnwritten { space: Space::Global, address }
        }
        MemoryFault::Refused { address, reason } => Mistake::Refused { address, reason },
    }
}

pub(super) fn bits_of(bytes: &[u8], signed: bool) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    let spare = 64 - 8 * bytes.len() as u32;
    let bits = u64::from_le_bytes(all);
    if signed { ((bits << spare) as i64 >> spare) as u64 } else { bits }
}

impl Machine<'_> {
    /// Place of bytes within the variables of the module.
    fn variable(&self, at: u64, bytes: usize, write: bool) -> Result<std::ops::Range<usize>, Mistake> {
        let outside = Mistake::OutOfBounds {
            space: Space::Global,
            address: VARIABLES_WINDOW + at,
            bytes: bytes as u64,
        };
        let Ok(start) = usize::try_from(at) else { return Err(outside) };
        let ranges = &self.variables.ranges;
        let found =
            ranges.partition_point(|&(first, ..)| first <= start).checked_sub(1).map(|index| ranges[index]);
        match found {
            Some((_, end, constant)) if start + bytes <= end && !(write && constant) => {
                Ok(start..start + bytes)
            }
            _ => Err(outside),
        }
    }
}

impl Warp {
    fn local(&self, lane: usize, at: u64, bytes: usize) -> Result<std::ops::Range<usize>, Mistake> {
        let each = self.local.len() / LANES as usize;
        match usize::try_from(at) {
            Ok(start) if start.checked_add(bytes).is_some_and(|end| end <= each) => {
                Ok(lane * each + start..lane * each + start + bytes)
            }
            _ => Err(Mistake::OutOfBounds { space: Space::Local, address: at, bytes: bytes as u64 }),
        }
    }

    fn read(
        &self,
        machine: &mut Machine<'_>,
        lane: usize,
        (space, address): (Named, u64),
        out: &mut [u8],
        touch: Touch,
    ) -> Result<(), Mistake> {
        let bytes = out.len() as u64;
        if !address.is_multiple_of(bytes) {
            return Err(Mistake::Misaligned { space: shown(space), address, bytes });
        }
        match way(space, address) {
            Some(Way::Memory(address)) => {
                machine.bytes_read += bytes;
                machine.memory.load(address, out).map_err(of_memory)
            }
            Some(Way::Variables(at)) => {
                let range = machine.variable(at, out.len(), false)?;
                out.copy_from_slice(&machine.values[range]);
                Ok(())
            }
            Some(Way::Shared(at)) => machine.shared.read(self.index, at, out, touch),
            Some(Way::Local(at)) => {
                out.copy_from_slice(&self.local[self.local(lane, at, out.len())?]);
                Ok(())
            }
            None => Err(Mistake::OutOfBounds { space: shown(space), address, bytes }),
        }
    }

    fn write(
        &mut self,
        machine: &mut Machine<'_>,
        lane: usize,
        (space, address): (Named, u64),
        from: &[u8],
        touch: Touch,
    ) -> Result<(), Mistake> {
        let bytes = from.len() as u64;
        if !address.is_multiple_of(bytes) {
            return Err(Mistake::Misaligned { space: shown(space), address, bytes });
        }
        match way(space, address) {
            Some(Way::Memory(address)) => {
                machine.bytes_written += bytes;
                machine.memory.store(address, from).map_err(of_memory)
            }
            Some(Way::Variables(at)) => {
                let range = machine.variable(at, from.len(), true)?;
                machine.values[range].copy_from_slice(from);
                Ok(())
            }
            Some(Way::Shared(at)) => machine.shared.write(self.index, at, from, touch),
            Some(Way::Local(at)) => {
                let range = self.local(lane, at, from.len())?;
                self.local[range].copy_from_slice(from);
                Ok(())
            }
            None => Err(Mistake::OutOfBounds { space: shown(space), address, bytes }),
        }
    }

    fn addresses(&self, target: &Target, lanes: u32) -> [u64; LANES as usize] {
        let base = &self.registers[target.base as usize];
        let mut addresses = [0; LANES as usize];
        for_lanes(lanes, |lane| {
            addresses[lane] = if target.narrow {
                u64::from((base[lane] as u32).wrapping_add(target.offset as u32))
            } else {
                base[lane].wrapping_add(target.offset)
            };
        });
        addresses
    }

    pub(super) fn load(
        &mut self,
        machine: &mut Machine<'_>,
        (position, lanes): (u32, u32),
        to: &[Option<Slot>],
        target: &Target,
        (bytes, signed): (usize, bool),
    ) -> Result<(), Fault> {
        let addresses = self.addresses(target, lanes);
        let each = bytes * to.len();
        let mut read = [0; MOST * LANES as usize];
        let one_piece = in_one_piece(target.space, lanes, &addresses, each)
            && machine.memory.load(addresses[0], &mut read[..each * LANES as usize]).is_ok();
        if one_piece {
            machine.bytes_read += (each * LANES as usize) as u64;
        } else {
            for lane in lanes_of(lanes) {
                let out = &mut read[lane * each..(lane + 1) * each];
                self.read(machine, lane, (target.space, addresses[lane]), out, Touch::Read)
                    .map_err(|mistake| machine.fault(position, self.thread(lane), mistake))?;
            }
        }
        for (part, to) in to.iter().enumerate() {
            if let Some(to) = to {
                let to = &mut self.registers[*to as usize];
                for_lanes(lanes, |lane| {
                    let start = lane * each + part * bytes;
                    to[lane] = bits_of(&read[start..start + bytes], signed);
                });
            }
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        machine: &mut Machine<'_>,
        (position, lanes): (u32, u32),
        from: &[Slot],
        target: &Target,
        bytes: usize,
    ) -> Result<(), Fault> {
        let addresses = self.addresses(target, lanes);
        let each = bytes * from.len();
        let mut written = [0; MOST * LANES as usize];
        for (part, from) in from.iter().enumerate() {
            let from = &self.registers[*from as usize];
            for_lanes(lanes, |lane| {
                let start = lane * each + part * bytes;
                written[start..start + bytes].copy_from_slice(&from[lane].to_le_bytes()[..bytes]);
            });
        }
        let all = each * LANES as usize;
        if in_one_piece(target.space, lanes, &addresses, each)
            && machine.memory.store(addresses[0], &written[..all]).is_ok()
        {
            machine.bytes_written += all as u64;
            return Ok(());
        }
        for lane in lanes_of(lanes) {
            let from = &written[lane * each..(lane + 1) * each];
            self.write(machine, lane, (target.space, addresses[lane]), from, Touch::Write)
                .map_err(|mistake| machine.fault(position, self.thread(lane), mistake))?;
        }
        Ok(())
    }

    /// Lane by lane, lowest first.
    pub(super) fn atomic(
        &mut self,
        machine: &mut Machine<'_>,
        (position, lanes): (u32, u32),
        (to, from): (Option<Slot>, [Slot; 2]),
        target: &Target,
        (function, bytes): (Ternary, usize),
    ) -> Result<(), Fault> {
        let addresses = self.addresses(target, lanes);
        for lane in lanes_of(lanes) {
            let at = (target.space, addresses[lane]);
            let mut memory = [0; 8];
            let memory = &mut memory[..bytes];
            let result = self.read(machine, lane, at, memory, Touch::Atomic).and_then(|()| {
                let old = bits_of(memory, false);
                let [b, c] = from.map(|slot| self.registers[slot as usize][lane]);
                let new = function(old, b, c).to_le_bytes();
                self.write(machine, lane, at, &new[..bytes], Touch::Atomic)?;
                Ok(old)
            });
            let old = result.map_err(|mistake| machine.fault(position, self.thread(lane), mistake))?;
            if let Some(to) = to {
                self.registers[to as usize][lane] = old;
            }
        }
        Ok(())
    }

    /// Parameters of calls lie in the memory of the thread.
    pub(super) fn copy_local(&mut self, lanes: u32, to: usize, from: usize, bytes: usize) {
        let each = self.local.len() / LANES as usize;
        for lane in lanes_of(lanes) {
            let start = lane * each;
            self.local.copy_within(start + from..start + from + bytes, start + to);
        }
    }
}

/// Whether all lanes together touch one piece of global memory, lane after lane, in line.
fn in_one_piece(space: Named, lanes: u32, addresses: &[u64; LANES as usize], each: usize) -> bool {
    let each = each as u64;
    let end = addresses[0].saturating_add(each * u64::from(LANES));
    matches!(space, Named::Generic | Named::Global)
        && lanes == u32::MAX
        && end < VARIABLES_WINDOW
        && addresses[0].is_multiple_of(each)
        && addresses.iter().zip(0..).all(|(&address, lane)| address == addresses[0] + lane * each)
}
