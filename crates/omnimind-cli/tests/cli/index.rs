//! The index as a user meets it: looking at it, compacting it, and what is said when its snapshot is damaged.

use std::fs;
use std::path::PathBuf;

use crate::sandbox::{Sandbox, assert_seen};

/// A store with two memories that can be found by a vector, and one that cannot.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.model("first.safetensors");
    sandbox.seeded_model("second.safetensors", 9);
    sandbox.seeded_model("third.safetensors", 17);
    sandbox.vectors("vectors.npy", 3);
    for line in [
        "consolidate first.safetensors --context trainer --signature vectors.npy --row 0",
        "consolidate second.safetensors --context tester --type buffer --signature vectors.npy --row 1",
        "consolidate third.safetensors --context tester",
    ] {
        assert!(sandbox.run(line).status.success(), "{line}");
    }
    sandbox
}

fn snapshot(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("data/omnimind/index/cosine/snapshot")
}

fn flip_a_bit_in_the_middle(sandbox: &Sandbox) {
    let mut bytes = fs::read(snapshot(sandbox)).unwrap();
    // Sections begin at multiples of 64, so there is no padding here.
    let middle = bytes.len() / 128 * 64;
    bytes[middle] ^= 1;
    fs::write(snapshot(sandbox), bytes).unwrap();
}

const ASK: &str = "deja-vu --context trainer --vector vectors.npy --row 1 -k 1";

#[test]
fn the_index_is_looked_at_compacted_and_compared_with_the_store() {
    let sandbox = filled();
    assert_seen!(
        "the_index",
        sandbox,
        sandbox.see_all(&[
            "index stats",
            "index verify",
            "index compact",
            "index stats",
            "index verify",
            "index stats --json",
            "index compact --json",
            "index verify --json",
        ])
    );
}

#[test]
fn a_damaged_snapshot_is_named_with_five_and_mended_on_request_or_by_the_next_search() {
    let sandbox = filled();
    // But for the age of the memory, which goes on.
    let ask = || sandbox.see(ASK).split("  ").filter(|cell| !cell.ends_with(" s")).collect::<String>();
    let before = ask();
    assert!(sandbox.run("index compact").status.success());
    assert_eq!(ask(), before);
    let mut seen = String::new();

    flip_a_bit_in_the_middle(&sandbox);
    let damaged = fs::read(snapshot(&sandbox)).unwrap();
    seen += &sandbox.see_all(&["index verify", "index verify --json"]);
    assert_eq!(fs::read(snapshot(&sandbox)).unwrap(), damaged, "looking at it changes nothing");
    seen += &sandbox.see_all(&["index verify --repair", "index verify"]);

    fs::write(snapshot(&sandbox), &damaged[..100]).unwrap();
    // The answer comes first, and is as before.
    seen += &sandbox.see_all(&[ASK, ASK, "index verify"]);
    assert!(seen.contains(&format!("$ omnimind {ASK}\ndéjà vu")));

    fs::write(snapshot(&sandbox), &damaged[..100]).unwrap();
    let asked = sandbox.command().args(ASK.split(' ')).env("OMNIMIND_INDEX_AUTO_COMPACT", "false").output();
    let said = String::from_utf8(asked.unwrap().stderr).unwrap();
    assert!(said.contains("rebuilt from the store") && !said.contains("compacted"), "{said}");
    assert_eq!(fs::metadata(snapshot(&sandbox)).unwrap().len(), 100);
    let quiet = sandbox.run(&format!("{ASK} --quiet"));
    assert!(quiet.stderr.is_empty() && quiet.status.success());
    assert!(sandbox.run("index verify").status.success(), "compacted by the search before");
    assert_seen!("a_damaged_snapshot", sandbox, seen);
}

#[test]
fn filters_narrow_the_answer() {
    // R27
    let sandbox = filled();
    let types = |filter: &str| {
        let answer =
            sandbox.json(&format!("deja-vu --context trainer --vector vectors.npy --row 0 {filter}"));
        let memories = answer["memories"].as_array().unwrap().clone();
        memories.iter().map(|memory| memory["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(types(""), ["model", "buffer"]);
        assert_eq!(types("--type buffer"), ["buffer"]);
        assert_eq!(types("--traced-by tester"), ["buffer"]);
        assert_eq!(types("--traced-by trainer --type buffer"), [""; 0]);
        assert_eq!(types("--layer preconscious"), ["model", "buffer"]);
        assert_eq!(types("--layer unconscious"), [""; 0]);
        assert!(sandbox.run("index compact").status.success());
    }
    let conscious = "deja-vu --context a --vector vectors.npy --row 0 --layer conscious";
    let (code, said) = sandbox.fail(conscious);
    assert!(code == 2 && said.contains("VRAM"), "{code} {said}");
    let none = sandbox.see("deja-vu --context a --vector vectors.npy --row 0 --type nothing");
    assert!(none.contains("nothing of what was asked for"), "{none}");
}

#[test]
fn a_store_without_signatures_has_nothing_familiar_and_another_dimension_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.vectors("query.npy", 1);
    sandbox.model("first.safetensors");
    fs::create_dir_all(sandbox.path("data/omnimind")).unwrap();
    let ask = "deja-vu --context me --vector query.npy";
    let nothing = |when: &str| {
        let seen = sandbox.see(ask);
        assert!(
            seen.contains("nothing in this store has a signature") && seen.ends_with("[0]\n"),
            "{when}: {seen}"
        );
        assert!(sandbox.run("index compact").status.success(), "{when}");
        assert!(sandbox.run("index verify").status.success(), "{when}");
        assert_eq!(sandbox.json("index stats")["signatures"], 0, "{when}");
    };
    nothing("an empty store");
    assert!(sandbox.run("consolidate first.safetensors --context me").status.success());
    nothing("no signatures");
    let sandbox = filled();
    let header = crate::sandbox::npy("<f4", "(3,)", &[0, 0, 128, 63].repeat(3));
    sandbox.write("short.npy", header);
    for _ in 0..2 {
        let (code, said) = sandbox.fail("deja-vu --context me --vector short.npy");
        assert!(code == 1 && said.contains("has 3 elements") && said.contains("have 8"), "{code} {said}");
        assert!(sandbox.run("index compact").status.success());
    }
}

#[test]
fn where_no_index_can_be_kept_searches_work_and_say_so() {
    let sandbox = filled();
    sandbox.write("data/omnimind/index", "in the way");
    let seen = sandbox.see(ASK);
    assert!(seen.contains("déjà vu") && seen.contains("note: the index is made in memory"), "{seen}");
    let (code, said) = sandbox.fail("index compact");
    assert!(code == 1 && said.contains("cannot be kept"), "{code} {said}");
    assert!(sandbox.run("index verify").status.success());
}
