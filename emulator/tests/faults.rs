//! Each mistake that a kernel can make, made once.
#![allow(
    clippy::float_cmp,
    clippy::precedence,
    reason = "results are compared to the bit, in short formulas"
)]

mod common;

use common::{ARITHMETIC, Card, FAULTS, HISTOGRAM};
use ptx_emulator::{Fault, Program, Space};

/// A kernel with one parameter `out`, a shared array `s`, and these statements.
fn kernel(statements: &str) -> Card {
    Card::new(&format!(
        ".version 7.8\n.target sm_70\n.address_size 64\n.visible .entry k(.param .u64 out) {{
.reg .pred %p<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .shared .align 4 .b8 s[256];
ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x;
{statements}
ret; }}"
    ))
}

#[test]
fn a_store_out_of_bounds_is_found() {
    let mut card = Card::new(FAULTS);
    let out = card.room::<u32>(1);
    let fault = card.try_launch("out_of_bounds", 1, 32, &[out]).unwrap_err();
    assert!(matches!(fault, Fault::OutOfBounds { space: Space::Global, bytes: 4, .. }), "{fault:?}");
    let text = fault.to_string();
    assert!(
        text.contains("out_of_bounds, block 0, thread 1, PTX line") && text.contains("st.global.u32"),
        "{text}"
    );
}

#[test]
fn an_access_after_free_is_found() {
    let mut card = Card::new(FAULTS);
    let (input, out) = (card.put(&[1u32; 32]), card.room::<u32>(32));
    card.launch("read_of_unwritten", 1, 32, &[input, out]);
    card.memory.free(input);
    let fault = card.try_launch("read_of_unwritten", 1, 32, &[input, out]).unwrap_err();
    assert!(matches!(fault, Fault::OutOfBounds { address, .. } if address == input), "{fault:?}");
}

#[test]
fn an_address_out_of_line_is_found() {
    let mut card = Card::new(FAULTS);
    let out = card.put(&[0u8; 64]);
    let fault = card.try_launch("misaligned", 1, 32, &[out]).unwrap_err();
    assert!(matches!(fault, Fault::Misaligned { address, bytes: 4, .. } if address == out + 1), "{fault:?}");
    let load = "ld.global.v2.u32 {%r2, %r3}, [%rd1+4];";
    let fault = kernel(load).try_launch("k", 1, 1, &[out]).unwrap_err();
    assert!(matches!(fault, Fault::Misaligned { address, bytes: 8, .. } if address == out + 4), "{fault:?}");
}

#[test]
fn a_read_of_what_nobody_wrote_is_found() {
    let mut card = Card::new(FAULTS);
    let (input, out) = (card.room::<u32>(64), card.room::<u32>(64));
    card.memory.write(input, &[1; 160]).unwrap();
    let fault = card.try_launch("read_of_unwritten", 1, 64, &[input, out]).unwrap_err();
    let Fault::ReadOfUnwritten { space: Space::Global, at, .. } = fault else { panic!("{fault:?}") };
    assert_eq!(at.thread, 40);
    card.memory.write(input, &[1; 256]).unwrap();
    card.launch("read_of_unwritten", 1, 64, &[input, out]);

    let fault = card.try_launch("read_of_unwritten_shared", 1, 64, &[out]).unwrap_err();
    let Fault::ReadOfUnwritten { space: Space::Shared, address: 20, at } = fault else { panic!("{fault:?}") };
    assert_eq!(at.thread, 58);
}

#[test]
fn a_race_between_warps_is_found() {
    let mut card = Card::new(FAULTS);
    let out = card.room::<u32>(64);
    let fault = card.try_launch("shared_race", 1, 64, &[out]).unwrap_err();
    assert!(matches!(fault, Fault::SharedRace { .. } | Fault::ReadOfUnwritten { .. }), "{fault:?}");
    // The same word, written by both.
    let mut card = kernel("st.shared.u32 [s], %r1;");
    let fault = card.try_launch("k", 1, 64, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::SharedRace { address: 0, other_warp: 0, .. }), "{fault:?}");
    kernel("st.shared.u32 [s], %r1;").launch("k", 1, 32, &[0]);
}

