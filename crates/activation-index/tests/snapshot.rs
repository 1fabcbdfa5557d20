//! R27: an index that is kept in a directory. It is as it was when it is opened again, whatever happened meanwhile, or says
//! that it is not.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use activation_index::{
    ActivationIndex, CompactOptions, Effort, Entry, IndexConfig, IndexError, MemoryId, Metric, Opening,
    QueryFilter,
};
use proptest::prelude::*;

const ORIGIN: [u8; 32] = [9; 32];
const ALL: QueryFilter = QueryFilter { context: None, recallable: None, kind: None };

fn options() -> CompactOptions {
    CompactOptions::default().with_graph_from(20)
}

fn open(dir: &Path) -> (ActivationIndex, Opening) {
    ActivationIndex::open(dir, ORIGIN, IndexConfig::default()).expect("the directory can be made")
}

fn id(n: u32) -> MemoryId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&n.to_be_bytes());
    id
}

fn vector(n: u32) -> Vec<f32> {
    (0..12).map(|i| (n.wrapping_mul(2_654_435_761).rotate_left(i * 5) % 1000) as f32 - 499.5).collect()
}

fn entry(n: u32) -> Entry {
    Entry {
        recallable: !n.is_multiple_of(9),
        contexts: vec![format!("context {}", n % 5), "everyone".into()],
        signature: (!n.is_multiple_of(9)).then(|| vector(n)),
        ..Entry::new(id(n), if n.is_multiple_of(2) { "model" } else { "cache" }, time(n))
    }
}

/// Before and after 1970, with and without a fraction of a second.
fn time(n: u32) -> SystemTime {
    let away = Duration::from_millis(u64::from(n) * 1_250);
    if n.is_multiple_of(3) { SystemTime::UNIX_EPOCH - away } else { SystemTime::UNIX_EPOCH + away }
}

fn filled(dir: &Path, entries: u32) -> ActivationIndex {
    let (mut index, _) = open(dir);
    for n in 0..entries {
        index.insert(entry(n)).expect("a valid entry");
    }
    index
}

/// Everything that an index says, in a form that can be compared.
fn everything(index: &ActivationIndex) -> Vec<String> {
    let mut all: Vec<_> = index.ids().copied().collect();
    all.sort_unstable();
    let mut said = Vec::new();
    for id in &all {
        let contexts: Vec<_> = index.contexts_of(id).expect("it is known").collect();
        let standing = index.may_recall("context 1", id).expect("it is known");
        said.push(format!("{id:?} {contexts:?} {standing:?}"));
    }
    let mut everyone: Vec<_> = index.by_context("everyone").collect();
    everyone.sort_unstable();
    said.push(format!("{everyone:?}"));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for n in 0..30 {
        said.push(format!(
            "{:?}",
            index.deja_vu("context 2", &vector(n * 7), 5, now).expect("a valid query")
        ));
    }
    said
}

#[test]
fn an_index_that_is_opened_again_answers_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 300);
    let before = everything(&index);
    index.set_position(42);
    index.compact(&options()).unwrap();
    assert_eq!(everything(&index), before, "compacting changes no answer");

    let (again, opening) = open(dir.path());
    assert_eq!((opening, again.position()), (Opening::Snapshot, 42));
    assert_eq!(everything(&again), before);
    let (stats, now) = (index.stats(), again.stats());
    assert_eq!(stats, now);
    assert_eq!((now.memories, now.fresh, now.contexts, now.activation_traces), (300, 0, 6, 600));
}

#[test]
fn what_was_not_compacted_is_not_in_the_snapshot_and_its_position_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 50);
    index.set_position(50);
    index.compact(&options()).unwrap();
    index.insert(entry(50)).unwrap();
    index.remove(&id(0));
    index.set_position(52);
    let (again, _) = open(dir.path());
    assert_eq!((again.len(), again.position()), (50, 50));
    assert!(again.contains(&id(0)) && !again.contains(&id(50)));
}

