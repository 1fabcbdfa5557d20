//! Forms of PTX that the compiled kernels do not have, each by hand.

mod common;

use common::Card;

const HEAD: &str = ".version 7.8\n.target sm_70, debug\n.address_size 64\n";
const REGISTERS: &str =
    ".reg .pred %p<20>; .reg .b16 %h<20>; .reg .b32 %r<30>; .reg .b64 %d<20>; .reg .f32 %f<9>;";

/// Results `%r10`, `%r11` and so on of each thread of `threads`, after these statements; `%r1` is the thread.
fn results<const N: usize>(module: &str, threads: u32, statements: &str) -> Vec<[u32; N]> {
    let store = |at: usize| format!("st.global.u32 [%d2+{}], %r{};", 4 * at, 10 + at);
    let stores = (0..N).map(store).collect::<Vec<_>>().join(" ");
    let mut card = Card::new(&format!(
        "{HEAD}{module}\n.visible .entry k(.param .u64 .ptr .global .align 4 out) {{ {REGISTERS}
        ld.param.u64 %d1, [out]; mov.u32 %r1, %tid.x; mad.wide.u32 %d2, %r1, {}, %d1;
        {statements}
        {stores} ret; }}",
        4 * N
    ));
    let out = card.room::<u32>(N * threads as usize);
    card.launch("k", 1, threads, &[out]);
    let all = card.get::<u32>(out, N * threads as usize);
    all.as_chunks::<N>().0.to_vec()
}

#[test]
fn comparisons_join_predicates_and_give_both_ways() {
    let rows = results::<6>(
        "",
        32,
        "setp.gt.u32 %p1, %r1, 7; setp.lt.and.s32 %p2|%p3, %r1, 20, %p1; setp.eq.or.b32 %p4|_, %r1, 3, !%p1;
        selp.u32 %r10, 1, 0, %p2; selp.b32 %r11, 1, 0, %p3; selp.b32 %r12, 1, 0, %p4;
        set.ge.xor.u32.u32 %r13, %r1, 16, %p1; mov.pred %p5, -1; not.pred %p6, %p5; or.pred %p7, %p6, !%p1;
        selp.b32 %r14, 1, 0, %p7; sub.s32 %r2, %r1, 9; slct.u32.s32 %r15, 1, 0, %r2;",
    );
    for (i, row) in rows.into_iter().enumerate() {
        let above = i > 7;
        let set = if (i >= 16) ^ above { u32::MAX } else { 0 };
        let one = u32::from;
        assert_eq!(
            row,
            [
                one(i < 20 && above),
                one(i >= 20 && above),
                one(i == 3 || !above),
                set,
                one(!above),
                one(i >= 9)
            ]
        );
    }
}

#[test]
fn carries_and_borrows_chain() {
    let rows = results::<6>(
        "",
        4,
        "mov.u32 %r2, -2; mov.u32 %r3, 0xffffffff;
        add.cc.u32 %r10, %r2, %r1; addc.cc.u32 %r11, %r3, 0; addc.u32 %r12, 5, 0;
        sub.cc.u32 %r13, %r1, 2; subc.cc.u32 %r14, 0, 0; subc.u32 %r15, 5, 0;",
    );
    for (i, row) in (0u128..).zip(rows) {
        let sum = (5u128 << 64 | 0xffff_ffff_ffff_fffe) + i;
        let difference = (5u128 << 64 | i) - 2;
        let words = |value: u128| [value as u32, (value >> 32) as u32, (value >> 64) as u32];
        assert_eq!((&row[..3], &row[3..]), (&words(sum)[..], &words(difference)[..]));
    }
}

#[test]
fn registers_are_packed_and_unpacked() {
    let rows = results::<4>(
        "",
        1,
        "mov.u32 %r2, 0x11112222; mov.u32 %r3, 0x33334444; mov.b64 %d3, {%r2, %r3}; mov.b64 {_, %r10}, %d3;
        mov.b64 {%h1, %h2, %h3, %h4}, %d3; mov.b32 %r11, {%h4, %h1}; mov.b32 {%h5, %h6}, %r11; cvt.u32.u16 %r12, %h5;
        mov.f32 %f1, 0fBF800000; mov.b32 %r13, %f1;",
    );
    assert_eq!(rows, [[0x3333_4444, 0x2222_3333, 0x3333, 0xbf80_0000]]);
}

