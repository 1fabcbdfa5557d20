//! What a kernel did wrong, and where.

use std::fmt;

/// Where in a launch something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Name of the kernel.
    pub kernel: String,
    /// Line of the PTX, from 1.
    pub line: u32,
    /// Text of that line.
    pub text: String,
    /// Block within the grid.
    pub block: u32,
    /// Thread within the block.
    pub thread: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, line, text, block, thread } = self;
        write!(f, "kernel {kernel}, block {block}, thread {thread}, PTX line {line} `{text}`")
    }
}

/// Memory that an instruction can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Space {
    /// Memory of the card.
    Global,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// Constants of the module.
    Constant,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Constant => "constant",
        })
    }
}

/// Why a launch did not finish. Global memory stays as it was at that moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes that belong to no allocation or variable, or a store to a constant.
    #[error("{at}: {bytes} bytes of {space} memory at {address:#x} are not the kernel's to touch")]
    OutOfBounds {
        /// The instruction.
        at: Box<Place>,
        /// Memory that was touched.
        space: Space,
        /// First byte; for shared and local memory counted from the start of that memory.
        address: u64,
        /// Bytes from there.
        bytes: u64,
    },
    /// An address that is not a multiple of the bytes that it reads or writes.
    #[error("{at}: {space} address {address:#x} is not a multiple of {bytes} bytes")]
    Misaligned {
        /// The instruction.
        at: Box<Place>,
        /// Memory that was touched.
        space: Space,
        /// First byte.
        address: u64,
        /// Bytes of the access.
        bytes: u64,
    },
    /// A byte of global or shared memory that nobody wrote.
    #[error("{at}: the byte of {space} memory at {address:#x} is read, but nobody wrote it")]
    ReadOfUnwritten {
        /// The instruction.
        at: Box<Place>,
        /// Memory that was read.
        space: Space,
        /// First byte that nobody wrote.
        address: u64,
    },
    /// Two warps touch the same shared byte between two barriers, and one of them writes it, not atomically.
    #[error(
        "{at}: shared byte {address:#x} was touched by warp {other_warp} since the last barrier, and one of the two \
         writes it; put a barrier between them"
    )]
    SharedRace {
        /// The instruction that came second.
        at: Box<Place>,
        /// The byte, from the start of shared memory.
        address: u64,
        /// Warp within the block that came first.
        other_warp: u32,
    },
    /// Some threads wait at a barrier that others never reach.
    #[error("{at}: waits at a barrier that thread {missing} never reaches")]
    BarrierNotReachedByAll {
        /// A thread that waits.
        at: Box<Place>,
        /// A thread that ended, or waits elsewhere.
        missing: u32,
    },
    /// A warp instruction names lanes that never come to it, or its own mask leaves out the lane or the lane it reads.
    #[error("{at}: the mask {mask:#010x} does not fit, lanes {missing:#010x} are missing")]
    LanesMissing {
        /// A thread that waits.
        at: Box<Place>,
        /// Lanes that the instruction names.
        mask: u32,
        /// Lanes that are named and do not come, or come and are not named.
        missing: u32,
    },
    /// An integer divided by zero, which gives no defined result.
    #[error("{at}: divides by zero")]
    DivisionByZero {
        /// The instruction.
        at: Box<Place>,
    },
    /// The kernel stopped itself.
    #[error("{at}: the kernel gave up with a trap")]
    Trap {
        /// The instruction.
        at: Box<Place>,
    },
    /// [`Memory`](crate::Memory) refused the access for a reason of its own.
    #[error("{at}: memory refused {address:#x}: {reason}")]
    Refused {
        /// The instruction.
        at: Box<Place>,
        /// First byte.
        address: u64,
        /// As memory gave it.
        reason: String,
    },
    /// The kernel did not end within the limit; it may never.
    #[error(
        "{at}: more than {limit} warp instructions; the kernel may never end, or the limit is too low for it"
    )]
    TooManyInstructions {
        /// What ran at that moment.
        at: Box<Place>,
        /// The limit, in warp instructions.
        limit: u64,
    },
    /// The program has no such kernel.
    #[error("there is no kernel {kernel} in the program; it has {kernels:?}")]
    NoSuchKernel {
        /// Name that was asked for.
        kernel: String,
        /// Kernels of the program.
        kernels: Vec<String>,
    },
    /// The launch does not fit the kernel.
    #[error("kernel {kernel} cannot be launched so: {reason}")]
    WrongArguments {
        /// Name of the kernel.
        kernel: String,
        /// What does not fit.
        reason: String,
    },
}
