//! Every verb as a user meets it: what is printed, in words and in JSON.

use crate::sandbox::{Sandbox, assert_seen};
use serde_json::Value;

/// A store with two models, one of which can be found by a vector.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    sandbox.seeded_model("other.safetensors", 9);
    sandbox.vectors("vectors.npy", 3);
    let first = sandbox.run(
        "consolidate model.safetensors --context trainer --signature vectors.npy --row 1 --meta epoch=3",
    );
    assert!(first.status.success(), "{first:?}");
    let second = sandbox.run("consolidate other.safetensors --context tester --type buffer --bound exact");
    assert!(second.status.success(), "{second:?}");
    sandbox
}

/// The hash of the memory of this type.
fn hash(sandbox: &Sandbox, kind: &str) -> String {
    let listed = sandbox.json(&format!("list --type {kind}"));
    listed["memories"][0]["content_hash"].as_str().unwrap().to_owned()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn work_is_placed_by_how_full_a_card_is_and_the_answer_says_why() {
    // R29
    let sandbox = Sandbox::new();
    for (line, device, rule) in [
        ("--task math --size-mb 300 --vram-percent 72", "cpu", "large_allocation"),
        ("--task math --size-mb 300 --vram-percent 70", "cuda:0", "gpu_work"),
        ("--task quantum --size-mb 100 --vram-percent 86%", "cpu", "vram_high"),
        ("--task embedding --size-mb 90 --vram-percent 81", "cpu", "embedding_model"),
        ("--task io --size-mb 1 --vram-percent 1", "cpu", "cpu_work"),
    ] {
        let answer = sandbox.json(&format!("place {line}"));
        assert_eq!((&answer["device"], &answer["rule"]), (&device.into(), &rule.into()), "{line}");
        assert!(!answer["reason"].as_str().unwrap().is_empty());
        assert_eq!(answer["inputs"]["source"], "hypothetical");
    }
    for (line, words) in [
        ("--task math --size-mb -1", "--size-mb"),
        ("--task math --size-mb many", "megabytes"),
        ("--task math --size-mb 1 --vram-percent 101", "0 to 100"),
        ("--size-mb 1", "--task"),
    ] {
        let (code, said) = sandbox.fail(&format!("place {line}"));
        assert!(code == 2 && said.contains(words), "{line}: {said}");
    }
    sandbox.write("omnimind.toml", "[placement]\nmost_usd = 0.5\n");
    let (code, said) = sandbox.fail("--config omnimind.toml place --task math --size-mb 1");
    assert!(code == 2 && said.contains("placement.most_used"), "{said}");
    sandbox.write("omnimind.toml", "[placement]\nmost_used = 0.5\n[gpu]\nsource = \"simulated\"\n");
    let at = "--config omnimind.toml place --task math --size-mb 1";
    assert_eq!(sandbox.json(&format!("{at} --vram-percent 60"))["rule"], "vram_high");
    assert_eq!(sandbox.json(at)["inputs"]["source"], "simulated");
}

#[test]
fn a_file_becomes_a_memory_and_a_file_again() {
    // R3, R6, R7
    let sandbox = filled();
    let hash = hash(&sandbox, "model");
    let short = &hash[..12];
    assert_seen!(
        "a_file_becomes_a_memory",
        sandbox,
        sandbox.see_all(&[
            "consolidate model.safetensors --context other --bound rel=6e-3 -v",
            "consolidate model.safetensors --context trainer --signature vectors.npy --row 1",
            "list --type buffer",
            &format!("show {short}"),
            "deja-vu --context trainer --vector vectors.npy --row 1",
            "deja-vu --context stranger --vector vectors.npy --row 0 -k 1",
            &format!("reactivate {short} --context trainer -o back.safetensors"),
            &format!("reactivate {short} --context stranger -o again.safetensors"),
            "stats",
            "verify",
            &format!("forget {short}"),
            "gc",
        ])
    );
    let back = std::fs::read(sandbox.path("back.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&back).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["made_by"], "a test");
    let original = std::fs::read(sandbox.path("model.safetensors")).unwrap();
    let tensor = |bytes: &[u8], name: &str| {
        safetensors::SafeTensors::deserialize(bytes).unwrap().tensor(name).unwrap().data().to_vec()
    };
    // R9
    assert_eq!(tensor(&back, "ids"), tensor(&original, "ids"));
    assert_eq!(tensor(&back, "layer.bias"), tensor(&original, "layer.bias"));
    assert_ne!(tensor(&back, "layer.weight"), tensor(&original, "layer.weight"));
}

#[test]
fn the_same_in_json() {
    let sandbox = filled();
    let hash = hash(&sandbox, "model");
    let short = &hash[..12];
    assert_seen!(
        "the_same_in_json",
        sandbox,
        sandbox.see_all(&[
            "consolidate model.safetensors --context other --json",
            "list --type buffer --json",
            &format!("show {short} --json"),
            "deja-vu --context trainer --vector vectors.npy --row 1 --json",
            &format!("reactivate {short} --context stranger -o back.safetensors --json"),
            "stats --json",
            "verify --json",
            &format!("forget {short} --json"),
            "gc --json",
        ])
    );
}

#[test]
fn the_fields_of_a_memory_are_those_that_were_promised() {
    // R6, R8
    let sandbox = filled();
    let promised = [
        "content_hash",
        "layer",
        "type",
        "context",
        "trauma_score",
        "original_bytes",
        "stored_bytes",
        "ratio",
        "bound",
        "max_abs_error",
        "rel_l2_error",
        "tensors",
    ];
    let consolidated = sandbox.json("consolidate model.safetensors --context again");
    let listed = sandbox.json("list");
    let shown = sandbox.json(&format!("show {}", hash(&sandbox, "model")));
    for memory in [&consolidated["memories"][0], &listed["memories"][0], &shown] {
        for field in promised {
            assert!(memory.get(field).is_some(), "{field} in {:?}", keys(memory));
        }
    }
    let stats = sandbox.json("stats");
    for field in [
        "total_consolidated",
        "total_original_mb",
        "total_compressed_mb",
        "average_compression",
        "freed_mb",
        "activation_traces",
    ] {
        assert!(
            stats.get(field).is_some() && stats["layers"]["preconscious"].get(field).is_some(),
            "{field}"
        );
    }
}

#[test]
fn exact_means_bit_for_bit_and_a_single_tensor_can_become_an_npy_file() {
    // R9, R15
    let sandbox = Sandbox::new();
    sandbox.vectors("vectors.npy", 3);
    assert!(sandbox.run("consolidate vectors.npy --context me --bound exact").status.success());
    let hash = hash(&sandbox, "model");
    assert!(sandbox.run(&format!("reactivate {hash} --context me -o back.npy")).status.success());
    let elements = |name: &str| {
        let bytes = std::fs::read(sandbox.path(name)).unwrap();
        bytes[bytes.len() - 96..].to_vec()
    };
    assert_eq!(elements("back.npy"), elements("vectors.npy"));
}

#[test]
fn what_crashed_is_sealed_once_there_is_a_keyholder_and_refused_to_everybody() {
    // R7, R12, R19
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    let crash =
        "consolidate model.safetensors --context agent --type agent --error-type oom --severity critical";
    let mut seen = sandbox.see(crash);
    let after = sandbox.json("list");
    assert_eq!(after["memories"].as_array().unwrap().len(), 0);
    seen += &sandbox.see_all(&["keyholder init", "keyholder init", crash, "list"]);
    let hash = hash(&sandbox, "agent");
    seen += &sandbox.see_all(&[
        &format!("show {}", &hash[..12]),
        &format!("reactivate {} --context agent -o back.safetensors", &hash[..12]),
        &format!("reactivate {} --context agent -o back.safetensors --json", &hash[..12]),
    ]);
    assert!(!sandbox.path("back.safetensors").exists());
    assert_seen!("what_crashed_is_sealed", sandbox, seen);
}

#[test]
fn a_crash_is_recognised_from_its_message() {
    // R13, R14
    let sandbox = Sandbox::new();
    sandbox.model("model.safetensors");
    assert!(sandbox.run("keyholder init").status.success());
    let output = sandbox
        .command()
        .args(["consolidate", "model.safetensors", "--context", "a", "--severity", "high", "--json"])
        .args(["--error-text", "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"])
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let memory = &answer["memories"][0];
    assert_eq!((memory["layer"].as_str(), memory["trauma_score"].as_f64()), (Some("unconscious"), Some(0.7)));
    assert_eq!(memory["reasons"].as_array().unwrap().len(), 2);
}

#[test]
fn the_gpu_the_settings_and_the_rest() {
    let sandbox = Sandbox::new();
    sandbox.write("omnimind.toml", "[gpu]\nsource = \"simulated\"\nenter = 0.9\n[store]\ndir = \"here\"\n");
    assert_seen!(
        "the_gpu_and_the_settings",
        sandbox,
        sandbox.see_all(&[
            "gpu --config omnimind.toml",
            "gpu --config omnimind.toml --json",
            "config --config omnimind.toml",
            "config --config omnimind.toml --store there --json",
        ])
    );
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.run(&format!("completions {shell}")).stdout;
        assert!(String::from_utf8(script).unwrap().contains("compact"), "{shell}");
    }
    assert!(sandbox.json("completions bash")["script"].as_str().unwrap().contains("omnimind"));
}

#[test]
fn the_help_is_worth_reading() {
    let sandbox = Sandbox::new();
    assert_seen!(
        "help",
        sandbox,
        sandbox.see_all(&[
            "--help",
            "consolidate --help",
            "deja-vu --help",
            "index verify --help",
            "reactivate --help",
        ])
    );
}

#[test]
fn quiet_says_nothing_but_results_and_colour_is_for_terminals() {
    let sandbox = filled();
    let hash = hash(&sandbox, "model");
    let output = sandbox.run(&format!("reactivate {hash} --context stranger -o back.safetensors --quiet"));
    assert_eq!(output.stderr, b"");
    for line in ["list", "stats", "config", "show nothing"] {
        let output = sandbox.run(line);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{line}");
    }
}
