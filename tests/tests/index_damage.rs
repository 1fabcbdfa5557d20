//! A snapshot that is not what was written: noticed or harmless, replaced without being asked, and said so (R11, R26).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use activation_index::{ActivationIndex, Entry};
use end_to_end::{context, direction, hash_of, nearest_of, remember};
use omnimind_memory::{CompactOptions, Compaction, Consolidator, Error, IndexConfig, Metric, Notice, Store};
use tempfile::TempDir;

const MEMORIES: u64 = 200;
const K: usize = 4;

fn consolidator(store: &Path, metric: Metric) -> Consolidator {
    Consolidator::builder()
        .store(store)
        .index(IndexConfig { metric, recall: 1.0, ..IndexConfig::default() })
        .compaction(Compaction::OnRequest)
        .compact_options(CompactOptions::default().with_graph_from(64))
        .build()
        .unwrap()
}

/// A store with a snapshot of its index.
struct Indexed {
    dir: TempDir,
    bytes: Vec<u8>,
}

impl Indexed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        remember(&Store::open(dir.path()).unwrap(), 0..MEMORIES, "a").unwrap();
        consolidator(dir.path(), Metric::Cosine).compact_index().unwrap();
        let bytes = fs::read(dir.path().join("index/cosine/snapshot")).unwrap();
        Self { dir, bytes }
    }

    fn snapshot(&self) -> PathBuf {
        self.dir.path().join("index/cosine/snapshot")
    }

    /// Puts another file in the place of the snapshot, as a whole: whoever has the old one open keeps it.
    fn replace(&self, bytes: &[u8]) {
        let beside = self.dir.path().join("beside");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.snapshot()).unwrap();
    }

    fn open(&self) -> Consolidator {
        consolidator(self.dir.path(), Metric::Cosine)
    }
}

/// Whether a consolidator finds what a scan in f64 finds. Similarities are never wrong, whatever is damaged.
fn answers_are_right(consolidator: &Consolidator) -> bool {
    let all: BTreeSet<u64> = (0..MEMORIES).collect();
    (0..MEMORIES).step_by(19).all(|n| {
        let query = direction(n);
        let found = consolidator.deja_vu(&context("a"), &query, K).unwrap();
        let everything = nearest_of(&all, &query, all.len());
        for found in &found {
            let (_, cosine) = everything.iter().find(|(hash, _)| *hash == found.content_hash).unwrap();
            assert!((f64::from(found.similarity) - cosine).abs() < 1e-5, "{found:?} is {cosine}");
        }
        found.iter().map(|found| found.content_hash).eq(everything.iter().take(K).map(|(hash, _)| *hash))
    })
}

fn was_rebuilt(consolidator: &Consolidator) -> bool {
    let notices = consolidator.notices();
    assert!(notices.iter().all(|notice| matches!(notice, Notice::Rebuilt { .. })), "{notices:?}");
    !notices.is_empty()
}

#[test]
fn a_flipped_byte_anywhere_is_noticed_or_harmless() {
    let indexed = Indexed::new();
    let (mut noticed_by, mut wrong) = ([0; 3], 0);
    for at in (0..indexed.bytes.len()).step_by(indexed.bytes.len() / 150) {
        let mut bytes = indexed.bytes.clone();
        bytes[at] ^= 0x40;
        indexed.replace(&bytes);
        let opened = indexed.open();
        let verified = opened.verify_index().unwrap();
        let right = answers_are_right(&opened);
        let rebuilt = was_rebuilt(&opened);
        assert!(right || !verified.is_clean(), "a flip at {at} of {} is not noticed", bytes.len());
        assert!(right || !rebuilt, "answers of an index that was rebuilt are right; flip at {at}");
        wrong += u32::from(!right);
        noticed_by[if rebuilt { 0 } else { usize::from(verified.is_clean()) + 1 }] += 1;

        opened.compact_index().unwrap();
        assert!(opened.verify_index().unwrap().is_clean(), "compacting takes no damage over; flip at {at}");
        assert!(answers_are_right(&opened) && answers_are_right(&indexed.open()));
    }
    let [search, verify, padding] = noticed_by;
    println!(
        "noticed by a search: {search}; by verify only: {verify}; in padding: {padding}; {wrong} missed a neighbour"
    );
    assert!(search > 30 && verify > 30 && padding < 10);
}