#[test]
fn shared_variables_end_where_they_end() {
    for (statement, found) in [("st.shared.u32 [s+252], %r1;", false), ("st.shared.u32 [s+256], %r1;", true)]
    {
        let result = kernel(statement).try_launch("k", 1, 32, &[0]);
        let outside = matches!(result, Err(Fault::OutOfBounds { space: Space::Shared, .. }));
        assert_eq!(outside, found, "{result:?}");
    }
    // Also where another one could follow.
    let two =
        ".shared .b8 t[256]; st.shared.u32 [s], %r1; st.shared.u32 [t], %r1; st.shared.u32 [s+256], %r1;";
    let fault = kernel(two).try_launch("k", 1, 32, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::OutOfBounds { space: Space::Shared, address: 256, .. }), "{fault:?}");
    let mut card = Card::new(
        ".version 7.8 .target sm_70 .address_size 64 .global .align 4 .b8 a[4]; .global .align 4 .b8 b[4];
        .visible .entry k() { st.global.u32 [a], 1; st.global.u32 [b], 1; st.global.u32 [a+4], 1; ret; }",
    );
    let fault = card.try_launch("k", 1, 1, &[]).unwrap_err();
    assert!(matches!(fault, Fault::OutOfBounds { space: Space::Global, .. }), "{fault:?}");
}

#[test]
fn local_memory_and_constants_end_where_they_end() {
    let fault = kernel(".local .b8 l[8]; st.local.u32 [l+8], %r1;").try_launch("k", 1, 32, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::OutOfBounds { space: Space::Local, .. }), "{fault:?}");
    let constant = ".version 7.8 .target sm_70 .address_size 64 .const .align 4 .b8 c[8] = {1};
        .visible .entry k() { .reg .b32 %r<2>; .reg .b64 %rd<2>; mov.u64 %rd1, c; ld.const.u32 %r1, [%rd1+OFF];
        st.u32 [%rd1], %r1; ret; }";
    let fault = Card::new(&constant.replace("OFF", "8")).try_launch("k", 1, 1, &[]).unwrap_err();
    assert!(matches!(&fault, Fault::OutOfBounds { at, .. } if at.text.contains("ld.const")), "{fault:?}");
    let fault = Card::new(&constant.replace("OFF", "4")).try_launch("k", 1, 1, &[]).unwrap_err();
    assert!(
        matches!(&fault, Fault::OutOfBounds { at, .. } if at.line == 3),
        "constants are not written: {fault:?}"
    );
}

#[test]
fn a_barrier_that_some_never_reach_is_found() {
    let mut card = Card::new(FAULTS);
    let out = card.room::<u32>(64);
    let fault = card.try_launch("barrier_not_reached", 1, 64, &[out]).unwrap_err();
    let Fault::BarrierNotReachedByAll { missing: 32, at } = fault else { panic!("{fault:?}") };
    assert_eq!((at.thread, at.text.as_str()), (0, "bar.sync 0;"));
    card.launch("barrier_not_reached", 1, 32, &[out]);

    // Half a warp ends early.
    let mut card = kernel("setp.lt.u32 %p1, %r1, 16;\n@%p1 bra B; ret; B: bar.sync 0;");
    let fault = card.try_launch("k", 1, 32, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::BarrierNotReachedByAll { missing: 16, .. }), "{fault:?}");

    // Halves of a warp at two barriers: only those that are not for whole warps allow it.
    let halves = "setp.lt.u32 %p1, %r1, 16;\n@%p1 bra B;\nBARRIER; ret;\nB:\nBARRIER;";
    let fault = kernel(&halves.replace("BARRIER", "bar.sync 0")).try_launch("k", 1, 32, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::BarrierNotReachedByAll { missing: 0 | 16, .. }), "{fault:?}");
    kernel(&halves.replace("BARRIER", "barrier.sync 0")).launch("k", 1, 32, &[0]);

    // Warps at barriers of different numbers.
    let numbers = "setp.lt.u32 %p1, %r1, 32;\n@%p1 bra B;\nbar.sync 1; ret;\nB:\nbar.sync 2;";
    let fault = kernel(numbers).try_launch("k", 1, 64, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::BarrierNotReachedByAll { missing: 32, .. }), "{fault:?}");
}

