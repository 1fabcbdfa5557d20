//! Everything that can be wrong with what is typed, with files and with the store: a clear message, the right exit code,
//! and a store that is as it was.

use std::fs;

use crate::sandbox::{Sandbox, assert_seen, npy};

fn hash(sandbox: &Sandbox) -> String {
    sandbox.json("list")["memories"][0]["content_hash"].as_str().unwrap().to_owned()
}

#[test]
fn wrong_usage_is_answered_with_two_and_the_way_out() {
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    sandbox.vectors("vectors.npy", 3);
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    let lines = [
        "",
        "frobnicate",
        "consolidate",
        "consolidate model.safetensors",
        "consolidate model.safetensors --context me --bound rel=9",
        "consolidate model.safetensors --context me --bound tight",
        "consolidate model.safetensors --context me --row 1",
        "consolidate model.safetensors --context me --signature vectors.npy",
        "consolidate model.safetensors --context me --signature vectors.npy --row 3",
        "consolidate model.safetensors --context me --meta epoch",
        "deja-vu --context me --vector vectors.npy",
        "deja-vu --context me --vector vectors.npy --row 7",
        "deja-vu --context me --vector vectors.npy --row 1 --layer subconscious",
        "index",
        "index rebuild",
        "index compact --repair",
        "list --since yesterday",
        "list --min-trauma 2",
        "list --layer subconscious",
        "list -q -v",
        "show abc",
        "show not-a-hash",
        "reactivate abcd --context me",
    ];
    for line in lines {
        assert_eq!(sandbox.fail(line).0, 2, "{line}");
    }
    assert_seen!("wrong_usage", sandbox, sandbox.see_all(&lines));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_every_verb_that_reads_them() {
    let sandbox = Sandbox::new();
    let mut seen = String::new();
    for file in [
        "[gpu]\nentr = 0.9\n",
        "[classifer]\nthreshold = 0.9\n",
        "[gpu]\nenter = \"high\"\n",
        "[gpu]\nenter = 0.5\n",
        "[classifier.weights]\ncrash = 3.0\n",
        "[index]\nrecall = 0.2\n",
        "[index]\nauto_compact = \"yes\"\n",
        "[index]\ncompact = true\n",
        "[gpu\n",
    ] {
        sandbox.write("omnimind.toml", file);
        assert_eq!(sandbox.fail("config --config omnimind.toml").0, 2, "{file}");
        seen.push_str(file);
        seen += &sandbox.see("list --config omnimind.toml");
    }
    assert_eq!(sandbox.fail("list --config nowhere.toml").0, 2);
    let odd = sandbox.command().args(["list"]).env("OMNIMIND_GPU_ENTR", "1").output().unwrap();
    assert_eq!(odd.status.code(), Some(2));
    assert!(String::from_utf8(odd.stderr).unwrap().contains("OMNIMIND_GPU_ENTER"));
    assert_seen!("settings_that_make_no_sense", sandbox, seen);
}

#[test]
fn what_is_not_there_is_answered_with_three() {
    // R7
    let sandbox = Sandbox::new();
    let index = ["index stats", "index compact", "index verify"];
    for line in ["list", "stats", "verify", "gc", "show abcdef", "forget abcdef"].into_iter().chain(index) {
        let (code, said) = sandbox.fail(line);
        assert!(code == 3 && said.contains("there is no store"), "{line}: {code} {said}");
    }
    assert!(!sandbox.path("data").exists());
    sandbox.model("model.safetensors");
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    let absent = "0123456789abcdef".repeat(4);
    for line in ["show", "forget", "reactivate -o x.safetensors --context me"] {
        let (code, said) = sandbox.fail(&format!("{line} {absent}"));
        assert!(code == 3 && said.contains("no memory"), "{line}: {code} {said}");
    }
    assert!(!sandbox.path("x.safetensors").exists());
}

#[test]
fn a_hostile_file_of_any_kind_is_refused_by_name_and_leaves_no_trace() {
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    let before = (sandbox.store(), sandbox.json("stats"), sandbox.json("list"));
    let safetensors = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    };
    let whole = fs::read(sandbox.path("model.safetensors")).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty.safetensors", vec![]),
        ("empty.npy", vec![]),
        ("text.safetensors", b"hello".to_vec()),
        ("text.bin", b"hello, this is no tensor".to_vec()),
        ("cut.safetensors", whole[..whole.len() - 7].to_vec()),
        ("longer.safetensors", [whole.as_slice(), b"more"].concat()),
        (
            "huge.safetensors",
            safetensors(r#"{"w":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}"#, 4),
        ),
        ("length.safetensors", u64::MAX.to_le_bytes().to_vec()),
        (
            "overlap.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                12,
            ),
        ),
        ("fp8.safetensors", safetensors(r#"{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#, 8)),
        ("none.safetensors", safetensors("{}", 0)),
        ("huge.npy", npy("<f4", "(1152921504606846976,)", &[0; 8])),
        ("overflow.npy", npy("<f4", "(1152921504606846976, 1152921504606846976)", &[0; 8])),
        ("cut.npy", npy("<f4", "(100,)", &[0; 8])),
        ("big-endian.npy", npy(">f4", "(2,)", &[0; 8])),
        ("complex.npy", npy("<c8", "(1,)", &[0; 8])),
        ("object.npy", npy("|O", "(1,)", &[0; 8])),
        ("zip.npz", b"PK\x03\x04 and nothing behind it".to_vec()),
    ];
    let mut seen = String::new();
    for (name, bytes) in &cases {
        sandbox.write(name, bytes);
        let line = format!("consolidate {name} --context me");
        let (code, said) = sandbox.fail(&line);
        assert_eq!(code, 1, "{name}: {said}");
        assert!(said.contains(name), "{name}: {said}");
        seen += &sandbox.see(&line);
    }
    fs::create_dir(sandbox.path("folder.npy")).unwrap();
    seen += &sandbox.see_all(&["consolidate folder.npy --context me", "consolidate absent.npy --context me"]);
    assert_eq!((sandbox.store(), sandbox.json("stats"), sandbox.json("list")), before);
    assert_seen!("a_hostile_file", sandbox, seen);
}

#[test]
#[cfg(unix)]
fn a_name_that_is_not_utf8_is_refused_in_words() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    let name = OsStr::from_bytes(b"m\xffdel.safetensors");
    if fs::copy(sandbox.path("model.safetensors"), sandbox.path("").join(name)).is_err() {
        return; // This file system has no such names.
    }
    let output = sandbox.command().arg("consolidate").arg(name).args(["--context", "me"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("not UTF-8") && said.contains("rename"),
        "{said}"
    );
    assert!(!sandbox.path("data").exists());
}

#[test]
fn one_bad_file_does_not_hold_the_others_back() {
    let sandbox = Sandbox::new();
    sandbox.model("one.safetensors");
    sandbox.seeded_model("two.safetensors", 5);
    sandbox.write("bad.npy", "");
    let line = "consolidate one.safetensors bad.npy two.safetensors absent.npy --context me";
    assert_eq!(sandbox.fail(line).0, 1);
    let answer = sandbox.json(line);
    assert_eq!(
        (answer["memories"].as_array().unwrap().len(), answer["failed"].as_array().unwrap().len()),
        (2, 2)
    );
    assert_eq!(sandbox.json("stats")["total_consolidated"], 2);
    assert_seen!("one_bad_file", sandbox, sandbox.see(line));
}

#[test]
fn a_nan_only_tensor_is_kept_as_it_is() {
    // R17
    let sandbox = Sandbox::new();
    let elements: Vec<u8> = std::iter::repeat_n(f32::NAN.to_le_bytes(), 64).flatten().collect();
    sandbox.write("nan.npy", npy("<f4", "(8, 8)", &elements));
    assert!(sandbox.run("consolidate nan.npy --context me").status.success());
    let line = format!("reactivate {} --context me -o back.npy", hash(&sandbox));
    assert!(sandbox.run(&line).status.success());
    assert!(fs::read(sandbox.path("back.npy")).unwrap().ends_with(&elements));
}

#[test]
fn a_file_is_never_replaced_unless_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    let before = fs::read(sandbox.path("model.safetensors")).unwrap();
    let line = format!("reactivate {} --context me -o model.safetensors", hash(&sandbox));
    let (code, said) = sandbox.fail(&line);
    assert!(code == 1 && said.contains("--force"), "{said}");
    assert_eq!(fs::read(sandbox.path("model.safetensors")).unwrap(), before);
    for target in ["model.npy", "model.pt", "no/such/dir.safetensors"] {
        let (code, said) = sandbox.fail(&format!("reactivate {} --context me -o {target}", hash(&sandbox)));
        assert!(code == 1 && said.contains(target), "{said}");
    }
    assert!(sandbox.run(&format!("{line} --force")).status.success());
    assert_ne!(fs::read(sandbox.path("model.safetensors")).unwrap(), before);
}