#[test]
fn a_snapshot_that_is_cut_short_empty_or_no_snapshot_at_all_is_replaced_and_that_is_said() {
    let indexed = Indexed::new();
    let whole = &indexed.bytes;
    let mut longer = whole.clone();
    longer.extend([0; 64]);
    let cuts = [1, 63, 64, 100, 1000, whole.len() / 2, whole.len() - 1];
    let mut wrong: Vec<Vec<u8>> = cuts.iter().map(|&len| whole[..len].to_vec()).collect();
    wrong.extend([Vec::new(), longer, vec![0; whole.len()], b"something else".repeat(1000)]);
    for (case, bytes) in wrong.iter().enumerate() {
        indexed.replace(bytes);
        let opened = indexed.open();
        let check = opened.verify_index().unwrap();
        assert!(check.damage.is_some() && !check.is_clean(), "case {case}");
        assert_eq!(fs::read(indexed.snapshot()).unwrap(), *bytes, "looking changes nothing; case {case}");
        assert!(answers_are_right(&opened) && was_rebuilt(&opened), "case {case}");
        assert!(!was_rebuilt(&opened), "said once; case {case}");
        assert!(opened.is_compaction_due(), "a useless snapshot is to be replaced; case {case}");
        opened.compact_index().unwrap();
        let next = indexed.open();
        assert!(next.verify_index().unwrap().is_clean() && answers_are_right(&next) && !was_rebuilt(&next));
    }
}

#[test]
fn the_snapshot_of_another_store_or_metric_is_not_used() {
    let indexed = Indexed::new();
    let other = tempfile::tempdir().unwrap();
    remember(&Store::open(other.path()).unwrap(), 0..MEMORIES + 50, "b").unwrap();
    for (metric, name) in [(Metric::Cosine, "cosine"), (Metric::InnerProduct, "inner_product")] {
        consolidator(other.path(), metric).compact_index().unwrap();
        indexed.replace(&fs::read(other.path().join("index").join(name).join("snapshot")).unwrap());
        let opened = indexed.open();
        assert!(answers_are_right(&opened) && was_rebuilt(&opened), "{name}");
        assert_eq!(opened.index_stats().unwrap().memories as u64, MEMORIES);
    }
    // Two metrics on one store do not get into each other's way.
    let products = consolidator(indexed.dir.path(), Metric::InnerProduct);
    indexed.open().compact_index().unwrap();
    products.compact_index().unwrap();
    for _ in 0..2 {
        let length: f32 = direction(5).iter().map(|x| x * x).sum();
        let found = products.deja_vu(&context("a"), &direction(5), MEMORIES as usize).unwrap();
        let itself = found.iter().find(|found| found.content_hash == hash_of(5)).unwrap();
        assert!((itself.similarity - length).abs() < 1e-3);
        assert!(answers_are_right(&indexed.open()));
        assert!(!products.is_compaction_due() && !was_rebuilt(&products));
    }
}

#[test]
fn damage_that_is_met_while_others_search_is_repaired_once_and_for_all() {
    let indexed = Indexed::new();
    // The last section holds exact rows, which are read when an answer is made of them.
    let mut bytes = indexed.bytes.clone();
    let exact_bytes = MEMORIES as usize * direction(0).len() * 4;
    let at = bytes.len() - bytes.len() / 50 - exact_bytes / 2;
    bytes[at..at + exact_bytes / 4].iter_mut().for_each(|byte| *byte ^= 1);
    indexed.replace(&bytes);
    let shared = indexed.open();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| answers_are_right(&shared))).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    });
    assert_eq!(shared.notices().len(), 1, "said once, however many met it");
}

