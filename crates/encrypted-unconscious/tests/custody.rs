//! A keyholder that is killed while it answers has written down all that it gave away.
#![cfg(feature = "homomorphic")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use encrypted_unconscious::{
    Identity, Query, Sealer,
    keyholder::{Allowance, Answer, AuditLog, Caller, Custody, CustodyConfig, Deed, audit, harden_process},
};

const FOLDER: &str = "CUSTODY_TEST_FOLDER";
const CALLER: Caller = Caller { uid: 1, pid: 2 };

fn open(folder: &Path) -> Custody {
    let mut config = CustodyConfig::default();
    config.budget.memory = Allowance { capacity: 100_000_000, per_day: 1 };
    config.budget.caller = Allowance { capacity: 100_000_000, per_day: 1 };
    let keys = vec![Identity::load(folder.join("key")).unwrap()];
    Custody::open(&folder.join("state"), keys, config).unwrap()
}

/// Units that the log says were charged.
fn charged(folder: &Path) -> u64 {
    let log = std::fs::read_to_string(folder.join("state/audit.jsonl")).unwrap();
    // A line that has no end was never answered.
    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let units = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["units"].as_array().map_or(0, |units| units.iter().filter_map(serde_json::Value::as_u64).sum())
    };
    lines.map(units).sum::<u64>()
}

/// What the killed process does; nothing when it is run as a test.
#[test]
fn answers_until_it_is_killed() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let custody = open(folder);
    let sealer = Sealer::new(Identity::load(folder.join("key")).unwrap().recipient());
    let memory = [sealer.encrypt_signature([1; 32], &[1.0, 0.0]).unwrap()];
    let mut out = std::io::stderr();
    // Each question is another one, and more of them than fit into the pipe.
    for number in 0..12_000u16 {
        let query = Query::new(&[2.0 * f32::from(number), 32_767.0]).unwrap();
        let answers = custody.influence(CALLER, &query, &memory).unwrap();
        assert!(matches!(answers[..], [Answer::AtLeast(_)]), "{answers:?}");
        out.write_all(b"answered\n").unwrap();
    }
}

#[test]
fn a_process_that_is_killed_has_charged_for_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    Identity::generate().write_new(folder.path().join("key")).unwrap();
    let mut before = 0;
    for round in 1..=8 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "answers_until_it_is_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let answered =
            lines.by_ref().take(round * 37).filter(|line| line.as_ref().unwrap() == "answered").count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(answered, round * 37);
        let after = charged(folder.path());
        assert!(after >= before + answered as u64, "{before} {answered} {after}");
        before = after;
        let report = audit::verify(&folder.path().join("state")).unwrap();
        // The next one takes it from there.
        let custody = open(folder.path());
        assert!(custody.status().unwrap().audit_records >= report.records);
        assert_eq!(custody.status().unwrap().memories_asked, 1);
    }
}

#[test]
fn the_owner_writes_into_the_log_while_another_process_serves_or_none() {
    let folder = tempfile::tempdir().unwrap();
    Identity::generate().write_new(folder.path().join("key")).unwrap();
    let state_dir = folder.path().join("state");
    AuditLog::append_deed(&state_dir, CALLER, Deed::Rotated { public_key: "age1".to_owned() }).unwrap();
    let custody = open(folder.path());
    custody.note(CALLER, Deed::Served).unwrap();
    AuditLog::append_deed(&state_dir, CALLER, Deed::Disclosed { memory: [1; 32] }).unwrap();
    custody.note(CALLER, Deed::Stopped).unwrap();
    let status = custody.status().unwrap();
    drop(custody);
    let report = audit::verify(&state_dir).unwrap();
    assert_eq!((report.records, &report.head), (4, &status.audit_head));
    assert_eq!(open(folder.path()).status().unwrap().audit_head, report.head);
}

const HARDEN: &str = "CUSTODY_TEST_HARDEN";

/// It holds for a whole process, so it is tried in one of its own.
#[test]
fn is_hardened_alone() {
    if env::var(HARDEN).is_err() {
        return;
    }
    for problem in harden_process() {
        assert!(problem.contains("swap"), "core dumps can always be turned off: {problem}");
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    // It still has memory to work with.
    assert_eq!(vec![1u8; 64 << 20].iter().map(|&byte| u64::from(byte)).sum::<u64>(), 64 << 20);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hardened_process_leaves_no_core_dump_and_goes_on() {
    let mut child = Command::new(env::current_exe().unwrap());
    let output = child.args(["--exact", "is_hardened_alone"]).env(HARDEN, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