#[test]
fn another_process_goes_on_with_its_snapshot_and_sees_that_there_is_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = filled(dir.path(), 200);
    writer.compact(&options()).unwrap();
    let (reader, _) = open(dir.path());
    let before = everything(&reader);
    assert!(!reader.is_outdated());
    thread::scope(|scope| {
        // Searches while the snapshot beneath is replaced again and again.
        let searches = scope.spawn(|| (0..200).all(|_| reader.nearest(&vector(1), 3, &ALL).is_ok()));
        for n in 200..210 {
            writer.insert(entry(n)).unwrap();
            writer.set_position(u64::from(n));
            writer.compact(&options()).unwrap();
        }
        assert!(searches.join().unwrap());
    });
    assert_eq!(everything(&reader), before);
    assert!(reader.is_outdated() && !writer.is_outdated());
    assert_eq!(open(dir.path()).0.len(), 210);

    // Who is behind does not undo what another has done.
    let mut behind = reader;
    let refused = behind.compact(&options());
    assert!(matches!(refused, Err(IndexError::Superseded { .. })), "{refused:?}");
    assert_eq!(open(dir.path()).0.len(), 210);
}

#[test]
fn two_do_not_compact_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 30);
    let lock = fs::File::create(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let refused = index.compact(&options());
    assert!(matches!(refused, Err(IndexError::Compacting { .. })), "{refused:?}");
    assert_eq!(index.len(), 30);
    drop(lock);
    assert!(index.compact(&options()).is_ok());
}

#[test]
fn a_snapshot_that_is_of_no_use_is_said_to_be_so_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100).compact(&options()).unwrap();
    let snapshot = dir.path().join("snapshot");
    let whole = fs::read(&snapshot).unwrap();
    let reason = |origin, config| match ActivationIndex::open(dir.path(), origin, config).unwrap() {
        (index, Opening::Unusable { reason }) => {
            assert!(index.is_empty() && index.is_compaction_due());
            reason
        }
        (_, other) => panic!("{other:?}"),
    };
    let config = IndexConfig::default();
    assert_eq!(reason([8; 32], config), "it was made of something else");
    let inner = IndexConfig { metric: Metric::InnerProduct, ..config };
    assert_eq!(reason(ORIGIN, inner), "it was made for cosine, and inner_product is configured");
    for (bytes, expected) in [
        (&b""[..], "it is empty"),
        (&whole[..100], "it has 100 bytes, fewer than a header"),
        (&whole[..whole.len() - 1], "bytes instead of"),
        (&[7; 1000][..], "it is not a snapshot of an index"),
    ] {
        fs::write(&snapshot, bytes).unwrap();
        assert!(reason(ORIGIN, config).contains(expected), "{}", reason(ORIGIN, config));
    }
    let mut newer = whole.clone();
    newer[8] = 200;
    fs::write(&snapshot, newer).unwrap();
    assert_eq!(reason(ORIGIN, config), "it has format 200, and this version reads 1");

    filled(dir.path(), 100).compact(&options()).unwrap();
    assert_eq!(open(dir.path()).1, Opening::Snapshot);
}

#[test]
fn an_index_that_cannot_be_written_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 40);
    index.compact(&options()).unwrap();
    index.insert(entry(40)).unwrap();
    let before = everything(&index);
    // A directory where the new snapshot is to be written.
    fs::create_dir(dir.path().join("snapshot.new")).unwrap();
    let refused = index.compact(&options()).unwrap_err();
    assert!(refused.to_string().contains("snapshot.new"), "{refused}");
    assert_eq!(everything(&index), before);
    assert_eq!(open(dir.path()).0.len(), 40);
}

#[test]
fn damage_is_not_compacted_into_a_file_whose_check_sums_fit() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 60).compact(&options()).unwrap();
    let snapshot = dir.path().join("snapshot");
    let whole = fs::read(&snapshot).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&snapshot, bytes).unwrap();
        if let (mut index, Opening::Snapshot) = open(dir.path()) {
            let is_whole = index.verify().is_ok();
            assert_eq!(index.compact(&options()).is_ok(), is_whole, "byte {at}");
            refused += usize::from(!is_whole);
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn what_a_killed_writer_left_is_of_no_consequence() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 40).compact(&options()).unwrap();
    fs::write(dir.path().join("snapshot.new"), vec![3; 100_000]).unwrap();
    let (mut index, opening) = open(dir.path());
    assert_eq!((opening, index.len()), (Opening::Snapshot, 40));
    index.compact(&options()).unwrap();
    assert!(!dir.path().join("snapshot.new").exists());
}

