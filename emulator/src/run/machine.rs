//! What all warps of a launch share, and how a mistake becomes a [`Fault`].

use super::shared::Shared;
use crate::decode::{Kernel, Variables};
use crate::fault::{Fault, Place, Space};
use crate::memory::Memory;

/// Size of a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
}

/// A launch in progress.
pub(crate) struct Machine<'l> {
    pub(crate) kernel: &'l Kernel,
    pub(crate) grid: Grid,
    pub(crate) memory: &'l mut dyn Memory,
    pub(crate) variables: &'l Variables,
    /// Variables of the module, as they are now.
    pub(crate) values: &'l mut [u8],
    /// Parameters of the kernel.
    pub(crate) parameters: Vec<u8>,
    pub(crate) lines: &'l [Box<str>],
    /// Most warp instructions.
    pub(crate) limit: u64,
    pub(super) shared: Shared,
    pub(super) block: u32,
    /// How often each instruction was issued.
    pub(crate) issued: Vec<u64>,
    pub(crate) instructions: u64,
    pub(crate) thread_instructions: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
}

/// A mistake of one lane, before it is known where.
#[derive(Debug)]
pub(super) enum Mistake {
    OutOfBounds { space: Space, address: u64, bytes: u64 },
    Misaligned { space: Space, address: u64, bytes: u64 },
    ReadOfUnwritten { space: Space, address: u64 },
    SharedRace { address: u64, other_warp: u32 },
    Refused { address: u64, reason: String },
    LanesMissing { mask: u32, missing: u32 },
    BarrierNotReachedByAll { missing: u32 },
    DivisionByZero,
    Trap,
    TooManyInstructions,
}

impl<'l> Machine<'l> {
    pub(crate) fn new(
        (kernel, grid, limit): (&'l Kernel, Grid, u64),
        memory: &'l mut dyn Memory,
        (variables, values): (&'l Variables, &'l mut [u8]),
        parameters: Vec<u8>,
        lines: &'l [Box<str>],
    ) -> Self {
        Self {
            kernel,
            grid,
            memory,
            variables,
            values,
            parameters,
            lines,
            limit,
            shared: Shared::new(&kernel.shared),
            block: 0,
            issued: vec![0; kernel.code.len()],
            instructions: 0,
            thread_instructions: 0,
            bytes_read: 0,
            bytes_written: 0,
        }
    }

    /// The mistake of the thread at this position of the program.
    pub(super) fn fault(&self, position: u32, thread: u32, mistake: Mistake) -> Fault {
        let line = self.kernel.code.get(position as usize).map_or(0, |instruction| instruction.line);
        let text = self.lines.get((line as usize).wrapping_sub(1)).map_or("", |line| line.trim());
        let kernel = self.kernel.name.clone();
        let at = Box::new(Place { kernel, line, text: text.into(), block: self.block, thread });
        match mistake {
            Mistake::OutOfBounds { space, address, bytes } => {
                Fault::OutOfBounds { at, space, address, bytes }
            }
            Mistake::Misaligned { space, address, bytes } => Fault::Misaligned { at, space, address, bytes },
            Mistake::ReadOfUnwritten { space, address } => Fault::ReadOfUnwritten { at, space, address },
            Mistake::SharedRace { address, other_warp } => Fault::SharedRace { at, address, other_warp },
            Mistake::Refused { address, reason } => Fault::Refused { at, address, reason },
            Mistake::LanesMissing { mask, missing } => Fault::LanesMissing { at, mask, missing },
            Mistake::BarrierNotReachedByAll { missing } => Fault::BarrierNotReachedByAll { at, missing },
            Mistake::DivisionByZero => Fault::DivisionByZero { at },
            Mistake::Trap => Fault::Trap { at },
            Mistake::TooManyInstructions => Fault::TooManyInstructions { at, limit: self.limit },
        }
    }
}
