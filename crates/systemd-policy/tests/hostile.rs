//! The kernel's files are bytes from outside: whatever they say, looking at them ends without a panic.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use systemd_policy::forecast::Forecast;
use systemd_policy::swap::Swap;
use systemd_policy::{Config, History, Report, Roots, decide, observe};

fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, all);
        } else {
            all.push(path);
        }
    }
}

/// What happens to the bytes of a file.
#[derive(Debug, Clone)]
enum Change {
    Replaced(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index),
    Whole(Vec<u8>),
    Gone,
    Directory,
}

fn change() -> impl Strategy<Value = Change> {
    let bytes =
        || prop_oneof![prop::collection::vec(any::<u8>(), 1..20), "[0-9]{1,25}".prop_map(String::into_bytes)];
    prop_oneof![
        4 => (any::<prop::sample::Index>(), bytes()).prop_map(|(at, bytes)| Change::Replaced(at, bytes)),
        1 => any::<prop::sample::Index>().prop_map(Change::Cut),
        2 => bytes().prop_map(Change::Whole),
        1 => Just(Change::Gone),
        1 => Just(Change::Directory),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn changed_files_are_lacks_or_errors_but_never_a_panic(
        tree in prop::sample::select(vec!["machine", "container", "hybrid"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..8),
    ) {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(tree);
        let directory = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        files(&original, &mut all);
        let copies = all.iter().map(|path| {
            let copy = directory.path().join(path.strip_prefix(&original).unwrap());
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(path, &copy).unwrap();
            copy
        });
        let copies: Vec<PathBuf> = copies.collect();
        for (which, change) in changes {
            let path = which.get(&copies);
            let Ok(mut bytes) = std::fs::read(path) else { continue };
            match change {
                Change::Replaced(at, new) => {
                    let at = at.index(bytes.len() + 1);
                    let end = (at + new.len()).min(bytes.len());
                    bytes.splice(at..end, new);
                }
                Change::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
                Change::Whole(new) => bytes = new,
                Change::Gone | Change::Directory => {
                    std::fs::remove_file(path).unwrap();
                    if matches!(change, Change::Directory) {
                        std::fs::create_dir(path).unwrap();
                    }
                    continue;
                }
            }
            std::fs::write(path, bytes).unwrap();
        }
        let roots = Roots::below(directory.path());
        let config = Config::default();
        let _ = Swap::observe(&roots);
        if let Ok(seen) = observe(&roots, &config) {
            let mut history = History::default();
            history.record(&seen);
            let _ = Forecast::of(history.samples());
            let report = Report::of(&seen, &decide(&seen, &history, &[], &config), &config);
            prop_assert!(report.system.ram_used_bytes <= report.system.ram_total_bytes);
            prop_assert!(report.system.swap_used_bytes <= report.system.swap_total_bytes);
            prop_assert!(report.total_critical_bytes <= report.system.ram_total_bytes);
            prop_assert!(serde_json::to_string(&report).is_ok());
        }
    }
}
