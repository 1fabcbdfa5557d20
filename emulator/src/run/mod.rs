//! Blocks one after another; within a block its warps in turns; within a warp its lanes together.
//!
//! Each lane has its own position. Those at the lowest one run, so that lanes that took different ways meet again as
//! early as the program allows. Warps take turns of a fixed number of instructions, so that one may wait for what
//! another writes.

mod access;
mod block;
mod machine;
mod meet;
mod shared;
mod warp;

pub(crate) use block::run;
pub(crate) use machine::{Grid, Machine};

/// Lanes of a warp.
pub(crate) const LANES: u32 = 32;

/// Each lane of a mask, lowest first.
fn lanes_of(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(lane)
    })
}

/// Does the same for each lane of a mask; quick where all take part.
#[inline]
fn for_lanes(mask: u32, mut each: impl FnMut(usize)) {
    if mask == u32::MAX {
        for lane in 0..LANES as usize {
            each(lane);
        }
    } else {
        for lane in lanes_of(mask) {
            each(lane);
        }
    }
}