proptest! {
    /// Bits that flip anywhere: the index says that it is of no use, or an answer fails, or the answer is made of whole rows.
    #[test]
    fn damage_is_found_or_harmless_and_nothing_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..20),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 60).compact(&options()).unwrap();
        let snapshot = dir.path().join("snapshot");
        let mut bytes = fs::read(&snapshot).unwrap();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&snapshot, bytes).unwrap();
        let (mut index, _) = open(dir.path());
        for effort in [Effort::Calibrated, Effort::Width(16), Effort::Exact] {
            match index.nearest_with(&vector(5), 10, &ALL, effort) {
                Ok(found) => for neighbour in found {
                    let n = u32::from_be_bytes([neighbour.id[0], neighbour.id[1], neighbour.id[2], neighbour.id[3]]);
                    let mut scan = ActivationIndex::new(IndexConfig::default()).unwrap();
                    scan.insert(entry(n)).unwrap();
                    prop_assert_eq!(scan.nearest(&vector(5), 1, &ALL).unwrap()[0], neighbour);
                },
                Err(error) => prop_assert!(matches!(error, IndexError::SnapshotDamaged { .. }), "{}", error),
            }
        }
        // What is made of it next is whole, or refused.
        for n in 0..60 {
            index.insert(entry(n)).unwrap();
        }
        let _ = index.stats();
        if index.compact(&options()).is_ok() {
            let (again, opening) = open(dir.path());
            prop_assert_eq!(opening, Opening::Snapshot);
            prop_assert!(again.verify().is_ok());
        }
    }

    /// Damage behind check sums that fit: whoever writes such a file may make it answer nonsense, but nothing else.
    #[test]
    fn a_snapshot_that_lies_makes_nothing_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 60).compact(&options()).unwrap();
        let snapshot = dir.path().join("snapshot");
        let mut bytes = fs::read(&snapshot).unwrap();
        forge(&mut bytes, |sections| {
            for (at, number) in changes {
                let section = &mut sections[at.index(1_000_003) % 27];
                if section.len() >= 4 {
                    let at = (at.index(section.len()) / 4 * 4).min(section.len() - 4);
                    let number = if number % 3 == 0 { number % 100 } else { number };
                    section[at..at + 4].copy_from_slice(&number.to_le_bytes());
                }
            }
        });
        fs::write(&snapshot, bytes).unwrap();
        let (mut index, _) = open(dir.path());
        for effort in [Effort::Calibrated, Effort::Width(16), Effort::Exact] {
            let _ = index.nearest_with(&vector(5), 10, &ALL, effort);
            for n in 0..5 {
                let filter = QueryFilter {
                    context: Some(format!("context {n}")),
                    kind: Some("model".into()),
                    recallable: Some(true),
                };
                let _ = index.nearest_with(&vector(5), 10, &filter, effort);
            }
        }
        let _ = (index.verify(), index.stats(), index.by_context("everyone").count());
        for n in 0..60 {
            let _ = index.contexts_of(&id(n)).map(Iterator::count);
            let _ = index.deja_vu("everyone", &vector(n), 3, SystemTime::UNIX_EPOCH);
        }
        index.insert(entry(61)).unwrap();
        let _ = index.add_trace(&id(3), "a new one");
        index.remove(&id(4));
        let _ = index.compact(&options());
    }
}

/// Changes what is in the sections of a snapshot, and sets all check sums right; as `docs/src/index-format.md` has it.
fn forge(bytes: &mut [u8], change: impl FnOnce(&mut [Vec<u8>])) {
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let (table, count) = (number(bytes, 64) as usize, number(bytes, 72) as usize);
    let places: Vec<_> = (0..count)
        .map(|n| (number(bytes, table + n * 32 + 8) as usize, number(bytes, table + n * 32 + 16) as usize))
        .collect();
    let mut sections: Vec<_> = places.iter().map(|&(at, len)| bytes[at..at + len].to_vec()).collect();
    change(&mut sections);
    for (n, ((at, len), section)) in places.into_iter().zip(sections).enumerate() {
        bytes[at..at + len].copy_from_slice(&section);
        let check = xxhash_rust::xxh3::xxh3_64(&section);
        bytes[table + n * 32 + 24..][..8].copy_from_slice(&check.to_le_bytes());
    }
    let check = xxhash_rust::xxh3::xxh3_64(&bytes[table..]);
    bytes[88..96].copy_from_slice(&check.to_le_bytes());
    let check = xxhash_rust::xxh3::xxh3_64(&bytes[..120]);
    bytes[120..128].copy_from_slice(&check.to_le_bytes());
}
