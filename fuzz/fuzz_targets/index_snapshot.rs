//! A snapshot of the activation index that somebody else wrote: opening it, searching it in every way and merging it into the
//! next one answer or fail, and end.
//!
//! The input is a whole file, or, after a first byte of 0, a list of changes to a valid one, four bytes each: offset, what to
//! do, value. Each is tried as it is and with its check sums made right.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use activation_index::{
    ActivationIndex, CompactOptions, Effort, Entry, IndexConfig, IndexError, Metric, Opening, QueryFilter,
};
use libfuzzer_sys::fuzz_target;
use omnimind_fuzz::with_right_check_sums;

const ORIGIN: [u8; 32] = [7; 32];
const DIMENSIONS: [usize; 2] = [3, 8];

/// A folder to work in, and the bytes of a snapshot with a graph and with everything else there can be.
static VALID: LazyLock<(tempfile::TempDir, Vec<u8>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("index");
    write_valid(&dir).expect("a valid snapshot");
    let snapshot = fs::read(dir.join("snapshot")).expect("its bytes");
    (folder, snapshot)
});

fuzz_target!(|bytes: &[u8]| {
    let (folder, valid) = &*VALID;
    let snapshot = match bytes.split_first() {
        Some((0, changes)) => changed(valid, changes),
        _ => bytes.to_vec(),
    };
    let dir = folder.path().join("index");
    for snapshot in [with_right_check_sums(&snapshot), snapshot] {
        // Not over the one that is there: whoever has that open goes on reading it.
        fs::write(folder.path().join("new"), snapshot).expect("writing a file");
        fs::rename(folder.path().join("new"), dir.join("snapshot")).expect("putting it in its place");
        if let Ok((index, opening)) = ActivationIndex::open(&dir, ORIGIN, IndexConfig::default()) {
            assert!(matches!(opening, Opening::Snapshot) || index.is_empty(), "a file of no use is used");
            let _ = look(index);
        }
    }
});

fn changed(valid: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut snapshot = valid.to_vec();
    for change in changes.as_chunks::<4>().0 {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % snapshot.len();
        match change[2] % 4 {
            0 => snapshot[at] = change[3],
            1 => snapshot[at] ^= 1 << (change[3] % 8),
            2 => snapshot[at..].iter_mut().take(4).for_each(|byte| *byte = change[3]),
            _ => snapshot.truncate(at.max(1)),
        }
    }
    snapshot
}

/// Whatever the index says is wrong or right by chance; it only has to say it.
fn look(mut index: ActivationIndex) -> Result<(), IndexError> {
    let _ = index.verify();
    let stats = index.stats();
    assert!(stats.memories == index.len());
    let filters = [
        QueryFilter::default(),
        QueryFilter { context: Some("trainer".into()), ..QueryFilter::default() },
        QueryFilter { recallable: Some(false), kind: Some("model".into()), context: None },
    ];
    for dimension in DIMENSIONS {
        let query: Vec<f32> = (0..dimension).map(|at| 1.0 + at as f32).collect();
        for effort in [Effort::Calibrated, Effort::Width(8), Effort::Exact] {
            for filter in &filters {
                if let Ok(found) = index.nearest_with(&query, 5, filter, effort) {
                    assert!(found.len() <= 5);
                }
            }
        }
        let _ = index.deja_vu("trainer", &query, 3, SystemTime::UNIX_EPOCH);
    }
    let ids: Vec<_> = index.ids().copied().take(100).collect();
    for id in &ids {
        let _ = index.contexts_of(id).map(Iterator::count);
        let _ = index.may_recall("trainer", id);
    }
    let _ = index.by_context("trainer").count();
    index.insert(Entry {
        signature: Some(vec![1.0, 0.0, 2.0]),
        ..Entry::new([9; 32], "new", SystemTime::UNIX_EPOCH)
    })?;
    for id in ids.iter().take(3) {
        index.remove(id);
    }
    index.compact(
        &CompactOptions::default().with_graph_from(16).with_threads(std::num::NonZero::<usize>::MIN),
    )?;
    index.verify()
}

fn write_valid(dir: &Path) -> Result<(), IndexError> {
    let config = IndexConfig { metric: Metric::Cosine, ..IndexConfig::default() };
    let (mut index, _) = ActivationIndex::open(dir, ORIGIN, config)?;
    for number in 0..48_u8 {
        let dimension = DIMENSIONS[usize::from(number % 2)];
        let signature = (0..dimension).map(|at| f32::from(number.wrapping_mul(at as u8 * 31 + 7)) - 100.5);
        index.insert(Entry {
            recallable: !number.is_multiple_of(9),
            contexts: if number.is_multiple_of(3) {
                vec!["trainer".into(), "b".into()]
            } else {
                vec!["a".into()]
            },
            signature: (!number.is_multiple_of(9)).then(|| signature.collect()),
            ..Entry::new([number; 32], if number < 30 { "model" } else { "other" }, SystemTime::UNIX_EPOCH)
        })?;
    }
    index.set_position(48);
    index.compact(&CompactOptions::default().with_graph_from(16)).map(drop)
}
