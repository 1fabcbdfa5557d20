//! What the owner of the key does, and what keeps others from it: disclosing, passphrases, the audit log, the place it serves at.

use std::fs;
use std::path::PathBuf;

use safetensors::SafeTensors;

use super::{Serving, crashed, hashes, settings};
use crate::sandbox::{Sandbox, assert_seen};

fn log(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("config/omnimind/keyholder.state/audit.jsonl")
}

/// How often the log says that this memory was disclosed.
fn disclosures(sandbox: &Sandbox, hash: &str) -> usize {
    let log = fs::read_to_string(log(sandbox)).unwrap_or_default();
    log.lines().filter(|line| line.contains("\"disclose\"") && line.contains(hash)).count()
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()))).collect()
}

#[test]
fn the_owner_gets_back_what_was_sealed_and_the_log_knows_it() {
    // R24, R3
    let sandbox = crashed(1);
    let hash = hashes(&sandbox).remove(0);
    let serving = Serving::of(&sandbox);
    assert_eq!(disclosures(&sandbox, &hash), 0);
    let line = format!("keyholder disclose {} -o back.safetensors", &hash[..12]);
    assert_seen!("the_owner_gets_back", sandbox, sandbox.see(&line));
    assert_eq!(disclosures(&sandbox, &hash), 1);

    let (before, after) =
        (fs::read(sandbox.path("crash-0.safetensors")).unwrap(), fs::read(sandbox.path("back.safetensors")));
    let after = after.unwrap();
    let (before, after) =
        (SafeTensors::deserialize(&before).unwrap(), SafeTensors::deserialize(&after).unwrap());
    assert_eq!(before.len(), after.len());
    for (name, tensor) in before.tensors() {
        let back = after.tensor(&name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (back.dtype(), back.shape()), "{name}");
        if name != "layer.weight" {
            assert_eq!(tensor.data(), back.data(), "{name}");
            continue;
        }
        let (tensor, back) = (floats(tensor.data()), floats(back.data()));
        let lost: f64 = tensor.iter().zip(&back).map(|(a, b)| (a - b).powi(2)).sum();
        let whole: f64 = tensor.iter().map(|a| a.powi(2)).sum();
        assert!((lost / whole).sqrt() <= 0.006, "{name}: {}", (lost / whole).sqrt());
    }
    let answer = sandbox.json(&format!("keyholder disclose {hash} -o back.safetensors --force"));
    assert_eq!((&answer["tensors"], &answer["metadata"]["error_type"]), (&3.into(), &"oom".into()));
    assert_eq!(answer["signature"].as_array().unwrap().len(), 384);
    // It is put down before it is known whether it succeeds.
    let (code, said) = sandbox.fail(&format!("keyholder disclose {hash} -o no/such/dir.safetensors"));
    assert!(code == 1 && said.contains("no/such/dir.safetensors"), "{said}");
    assert_eq!(disclosures(&sandbox, &hash), 3);
    // And while it is served, which goes on.
    assert_eq!(sandbox.json("influence --vector embeddings.npy --row 0")["level"], "strong");
    assert_eq!(sandbox.fail("keyholder audit").0, 0);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn what_cannot_be_disclosed_is_refused_in_words_and_leaves_no_file() {
    let sandbox = crashed(1);
    sandbox.model("model.safetensors");
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    let open = sandbox.json("list --layer preconscious")["memories"][0]["content_hash"].clone();
    let open = open.as_str().unwrap();
    let hash = hashes(&sandbox).remove(0);
    assert!(sandbox.run("keyholder init --identity other.key").status.success());
    sandbox.write("there.safetensors", "precious");
    for (line, code, words) in [
        (format!("{hash} -o there.safetensors"), 1, "--force"),
        (format!("{open} -o x.safetensors"), 1, "`omnimind reactivate` brings it back"),
        (
            format!("{hash} -o x.safetensors --identity absent.key"),
            3,
            "there is no identity at \"absent.key\"",
        ),
        (format!("{} -o x.safetensors", "0123456789abcdef".repeat(4)), 3, "no memory"),
        (format!("{hash} -o x.npy"), 1, "holds one tensor"),
        (hash.clone(), 2, "--output"),
    ] {
        let (ended, said) = sandbox.fail(&format!("keyholder disclose {line}"));
        assert!(ended == code && said.contains(words), "{line}: {ended} {said}");
    }
    assert_eq!(fs::read(sandbox.path("there.safetensors")).unwrap(), b"precious");
    // Only what got as far as being opened was put down.
    assert_eq!(disclosures(&sandbox, &hash), 1);
    let wrong =
        format!("keyholder disclose {hash} -o x.safetensors --identity other.key --state other.state");
    let (code, said) = sandbox.fail(&wrong);
    assert!(code == 1 && said.contains("cannot be opened: sealed for another keyholder"), "{code} {said}");
    assert!(!sandbox.path("x.safetensors").exists() && !sandbox.path("x.npy").exists());
}

#[test]
fn a_passphrase_is_needed_by_all_who_need_the_key_and_asked_of_nobody_who_is_not_there() {
    let sandbox = Sandbox::new();
    sandbox.write("right", "correct horse\nbattery staple\n");
    sandbox.write("wrong", "battery staple\n");
    sandbox.write("empty", "\nsecond line\n");
    for (option, words) in [
        ("--passphrase", "--passphrase-file"),
        ("--passphrase-file absent", "\"absent\" cannot be read"),
        ("--passphrase-file empty", "\"empty\" is empty"),
    ] {
        let (code, said) = sandbox.fail(&format!("keyholder init {option}"));
        assert!(code == 1 && said.contains(words), "{option}: {code} {said}");
    }
    assert!(!sandbox.path("config/omnimind/keyholder.key").exists());
    assert!(sandbox.run("keyholder init --passphrase-file right").status.success());
    let protected = || {
        fs::read(sandbox.path("config/omnimind/keyholder.key")).unwrap().starts_with(b"age-encryption.org/")
    };
    assert!(protected());

    super::crash(&sandbox, 0, 1);
    super::write_rows(&sandbox, "embeddings.npy", &super::EMBEDDINGS[..20]);
    let hash = hashes(&sandbox).remove(0);
    let disclose = format!("keyholder disclose {hash} -o back.safetensors");
    for line in ["keyholder serve", &disclose, "keyholder rotate"] {
        let (code, said) = sandbox.fail(line);
        assert!(code == 1 && said.contains("give it with --passphrase-file"), "{line}: {code} {said}");
        let (code, said) = sandbox.fail(&format!("{line} --passphrase-file wrong"));
        assert!(code == 1 && said.contains("the passphrase does not open"), "{line}: {code} {said}");
    }
    assert!(!sandbox.path("back.safetensors").exists());

    assert!(sandbox.run(&format!("{disclose} --passphrase-file right")).status.success());
    assert!(sandbox.run("keyholder rotate --passphrase-file right").status.success());
    assert!(protected());
    let _serving = Serving::with(&sandbox, "--passphrase-file right");
    assert_eq!(sandbox.json("influence --vector embeddings.npy --row 0")["level"], "strong");
}

#[test]
fn a_log_that_was_changed_is_answered_with_five_and_nothing_is_served() {
    // R21
    let sandbox = crashed(1);
    let serving = Serving::of(&sandbox);
    assert_eq!(sandbox.json("influence --vector embeddings.npy --row 0")["level"], "strong");
    assert_eq!(serving.stop(), Some(0));
    let (clean, records) = (sandbox.fail("keyholder audit"), sandbox.json("keyholder audit"));
    assert!(clean == (0, String::new()) && records["records"].as_u64() >= Some(3), "{records}");

    let whole = fs::read(log(&sandbox)).unwrap();
    let mut changed = whole.clone();
    let units = whole.windows(8).position(|bytes| bytes == b"\"units\":").unwrap() + 9;
    changed[units] ^= 1;
    fs::write(log(&sandbox), &changed).unwrap();
    let disclose = format!("keyholder disclose {} -o back.safetensors", hashes(&sandbox)[0]);
    for line in ["keyholder audit", "keyholder serve", &disclose] {
        let (code, said) = sandbox.fail(line);
        assert!(
            code == 5 && said.contains("audit.jsonl") && said.contains("damaged"),
            "{line}: {code} {said}"
        );
    }
    assert!(!sandbox.path("back.safetensors").exists());
    // Shorter than it was is damage, too.
    fs::write(log(&sandbox), b"").unwrap();
    assert_eq!(sandbox.fail("keyholder audit").0, 5);
    fs::write(log(&sandbox), &whole).unwrap();
    assert_eq!(sandbox.fail("keyholder audit").0, 0);
    let _serving = Serving::of(&sandbox);
}

#[test]
fn one_process_serves_a_key_and_one_a_socket() {
    let sandbox = crashed(1);
    let _serving = Serving::of(&sandbox);
    let elsewhere = "--socket other.sock --state other.state";
    for option in ["", "--socket other.sock", "--state other.state", elsewhere] {
        let (code, said) = sandbox.fail(&format!("keyholder serve {option}"));
        assert!(code == 1 && said.contains("served already"), "{option}: {code} {said}");
    }
    assert!(!sandbox.path("other.state").exists(), "there is one budget for a key");
    assert!(sandbox.run("keyholder init --identity other.key").status.success());
    let _other = Serving::with(&sandbox, &format!("--identity other.key {elsewhere}"));
    assert!(sandbox.run("keyholder status --socket other.sock").status.success());
}

#[test]
fn a_place_that_cannot_be_served_at_is_refused_with_the_way_out() {
    let sandbox = crashed(1);
    sandbox.write("file", "");
    let long = format!("{}.sock", "x".repeat(120));
    for (options, words) in [
        (format!("--socket {long}"), "at most 107 bytes"),
        ("--socket file".to_owned(), "something else lies there"),
        ("--socket file/keyholder.sock".to_owned(), "--socket"),
        ("--state file".to_owned(), "--state"),
        ("--state file/state".to_owned(), "--state"),
    ] {
        let (code, said) = sandbox.fail(&format!("keyholder serve {options}"));
        assert!(code == 1 && said.contains(words), "{options}: {code} {said}");
    }
    let (code, said) = sandbox.fail("keyholder audit --state absent");
    assert!(code == 3 && said.contains("there is no audit log in \"absent\""), "{code} {said}");
    assert!(!sandbox.path("absent").exists());
    // A folder that is missing is made.
    let _serving = Serving::with(&sandbox, "--socket a/b/c.sock --state a/d/state");
    assert!(sandbox.run("keyholder status --socket a/b/c.sock").status.success());
}

#[test]
fn settings_of_a_keyholder_that_make_no_sense_are_refused() {
    let sandbox = Sandbox::new();
    for (file, words) in [
        ("[keyholder]\nidentty = \"x\"", "did you mean \"keyholder.identity\"?"),
        ("[keyholder]\nmost_signature = 3", "did you mean \"keyholder.most_signatures\"?"),
        ("[keyholder.rounding]\nlevel = [0.5]", "did you mean \"keyholder.rounding.levels\"?"),
        ("[keyholder.budget.memory]\nper_dya = 3", "did you mean \"keyholder.budget.memory.per_day\"?"),
        ("[keyholder.rounding]\nlevels = []", "levels must be given"),
        ("[keyholder.rounding]\nlevels = [0.5, 0.25]", "ascend"),
        ("[keyholder.rounding]\nlevels = [0.5, 1.5]", "at most at 1"),
        ("[keyholder.rounding]\nlevels = [\"high\"]", "string"),
        ("[keyholder.rounding]\nlevels = 0.5", "must be a list"),
        ("[keyholder.rounding]\nsum_step = 0", "sum_step"),
        ("[keyholder.budget]\nprice_of_silence = 0", "at least 1"),
        ("[keyholder.budget.memory]\ncapacity = 1", "the capacity of `memory`"),
        ("[keyholder]\nallow = [-1]", "-1"),
        ("[keyholder]\nallow = [\"root\"]", "string"),
    ] {
        settings(&sandbox, file);
        let (code, said) = sandbox.fail("config");
        assert!(code == 2 && said.contains(words), "{file}: {code} {said}");
    }
    settings(&sandbox, "[keyholder]\nstate = \"here\"\nallow = [1000]\n");
    let shown = |variables: &[(&str, &str)]| {
        let output = sandbox.command().args(["config"]).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let line = |text: &str, key: &str| text.lines().find(|line| line.contains(key)).unwrap().to_owned();
    let text = shown(&[("OMNIMIND_KEYHOLDER_ROUNDING_LEVELS", "0.3, 0.6")]);
    assert!(line(&text, "keyholder.rounding.levels").contains("[0.3, 0.6]"), "{text}");
    assert!(line(&text, "keyholder.allow").contains("[1000]"), "{text}");
    assert!(line(&text, "keyholder.state").contains("config/omnimind/here"), "{text}");
    let text = shown(&[("OMNIMIND_KEYHOLDER_ALLOW", "[1000, 1001]")]);
    assert!(line(&text, "keyholder.allow").contains("[1000, 1001]"), "{text}");
    let text = shown(&[("OMNIMIND_KEYHOLDER_ALLOW", "root")]);
    assert!(text.contains("OMNIMIND_KEYHOLDER_ALLOW") && text.contains("a list"), "{text}");
    let text = shown(&[("XDG_RUNTIME_DIR", "/run/user/1000")]);
    assert!(line(&text, "unconscious.socket").contains("/run/user/1000/omnimind/keyholder.sock"), "{text}");
}