#[test]
fn special_registers_know_the_thread() {
    let rows = results::<8>(
        "",
        40,
        "mov.u32 %r10, %laneid; mov.u32 %r11, %warpid; mov.u32 %r12, %lanemask_lt; mov.u32 %r13, %lanemask_ge;
        mov.u32 %r14, %lanemask_eq; mov.u32 %r15, %ntid.x; add.u32 %r16, %ntid.y, %tid.z; activemask.b32 %r17;",
    );
    for (i, row) in (0u32..).zip(rows) {
        let lane = i % 32;
        let active = if i < 32 { u32::MAX } else { 0xff };
        assert_eq!(row, [lane, i / 32, (1 << lane) - 1, u32::MAX << lane, 1 << lane, 40, 1, active]);
    }
}

#[test]
fn braces_hide_registers_and_labels() {
    let rows = results::<2>(
        "",
        8,
        ".reg .b32 x; mov.u32 %r10, 0; mov.u32 x, 100;
        { .reg .b32 x; mov.u32 x, %r1; AGAIN: setp.eq.u32 %p1, x, 0; @%p1 bra DONE; add.u32 %r10, %r10, x;
          sub.u32 x, x, 1; bra.uni AGAIN; DONE: }
        { .reg .pred %p<2>; setp.ne.u32 %p1, %r1, 1; AGAIN: @%p1 bra DONE; add.u32 %r10, %r10, 1000; DONE: }
        mov.u32 %r11, x;",
    );
    for (i, row) in (0u32..).zip(rows) {
        assert_eq!(row, [i * (i + 1) / 2 + if i == 1 { 1000 } else { 0 }, 100]);
    }
}

#[test]
fn shared_memory_is_reached_by_every_kind_of_address() {
    let rows = results::<5>(
        ".shared .align 16 .b8 all[512];",
        64,
        ".shared .u32 one; mov.u32 %r2, all; mad.lo.u32 %r2, %r1, 4, %r2; st.shared.u32 [%r2], %r1; bar.sync 0;
        mov.u64 %d3, all; cvta.shared.u64 %d4, %d3; ld.u32 %r10, [%d4+252]; cvta.to.shared.u64 %d5, %d4;
        ld.shared.v2.u32 {%r11, _}, [%d5+8]; isspacep.shared %p1, %d4; isspacep.global %p2, %d1;
        selp.u32 %r12, 1, 0, %p1; selp.u32 %r13, 1, 0, %p2;
        setp.ne.u32 %p3, %r1, 0; @!%p3 st.volatile.shared.u32 [one], 9; barrier.sync 0; atom.add.u32 %r14, [%d4+12], 0;
        ld.shared.u32 %r3, [one]; add.u32 %r14, %r14, %r3;",
    );
    assert_eq!(rows, [[63, 2, 1, 1, 12]; 64]);
}

#[test]
fn barriers_and_votes_count() {
    let rows = results::<6>(
        "",
        64,
        "setp.gt.u32 %p1, %r1, 40; bar.red.popc.u32 %r10, 0, %p1; bar.red.and.pred %p2, 0, %p1;
        barrier.red.or.pred %p3, 0, !%p1; selp.u32 %r11, 1, 0, %p2; selp.u32 %r12, 1, 0, %p3;
        vote.sync.uni.pred %p4, %p1, -1; selp.u32 %r13, 1, 0, %p4; shr.u32 %r2, %r1, 5;
        match.all.sync.b32 %r14|%p5, %r2, -1; match.all.sync.b64 %r15|_, %d2, -1;",
    );
    for (i, row) in rows.into_iter().enumerate() {
        assert_eq!(row, [23, 0, 1, u32::from(i < 32), u32::MAX, 0]);
    }
}

