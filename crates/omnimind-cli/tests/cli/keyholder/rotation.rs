//! Exchanging the key: nothing is lost, whenever it is interrupted, and what was sealed stays answerable.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use super::{Serving, crash, crashed, hashes, public_key};
use crate::sandbox::{Sandbox, assert_seen};

fn identity(sandbox: &Sandbox, suffix: &str) -> std::path::PathBuf {
    sandbox.path(&format!("config/omnimind/keyholder.key{suffix}"))
}

/// Everything is sealed to the current key, which is the only one, and all of it opens with it.
fn assert_all_is_current(sandbox: &Sandbox, memories: usize) {
    let rotated = sandbox.json("keyholder rotate --resume");
    assert_eq!((&rotated["already"], &rotated["resealed"]), (&memories.into(), &0.into()), "{rotated}");
    assert_eq!(rotated["left"], serde_json::json!([]));
    assert_eq!(sandbox.json("verify")["clean"], true);
    for hash in hashes(sandbox).iter().step_by(7) {
        let line = format!("keyholder disclose {hash} -o back.safetensors --force");
        assert_eq!(sandbox.fail(&line), (0, String::new()));
    }
}

#[test]
fn the_key_is_exchanged_and_what_was_sealed_stays_answerable() {
    // R24
    let sandbox = crashed(3);
    let first = public_key(&sandbox);
    let serving = Serving::of(&sandbox);
    let felt = sandbox.json("influence --vector embeddings.npy --row 1 --all");
    assert_eq!((&felt["sum"], &felt["memories"]), (&1.0.into(), &3.into()));
    assert_eq!(serving.stop(), Some(0));
    let mut seen =
        sandbox.see_all(&["keyholder rotate", "keyholder rotate", "keyholder rotate --resume --json"]);
    let second = public_key(&sandbox);
    assert_ne!(first, second);
    crash(&sandbox, 3, 1);

    let serving = Serving::of(&sandbox);
    for row in 0..4 {
        assert_eq!(
            sandbox.json(&format!("influence --vector embeddings.npy --row {row}"))["level"],
            "strong"
        );
    }
    assert_eq!(sandbox.json("influence --vector embeddings.npy --row 1 --all")["memories"], 4);
    let status = sandbox.json("keyholder status");
    assert_eq!((&status["public_key"], &status["retired_keys"]), (&second.clone().into(), &1.into()));
    assert_eq!(serving.stop(), Some(0));

    seen += &sandbox.see_all(&["keyholder rotate --destroy-retired"]);
    assert!(!identity(&sandbox, ".retired.1").exists());
    let _serving = Serving::of(&sandbox);
    assert_eq!(sandbox.json("influence --vector embeddings.npy --row 2")["level"], "strong");
    assert_all_is_current(&sandbox, 4);
    // Now another one is made.
    let third = sandbox.json("keyholder rotate --destroy-retired");
    assert_eq!(
        (&third["new_key"], &third["destroyed_keys"], &third["retired_keys"]),
        (&true.into(), &1.into(), &0.into())
    );
    assert!(third["public_key"] == public_key(&sandbox) && public_key(&sandbox) != second);
    assert_seen!("the_key_is_exchanged", sandbox, seen);
    // Who has written the key itself into the settings is told.
    super::settings(&sandbox, &format!("[unconscious]\nkeyholder = \"{first}\"\n"));
    let (code, said) = sandbox.fail("keyholder rotate");
    assert!(code == 0 && said.contains("note: unconscious.keyholder is another public key"), "{code} {said}");
}

#[test]
fn a_keyholder_that_serves_learns_of_the_new_key_from_a_signal() {
    let sandbox = crashed(1);
    let serving = Serving::of(&sandbox);
    assert!(sandbox.run("keyholder rotate").status.success());
    crash(&sandbox, 1, 1);
    let newest = "influence --vector embeddings.npy --row 1";
    let answer = sandbox.json(newest);
    assert_eq!(answer["unanswered"].as_array().unwrap().len(), 2, "{answer}");
    serving.signal("HUP");
    let learnt = (0..3000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        sandbox.json("keyholder status")["public_key"] == public_key(&sandbox).as_str()
    });
    assert!(learnt);
    assert_eq!(sandbox.json(newest)["level"], "strong");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn what_another_key_is_needed_for_is_left_and_named_and_no_key_is_destroyed() {
    let sandbox = crashed(2);
    assert!(sandbox.run("keyholder init --identity other.key").status.success());
    let line = "keyholder rotate --identity other.key --state other.state --destroy-retired";
    let rotated = sandbox.run(&format!("{line} --json"));
    let answer: serde_json::Value = serde_json::from_slice(&rotated.stdout).unwrap();
    assert_eq!((rotated.status.code(), answer["left"].as_array().unwrap().len()), (Some(1), 2));
    assert!(sandbox.path("other.key.retired.1").exists());
    assert_all_is_current(&sandbox, 2);
}

#[test]
fn a_rotation_that_was_killed_before_its_last_step_is_finished_with_the_same_key() {
    let sandbox = crashed(1);
    let first = public_key(&sandbox);
    assert!(sandbox.run("keyholder rotate").status.success());
    let second = public_key(&sandbox);
    // As it is when the new key is in its place, and its public half is not.
    fs::rename(identity(&sandbox, ".pub"), identity(&sandbox, ".pub.next")).unwrap();
    sandbox.write("config/omnimind/keyholder.key.pub", format!("{first}\n"));
    let rotated = sandbox.json("keyholder rotate --destroy-retired");
    assert_eq!(rotated["public_key"], second.as_str());
    assert_eq!(public_key(&sandbox), second);
    assert_all_is_current(&sandbox, 1);
}

#[test]
fn a_rotation_that_is_killed_at_any_moment_loses_nothing_and_ends_when_it_is_run_again() {
    let memories = 30;
    let sandbox = crashed(memories);
    for (milliseconds, options) in [
        (1, None),
        (8, None),
        (20, None),
        (45, None),
        (90, None),
        (200, None),
        (300, Some("--destroy-retired")),
    ] {
        let before = public_key(&sandbox);
        let mut command = sandbox.command();
        command.args(["keyholder", "rotate"]).args(options).stdout(Stdio::null()).stderr(Stdio::null());
        let mut rotation = command.spawn().unwrap();
        // How far it gets is left to chance.
        thread::sleep(Duration::from_millis(milliseconds));
        rotation.kill().unwrap();
        rotation.wait().unwrap();
        assert_eq!(sandbox.json("verify")["clean"], true);
        let rotated = sandbox.json("keyholder rotate --destroy-retired");
        assert_eq!(rotated["left"], serde_json::json!([]), "{rotated}");
        assert_eq!(rotated["retired_keys"], 0);
        assert_ne!(public_key(&sandbox), before);
        assert_all_is_current(&sandbox, memories);
    }
    let _serving = Serving::of(&sandbox);
    assert_eq!(sandbox.json("influence --vector embeddings.npy --row 0 --all")["memories"], memories);
}
