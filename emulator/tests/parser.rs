//! What the parser refuses, and that nothing makes it panic.

mod common;

use common::{ARITHMETIC, Card, FAULTS, HISTOGRAM, WARP, noise};
use proptest::prelude::*;
use ptx_emulator::{Arena, Program};

const HEAD: &str = ".version 7.8\n.target sm_70\n.address_size 64\n";

#[test]
fn what_is_unknown_is_refused_with_its_line() {
    for (statement, reason) in [
        ("add.rz.f32 %f1, %f1, %f1;", "not supported"),
        ("ex2.approx.f32 %f1, %f1;", "not supported"),
        ("add.u32 %r1, %r2;", "sources"),
        ("add.u32 %r1, %r2, %r9;", "no register %r9"),
        ("add.u32 %r1, %r2, %r01;", "no register"),
        ("add.u64 %r1, %r2, %r2;", "read as"),
        ("add.u32 %h1, %r2, %r2;", "written to"),
        ("add.u32 %p1, %r2, %r2;", "written to"),
        ("add.u32 %tid.x, %r2, %r2;", "not a register"),
        ("selp.u32 %r1, %r2, %r2, %r2;", "as a predicate"),
        ("@%r1 add.u32 %r1, %r2, %r2;", "not a predicate"),
        ("ld.tex.u32 %r1, [%d1];", "not supported"),
        ("ld.global.u32 %r1, [%r1];", "32 bits"),
        ("ld.global.v2.u32 %r1, [%d1];", "number of registers"),
        ("ld.global.v4.u64 {%d1, %d1, %d1, %d1}, [%d1];", "not supported"),
        ("st.const.u32 [%d1], %r1;", "constants"),
        ("ld.param.u64 %d1, [a+4];", "parameter"),
        ("st.param.u64 [a], %d1;", "parameters of a kernel"),
        ("atom.global.add.f32 %f1, [%d1], %f1;", "not supported"),
        ("atom.global.cas.b32 %r1, [%d1], %r1;", "operands"),
        ("bra NOWHERE;", "no label NOWHERE"),
        ("bar.sync 0, 64;", "part of the block"),
        ("bar.sync 16;", "below 16"),
        ("vote.ballot.b32 %r1, %p1;", "not supported"),
        ("shfl.sync.idx.b32 %r1, %r1, 0, 31;", "operands"),
        ("call missing, ();", "no function missing"),
        ("mov.u32 %r1, %clock;", "no register %clock"),
        ("mov.u64 %d1, nothing;", "nothing"),
        ("mov.u64 %d1, dynamic;", "launch decides"),
        ("brx.idx %r1, table;", "not supported"),
        (".shared .b8 big[49153]; mov.u32 %r1, big;", "shared memory"),
        ("L: L: ret;", "twice"),
        (".reg .v2 .b32 %q;", "type of registers"),
        ("# 1", "character"),
        ("mov.f32 %f1, 1.5;", "missing"),
    ] {
        let text = format!(
            "{HEAD}.extern .shared .b8 dynamic[];\n.visible .entry k(.param .u64 a) {{ .reg .pred %p<2>; .reg .b16 %h<2>; \
             .reg .b32 %r<9>; .reg .b64 %d<2>; .reg .f32 %f<2>;\n{statement}\nret; }}"
        );
        let error = Program::parse(&text).expect_err(statement);
        assert_eq!(error.line, 6, "{statement}: {error}");
        assert!(error.reason.contains(reason), "{statement}: {error}");
    }
}

#[test]
fn what_is_unknown_in_a_module_is_refused() {
    for text in [
        ".address_size 32",
        ".texref t;",
        ".global .b8 a[4] = {1, 2, 3, 4, 5};",
        ".global .u64 a = b;",
        ".global .b8 a[99999999999];",
        ".global .align 3 .b8 a[4];",
        ".visible .entry k(.param .b8 a[99999]) { ret; }",
        ".visible .entry k(.reg .b32 a) { ret; }",
        ".visible .entry k() { ret; } .visible .entry k() { ret; }",
        ".visible .entry k() { ret;",
        ".func f() { call f; ret; } .visible .entry k() { call f; ret; }",
        ".func f(); .visible .entry k() { call f; ret; }",
        ".visible .entry k() .unknown 3 { ret; }",
        "\"text",
        "/* comment",
    ] {
        assert!(Program::parse(&format!("{HEAD}{text}")).is_err(), "{text}");
    }
}

#[test]
fn debugging_information_is_passed_over() {
    let mut card = Card::new(&format!(
        "{HEAD}.file 1 \"a.cu\"\n.visible .entry k() {{\n.loc 1 2 3, function_name $L, inlined_at 1 4 0\nret;\n}}
        .section .debug_str\n{{\nL:\n.b8 95,90\n}}\n"
    ));
    assert_eq!(card.launch("k", 1, 1, &[]).instructions, 1);
}

/// Runs every kernel of a program shortly, whatever comes of it.
fn run_all(text: &str) {
    let Ok(program) = Program::parse(text) else { return };
    let program = program.with_limit(5_000);
    let mut memory = Arena::new();
    let address = memory.allocate(65536);
    memory.write(address, &vec![3; 60000]).expect("the allocation is larger");
    for kernel in program.kernels() {
        for arguments in 0..6 {
            // Most of what changes here ends in a fault, as it should.
            drop(program.launch(&mut memory, kernel, 2, 48, &vec![address; arguments]));
        }
    }
}

#[test]
fn a_changed_program_never_panics() {
    for (text, seeds) in [(ARITHMETIC, 60), (HISTOGRAM, 100), (WARP, 100), (FAULTS, 60)] {
        let words: Vec<&str> = text.split_inclusive([' ', '\n', '\t', ',', ';', '[', ']', '.']).collect();
        let chance = noise(seeds * 9);
        for seed in chance.chunks(9) {
            let mut words = words.clone();
            for change in seed.chunks(3) {
                let (at, from) = (change[1] as usize % words.len(), change[2] as usize % words.len());
                match change[0] % 4 {
                    0 => drop(words.remove(at)),
                    1 => words.insert(at, words[from]),
                    2 => words[at] = words[from],
                    _ => words.swap(at, from),
                }
            }
            run_all(&words.concat());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_program_or_an_error(text in any::<String>()) {
        let _ = Program::parse(&text);
        let _ = Program::parse(&format!("{HEAD}.visible .entry k(.param .u64 a) {{ .reg .b32 %r<9>; {text} }}"));
    }

    #[test]
    fn any_words_are_a_program_or_an_error(
        words in prop::collection::vec(prop::sample::select(vec![
            ".reg", ".b32", "%r", "<", ">", "9", ";", "{", "}", "(", ")", "[", "]", ",", "%r1", "add.u32", "mov.b64", "@", "!",
            "bra", "L", ":", "ld.global.u32", "st.shared.u32", ".shared", "s", "+", "-", "|", "call", ".param", ".b8", "ret",
            ".func", ".visible", ".entry", ".global", "=", "0f3F800000", ".align", "0xffffffffffffffff", "bar.sync",
            "shfl.sync.up.b32", "mov.u32", "%tid.x", "_", ".pred", "setp.lt.u32", ".loc", "\n",
        ]), 0..60)
    ) {
        let text = words.join(" ");
        run_all(&text);
        run_all(&format!("{HEAD}.visible .entry k(.param .u64 a) {{ .reg .b32 %r<9>; {text} }}"));
    }
}
