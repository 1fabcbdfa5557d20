//! `memory` and `systemd`: what is seen of machines that were recorded, what is refused where it cannot be done, and units
//! below a directory.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sandbox::Sandbox;

/// Machines as files, which the crate that looks at them is tested with.
fn recorded(name: &str) -> String {
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd-policy/tests/trees");
    fs::canonicalize(trees.join(name)).unwrap().display().to_string()
}

/// A sandbox with recorded machines in it, so that what is seen does not depend on where this lies.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["machine", "container", "hybrid"] {
        std::os::unix::fs::symlink(recorded(name), sandbox.path(name)).unwrap();
    }
    sandbox
}

/// No card is looked for.
const SETTINGS: &str = "[gpu]\nsource = \"simulated\"\n";

#[test]
fn a_recorded_machine_is_told_for_people() {
    let sandbox = sandbox();
    let seen = sandbox.see_all(&[
        "memory report --recorded machine",
        "memory report --recorded container",
        "memory report --recorded hybrid",
        "memory apply --dry-run --recorded machine",
        "memory swap --recorded machine",
        "memory swap --recorded container",
    ]);
    assert_exactly("memory_of_recorded_machines", &sandbox, &seen);
}

#[test]
fn the_report_in_json_keeps_its_promise() {
    let sandbox = sandbox();
    let report = sandbox.json("memory report --recorded machine");
    for key in [
        "ram_total_bytes",
        "ram_used_bytes",
        "ram_available_bytes",
        "ram_percent",
        "swap_total_bytes",
        "swap_used_bytes",
        "swap_percent",
        "pressure",
    ] {
        assert!(report["system"].get(key).is_some(), "{key}: {report}");
    }
    let service = &report["services"]["omnimind.service"];
    for key in ["pid", "rss_bytes", "swap_bytes", "critical_bytes", "priority"] {
        assert!(service.get(key).is_some(), "{key}: {report}");
    }
    assert!(report["total_critical_bytes"].is_u64() && report["recommendations"].is_array(), "{report}");
    let swap = sandbox.json("memory swap --recorded machine");
    let held: u64 =
        swap["holders"].as_array().unwrap().iter().filter_map(|one| one["swap_bytes"].as_u64()).sum();
    assert_eq!(held + swap["rest"]["bytes"].as_u64().unwrap(), swap["used_bytes"].as_u64().unwrap());
}