#[test]
fn some_lanes_call_a_function_and_all_meet_behind_it() {
    let function = ".func (.param .b32 back) square(.param .b32 a) { .reg .b32 %r<3>; .reg .pred %p<2>;
        ld.param.b32 %r1, [a]; mul.lo.u32 %r2, %r1, %r1; setp.gt.u32 %p1, %r1, 20; @%p1 bra L;
        st.param.b32 [back], %r2; ret; L: st.param.b32 [back+0], 7; }
        .func (.param .b32 back) next(.param .b32 a) { .reg .b32 %r<3>; ld.param.u32 %r1, [a];
        { .param .b32 in; st.param.b32 [in+0], %r1; .param .b32 out; call.uni (out), square, (in); ld.param.b32 %r2, [out]; }
        add.u32 %r2, %r2, 1; st.param.b32 [back], %r2; ret; }";
    let rows = results::<2>(
        function,
        32,
        "mov.u32 %r10, 0; setp.lt.u32 %p1, %r1, 10; @%p1 bra SKIP;
        { .param .b32 p0; st.param.b32 [p0], %r1; .param .b32 q0; call (q0), next, (p0); ld.param.b32 %r10, [q0+0]; }
        SKIP: activemask.b32 %r11;",
    );
    for (i, row) in (0u32..).zip(rows) {
        let value = if i < 10 {
            0
        } else if i > 20 {
            8
        } else {
            i * i + 1
        };
        assert_eq!(row, [value, u32::MAX], "thread {i}");
    }
}

#[test]
fn lanes_that_part_meet_again_at_once() {
    for part in ["@%p1 bra SKIP;", "@!%p1 bra SKIP;"] {
        let rows = results::<2>(
            "",
            32,
            &format!(
                "setp.lt.u32 %p1, %r1, 10; setp.lt.u32 %p2, %r1, 20; mov.u32 %r10, 0; {part}
                @%p2 bra INNER; add.u32 %r10, %r10, 1; INNER: activemask.b32 %r10; SKIP: activemask.b32 %r11;"
            ),
        );
        let inner = if part.contains('!') { 0x3ff } else { !0x3ff };
        for (i, row) in rows.into_iter().enumerate() {
            assert_eq!(row, [if inner >> i & 1 == 1 { inner } else { 0 }, u32::MAX], "{part} {i}");
        }
    }
}

#[test]
fn variables_keep_their_values_and_wide_parameters_take_several_numbers() {
    let mut card = Card::new(&format!(
        "{HEAD}.global .align 4 .u32 count = 5; .visible .const .f64 half = 0d3FE0000000000000;
        .visible .entry k(.param .align 8 .b8 both[16], .param .u8 narrow) {{ {REGISTERS} .reg .f64 %g<3>;
        ld.param.u64 %d1, [both]; ld.param.u32 %r2, [both+8]; ld.param.s8 %r3, [narrow]; add.u32 %r2, %r2, %r3;
        atom.global.add.u32 %r4, [count], %r2; ld.const.f64 %g1, [half]; add.f64 %g1, %g1, 0d3FE0000000000000;
        cvt.rzi.u32.f64 %r5, %g1; add.u32 %r4, %r4, %r5; st.global.u32 [%d1], %r4; ret; }}"
    ));
    let out = card.room::<u32>(1);
    for expected in [6, 13, 20] {
        card.launch("k", 1, 1, &[out, 10, 0xfd]);
        assert_eq!(card.get::<u32>(out, 1), [expected]);
    }
}

#[test]
fn a_warp_may_wait_for_what_another_writes() {
    let mut card = Card::new(&format!(
        "{HEAD}.visible .entry k(.param .u64 flag) {{ {REGISTERS} ld.param.u64 %d1, [flag]; mov.u32 %r1, %tid.x;
        setp.ge.u32 %p1, %r1, 32; @%p1 bra WRITE;
        WAIT: ld.volatile.global.u32 %r2, [%d1]; setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT; ret;
        WRITE: membar.gl; st.release.gpu.global.u32 [%d1], 1; ret; }}"
    ));
    let flag = card.put(&[0u32]);
    card.launch("k", 1, 64, &[flag]);
}