#[test]
fn a_flipped_bit_is_answered_with_five_and_the_memory_it_belongs_to() {
    // R11
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    let hash = hash(&sandbox);
    let (object, mut bytes) = sandbox.store().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = fs::metadata(&object).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of this test, removed at its end")]
    permissions.set_readonly(false);
    fs::set_permissions(&object, permissions).unwrap();
    fs::write(&object, bytes).unwrap();

    let (code, said) = sandbox.fail(&format!("reactivate {hash} --context me -o back.safetensors"));
    assert!(code == 5 && said.contains("damaged"), "{code}: {said}");
    assert!(!sandbox.path("back.safetensors").exists());
    let (code, said) = sandbox.fail("verify");
    assert!(code == 5 && said.contains(&hash[..12]), "{code}: {said}");
    assert_eq!(sandbox.json("verify")["clean"], false);
    assert_eq!(sandbox.fail("verify --repair").0, 5);
    // The same content again makes it whole.
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    assert_eq!(sandbox.fail("verify").0, 0);
    assert!(sandbox.run(&format!("reactivate {hash} --context me -o back.safetensors")).status.success());
    let left: Vec<_> =
        fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("partial")), "{left:?}");
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error_in_words_and_the_store_is_as_it_was() {
    // R11: a file-size limit stands for the full disk.
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    let mut state = 1_u32;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let elements: Vec<u8> = (0..1 << 20).flat_map(|_| noise()).collect();
    sandbox.write("large.npy", npy("<u4", "(1048576,)", &elements));
    assert!(sandbox.run("consolidate model.safetensors --context me").status.success());
    let before = (sandbox.store(), sandbox.json("list"));
    let limited = |line: &str| {
        let binary = env!("CARGO_BIN_EXE_omnimind");
        let mut shell = sandbox.command();
        let command = format!("ulimit -f 2048; exec '{binary}' {line}");
        let output = shell_of(&mut shell).args(["-c", &command]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = limited("consolidate large.npy --context me");
    assert!(code == Some(1) && said.contains("no space left"), "{code:?} {said}");
    assert_eq!((sandbox.store(), sandbox.json("list")), before);

    assert!(sandbox.run("consolidate large.npy --context me --type large").status.success());
    let hash = sandbox.json("list --type large")["memories"][0]["content_hash"].as_str().unwrap().to_owned();
    let (code, said) = limited(&format!("reactivate {hash} --context me -o back.npy"));
    assert!(code == Some(1) && said.contains("back.npy") && said.contains("free space"), "{code:?} {said}");
    assert!(!sandbox.path("back.npy").exists());
}

/// A shell in the place of the binary, with the same surroundings.
#[cfg(unix)]
fn shell_of(command: &mut std::process::Command) -> std::process::Command {
    let mut shell = std::process::Command::new("/bin/sh");
    shell.env_clear().current_dir(command.get_current_dir().unwrap());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

#[test]
fn errors_are_json_too_if_asked_for() {
    let sandbox = Sandbox::new();
    let (code, said) = sandbox.fail("show abcdef --json");
    let error: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, error["error"]["exit_code"].as_i64()), (3, Some(3)));
    assert!(error["error"]["message"].as_str().unwrap().contains("no store"));
}