#[test]
fn targets_are_met_missed_or_not_seen_and_a_gate_fails() {
    let sandbox = sandbox();
    sandbox.write("omnimind.toml", SETTINGS);
    sandbox.write("set.toml", format!("{SETTINGS}[memory.budget]\nram_max_mb = 1000000\n"));
    sandbox.write(
        "tight.json",
        r#"{"ram_max_mb": 1, "vram_max_mb": 4000, "gpu": {"batch_size": 8}, "drop_caches": 1}"#,
    );
    sandbox.write("wrong.json", r#"{"ram_mx_mb": 1}"#);
    sandbox.write("unseen.json", r#"{"batch_size": 8}"#);
    let seen = sandbox.see_all(&[
        "memory budget --recorded machine --config omnimind.toml",
        "memory budget --recorded machine --config omnimind.toml --gate",
        "memory budget --recorded machine --config set.toml --gate",
        "memory budget --recorded machine --config omnimind.toml --parameters tight.json",
        "memory budget --recorded machine --config omnimind.toml --parameters tight.json --gate -q",
        "memory budget --recorded machine --config omnimind.toml --parameters unseen.json --gate",
        "memory budget --recorded machine --config omnimind.toml --parameters wrong.json",
        "memory budget --recorded machine --config omnimind.toml --parameters none.json",
    ]);
    assert_exactly("budgets", &sandbox, &seen);
    fs::rename(sandbox.path("tight.json"), sandbox.path("omnimind_parameters.json")).unwrap();
    let answer = sandbox.json("memory budget --recorded machine --config omnimind.toml");
    assert_eq!((&answer["source"], &answer["met"]), (&"omnimind_parameters.json".into(), &false.into()));
}

#[test]
fn this_machine_is_looked_at_whatever_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("omnimind.toml", SETTINGS);
    for verb in
        ["report", "swap", "budget", "forecast --for 2s --every 400ms", "apply --dry-run --state state.json"]
    {
        let line = format!("memory {verb} --config omnimind.toml");
        let output = sandbox.run(&line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        assert!(sandbox.json(&line).is_object(), "{line}");
    }
    let forecast = sandbox.json("memory forecast --for 2s --every 400ms --config omnimind.toml");
    assert_eq!(forecast["looks"], 6);
    for memory in ["ram", "swap", "vram"] {
        assert!(forecast["forecast"][memory]["outlook"].is_string(), "{forecast}");
    }
    assert!(!sandbox.path("state.json").exists(), "what is only shown leaves nothing behind");
}

#[test]
fn too_few_looks_are_no_forecast() {
    let sandbox = sandbox();
    sandbox.write("omnimind.toml", SETTINGS);
    let (code, said) = sandbox.fail("memory forecast --for 2s --every 1s");
    assert!(code == 2 && said.contains("is 3 looks, and a forecast needs 5"), "{said}");
    assert_eq!(sandbox.fail("memory forecast --for soon").0, 2);
    // A recorded machine stands still: all looks are at the same moment.
    let line = "memory forecast --for 2s --every 400ms --recorded machine --config omnimind.toml";
    let answer = sandbox.json(line);
    assert_eq!(answer["forecast"]["ram"]["outlook"], "too_little_seen");
}

#[test]
fn what_needs_systemd_is_refused_where_there_is_none() {
    if Path::new("/run/systemd/system").exists() {
        return; // What is done there would be real; `cargo xtask vm-test` does it.
    }
    let sandbox = Sandbox::new();
    for line in ["memory daemon --state state.json", "systemd install", "systemd uninstall"] {
        let (code, said) = sandbox.fail(line);
        assert!(code == 4 && said.contains("systemd does not run here"), "{line}: {code} {said}");
    }
    let nothing = sandbox.run("memory apply --undo --state state.json");
    assert_eq!(
        (nothing.status.code(), nothing.stdout.as_slice()),
        (Some(0), &b"nothing that was set stands, so there is nothing to take back\n"[..])
    );
    let (code, said) = sandbox.fail("memory release --socket nowhere.sock --mib 1");
    assert!(code == 4 && said.contains("nowhere.sock"), "{said}");
}

#[test]
fn units_are_written_shown_and_removed_below_a_directory() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "omnimind.toml",
        "[memory.services.\"a.service\"]\npriority = \"critical\"\ncritical_share = 0.5\n\
         [memory.services.\"b.service\"]\npriority = \"low\"\nmemory_high_bytes = 1048576\n",
    );
    let to = "--root root --program /usr/bin/omnimind --config omnimind.toml";
    // What files say is tested where they are written.
    let shown = sandbox.see(&format!("systemd show {to}"));
    for line in [
        "root/etc/systemd/system/a.service.d/50-omnimind-memory.conf",
        "MemorySwapMax=0",
        "MemoryHigh=1048576",
        "created    root/etc/systemd/system/omnimind-memory-monitor.service",
    ] {
        assert!(shown.lines().any(|other| other == line), "{line} is not in\n{shown}");
    }
    let config = sandbox.path("omnimind.toml").display().to_string();
    assert!(
        shown.contains(&format!("ExecStart=/usr/bin/omnimind memory daemon --config {config}\n")),
        "{shown}"
    );
    assert!(!sandbox.path("root").exists(), "what is only shown writes nothing");
    let seen = sandbox.see_all(&[
        &format!("systemd install {to}"),
        &format!("systemd install {to}"),
        &format!("systemd uninstall {to}"),
        &format!("systemd uninstall {to}"),
    ]);
    assert_exactly("units", &sandbox, &seen);
    assert!(files(&sandbox.path("root")).is_empty(), "{:?}", files(&sandbox.path("root")));

    let other = sandbox.path("root/etc/systemd/system/a.service.d/50-omnimind-memory.conf");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, "[Service]\n").unwrap();
    let (code, said) = sandbox.fail(&format!("systemd install {to}"));
    assert!(code == 4 && said.contains("was not installed by this program"), "{code} {said}");
    assert_eq!(files(&sandbox.path("root")), [other]);
}

#[test]
fn settings_of_memory_are_shown_and_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.write("omnimind.toml", "[memory.services.\"a.service\"]\npriority = \"low\"\n");
    let settings = sandbox.json("config --config omnimind.toml");
    let of = |key: &str| {
        let all = settings["settings"].as_array().unwrap();
        all.iter().find(|one| one["key"] == key).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(of("memory.services.\"a.service\"")["value"]["priority"], "low");
    assert_eq!(of("memory.services.\"omnimind.service\""), Value::Null);
    assert_eq!(of("memory.ram_critical")["value"], 0.9);
    sandbox.write("omnimind.toml", "[memory.services.\"a.service\"]\npriorty = \"low\"\n");
    let (code, said) = sandbox.fail("memory report --config omnimind.toml");
    assert!(code == 2 && said.contains("did you mean \"priority\"?"), "{said}");
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Recorded machines do not change, so every number counts.
fn assert_exactly(name: &str, sandbox: &Sandbox, seen: &str) {
    let dir = sandbox.path("").display().to_string();
    let seen = seen.replace(dir.trim_end_matches('/'), "[dir]");
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, seen));
}