#[test]
fn lanes_that_never_come_are_found() {
    let mut card = Card::new(FAULTS);
    let out = card.room::<u32>(32);
    let fault = card.try_launch("lanes_missing", 1, 32, &[out]).unwrap_err();
    assert!(
        matches!(fault, Fault::LanesMissing { mask: u32::MAX, missing: 0xffff_0000, .. }),
        "sixteen lanes ended: {fault:?}"
    );
    // A lane that its own mask does not name, and one that reads a lane which is not named.
    let fault = kernel("bar.warp.sync 0x0000ffff;").try_launch("k", 1, 32, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::LanesMissing { missing: 0x1_0000, .. }), "{fault:?}");
    let outside = "setp.gt.u32 %p1, %r1, 15;\n@%p1 ret;\nshfl.sync.bfly.b32 %r2, %r1, 16, 31, 0xffff;";
    let fault = kernel(outside).try_launch("k", 1, 32, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::LanesMissing { mask: 0xffff, missing: 0x1_0000, .. }), "{fault:?}");
    // One half waits at a barrier of the block, the other for the first.
    let crossed = "setp.lt.u32 %p1, %r1, 16;\n@%p1 bra B;\nbar.sync 0; ret;\nB:\nbar.warp.sync 0xffffffff;";
    let fault = kernel(crossed).try_launch("k", 1, 32, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::LanesMissing { missing: 0xffff_0000, .. }), "{fault:?}");
}

#[test]
fn a_division_by_zero_is_found() {
    let mut card = Card::new(FAULTS);
    let numbers: Vec<u32> = (0..32).map(|i| 7 - i.min(7)).collect();
    let (input, out) = (card.put(&numbers), card.room::<u32>(32));
    let fault = card.try_launch("division_by_zero", 1, 32, &[input, out]).unwrap_err();
    assert!(matches!(&fault, Fault::DivisionByZero { at } if at.thread == 7), "{fault:?}");
    // Only the bits of its type count.
    let narrow = ".reg .b16 %h<3>; mov.b16 %h1, 0xffff; not.b16 %h1, %h1; div.u16 %h2, %h1, %h1;";
    let fault = kernel(narrow).try_launch("k", 1, 1, &[0]).unwrap_err();
    assert!(matches!(fault, Fault::DivisionByZero { .. }), "{fault:?}");
}

#[test]
fn a_trap_and_an_endless_loop_end() {
    let mut card = Card::new(FAULTS);
    assert!(matches!(card.try_launch("trapped", 1, 1, &[]), Err(Fault::Trap { .. })));
    let flag = card.put(&[0u32]);
    card.program = Program::parse(FAULTS).unwrap().with_limit(100_000);
    let fault = card.try_launch("endless", 1, 64, &[flag]).unwrap_err();
    assert!(matches!(fault, Fault::TooManyInstructions { limit: 100_000, .. }), "{fault:?}");
    let flag = card.put(&[1u32]);
    card.launch("endless", 1, 64, &[flag]);
}

#[test]
fn a_launch_that_does_not_fit_is_refused() {
    let mut card = Card::new(HISTOGRAM);
    for (kernel, grid, threads, arguments) in [
        ("histogram", 1, 32, &[0u64; 3][..]),
        ("histogram", 1, 32, &[0; 5]),
        ("histogram", 0, 32, &[0; 4]),
        ("histogram", 1, 0, &[0; 4]),
        ("histogram", 1, 1025, &[0; 4]),
        ("local_arrays", 1, 65, &[0; 4]),
    ] {
        let fault = card.try_launch(kernel, grid, threads, arguments).unwrap_err();
        assert!(matches!(fault, Fault::WrongArguments { .. }), "{fault:?}");
    }
    let fault = Card::new(ARITHMETIC).try_launch("flaots", 1, 1, &[]).unwrap_err();
    assert!(matches!(&fault, Fault::NoSuchKernel { kernels, .. } if kernels.len() == 6), "{fault:?}");
}