#[test]
fn verify_finds_an_index_that_holds_something_else_than_the_store_and_rebuilding_mends_it() {
    let indexed = Indexed::new();
    let store = Store::open(indexed.dir.path()).unwrap();
    let dir = indexed.snapshot().parent().unwrap().to_owned();
    let config = IndexConfig { recall: 1.0, ..IndexConfig::default() };
    let (mut index, _) = ActivationIndex::open(&dir, store.identity().unwrap(), config).unwrap();
    let entry = |n: u64| {
        let stored_at = store.manifest(&hash_of(n)).map_or(0, |memory| memory.summary.stored_at);
        let kind = if n.is_multiple_of(10) { "rare" } else { "common" };
        Entry {
            contexts: vec!["a".into()],
            signature: Some(direction(n)),
            ..Entry::new(*hash_of(n).as_bytes(), kind, UNIX_EPOCH + Duration::from_millis(stored_at))
        }
    };
    index.insert(entry(1)).unwrap();
    index.remove(hash_of(2).as_bytes());
    index.insert(entry(9999)).unwrap();
    index.add_trace(hash_of(3).as_bytes(), "an intruder").unwrap();
    index.insert(Entry { signature: Some(direction(77)), ..entry(4) }).unwrap();
    index.insert(Entry { kind: "another".into(), ..entry(5) }).unwrap();
    index.compact(&CompactOptions::default()).unwrap();
    drop(index);

    let check = indexed.open().verify_index().unwrap();
    assert!(!check.is_clean() && check.damage.is_none());
    assert_eq!((check.memories as u64, check.different), (MEMORIES, 2));
    assert_eq!(check.missing, [hash_of(2)]);
    assert_eq!(check.unknown, [hash_of(9999)]);
    assert_eq!(check.other_traces, [hash_of(3)]);
    let opened = indexed.open();
    opened.rebuild_index().unwrap();
    assert!(opened.verify_index().unwrap().is_clean() && answers_are_right(&opened));
}

/// Everybody may write into the store, but nobody into the directory of its index.
#[test]
fn where_the_directory_of_the_index_cannot_be_written_searches_go_on_and_say_so_where_it_matters() {
    let indexed = Indexed::new();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for entry in walk(indexed.dir.path()) {
        set(&entry, if entry.is_dir() { 0o777 } else { 0o666 });
    }
    let kept = indexed.dir.path().join("index/cosine");
    set(&kept, 0o555);
    // To root nothing is forbidden, so another user asks.
    let is_root =
        fs::write(kept.join("probe"), b"").is_ok_and(|()| fs::remove_file(kept.join("probe")).is_ok());
    // Who may not reach where it was built.
    let place = tempfile::tempdir().unwrap();
    set(place.path(), 0o755);
    let program = place.path().join("worker");
    fs::copy(env!("CARGO_BIN_EXE_worker"), &program).unwrap();
    let ask = |n: u64| {
        let mut command = Command::new(&program);
        command.arg("asking").arg(indexed.dir.path()).arg(n.to_string());
        if is_root {
            command.uid(65534).gid(65534);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), hash_of(n).to_string());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(ask(3), "", "a snapshot that can be read is used");
    set(&kept, 0o777);
    fs::remove_dir_all(&kept).unwrap();
    set(&indexed.dir.path().join("index"), 0o555);
    assert!(ask(4).contains("made in memory"), "none can be made");
    fs::remove_dir_all(indexed.dir.path().join("index")).unwrap();
    fs::write(indexed.dir.path().join("index"), b"in the way").unwrap();
    assert!(ask(5).contains("made in memory"));
    let opened = indexed.open();
    assert!(answers_are_right(&opened));
    assert!(matches!(opened.notices()[..], [Notice::InMemory { .. }]));
    assert!(!opened.is_compaction_due());
    assert!(matches!(opened.compact_index(), Err(Error::IndexNotKept { .. })));
    assert!(opened.verify_index().unwrap().is_clean());
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
