//! Runs the PTX of CUDA kernels on the processor, slowly and exactly, and finds their mistakes.
//!
//! Kernels are verified byte for byte where there is no GPU. What a sanitiser would find on a card is an error here:
//! accesses out of bounds or out of line, reads of bytes that nobody wrote, races in shared memory, barriers that not
//! all threads reach, warp instructions whose lanes never come. Each [`Fault`] names the line of the PTX, the block
//! and the thread.
//!
//! - `parse`: text to functions, variables and statements; anything unknown is a [`ParseError`] that names the line.
//! - `instructions`: what each arithmetic instruction computes from the bits of its operands, for one lane.
//! - `decode`: statements to one compact program for each kernel, with the functions that it calls.
//! - `run`: warps, blocks, barriers and shared memory.
//! - `memory`: global memory, as kernels see it.
//!
//! ```
//! use ptx_emulator::{Arena, Program};
//!
//! let program = Program::parse(
//!     ".version 7.8
//!      .target sm_70
//!      .address_size 64
//!      .visible .entry triple(.param .u64 out) {
//!          .reg .b32 %r<3>;
//!          .reg .b64 %rd<4>;
//!          ld.param.u64 %rd1, [out];
//!          mov.u32 %r1, %tid.x;
//!          mul.wide.u32 %rd2, %r1, 4;
//!          add.s64 %rd3, %rd1, %rd2;
//!          mul.lo.s32 %r2, %r1, 3;
//!          st.global.u32 [%rd3], %r2;
//!          ret;
//!      }",
//! )?;
//! let mut memory = Arena::new();
//! let out = memory.allocate(4 * 64);
//! program.launch(&mut memory, "triple", 1, 64, &[out])?;
//!
//! let mut last = [0; 4];
//! memory.read(out + 4 * 63, &mut last)?;
//! assert_eq!(u32::from_le_bytes(last), 3 * 63);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decode;
mod error;
mod fault;
mod instructions;
mod memory;
mod parse;
mod program;
mod run;

pub use error::ParseError;
pub use fault::{Fault, Place, Space};
pub use memory::{Arena, Memory, MemoryFault};
pub use program::{Launch, Program};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
