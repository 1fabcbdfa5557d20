//! Asking for a row before it is needed.
#![allow(unsafe_code)] // One hint to the processor.
#![allow(clippy::inline_always)] // A call would cost more than the hint.

use super::{BLOCK, Block};

/// Asks for all cache lines of a row. Changes nothing but the time the next access takes.
#[inline(always)]
pub(super) fn prefetch(row: &[Block]) {
    for block in row {
        prefetch_line(block.as_ptr());
    }
}

/// Asks for the start of a list of numbers: as much as a row has links.
#[inline(always)]
pub(crate) fn prefetch_list<T>(list: &[T]) {
    let first = list.as_ptr().cast::<u8>();
    prefetch_line(first);
    prefetch_line(first.wrapping_add(BLOCK));
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_line(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint reads nothing and cannot fault, wherever it points; SSE is part of every x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn prefetch_line(line: *const u8) {
    // SAFETY: a hint reads nothing and cannot fault, wherever it points.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{line}]",
            line = in(reg) line,
            options(nostack, preserves_flags, readonly)
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn prefetch_line(_: *const u8) {}
