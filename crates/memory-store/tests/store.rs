//! What a store does when nothing goes wrong.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]

mod common;

use common::{contents, describe, files_in, get, hash, path_of, put};
use memory_store::{Change, ContentHash, Error, Filter, NewMemory, ObjectRef, Store, Via};
use proptest::prelude::*;
use std::io::{Read, Seek, SeekFrom, Write};

fn store() -> (tempfile::TempDir, Store) {
    let dir = common::scratch();
    let store = Store::open(dir.path().join("new/store")).unwrap();
    (dir, store)
}

// R5, R6
#[test]
fn a_memory_comes_back_with_everything_that_was_said_of_it() {
    let (_dir, store) = store();
    let mut batch = store.begin().unwrap();
    let mut writer = batch.object().unwrap();
    writer.write_all(b"abc").unwrap();
    let object = writer.finish().unwrap();
    let mut new = describe(1, "test_a", &[object]);
    new.metadata.insert("gpu".into(), serde_json::json!({"name": "é", "n": [1, 2.5, null]}));
    new.signature = Some(vec![0.5, -1.25e-30, f32::MAX]);
    new.sealed = Some(object);
    (new.trauma_score, new.max_abs_error, new.rel_l2_error) = (0.7, 1e-300, 0.1 + 0.2);
    new.tensors[0].shape = vec![];
    new.tensors[0].max_abs_error = 5e-324;
    batch.memory(new.clone()).unwrap();
    assert!(store.list(&Filter::default()).unwrap().is_empty(), "invisible until it is committed");
    let committed = batch.commit().unwrap()[0];
    assert!(committed.new && !committed.healed);

    let memory = store.manifest(&hash(1)).unwrap();
    assert_eq!(memory.metadata, new.metadata);
    assert_eq!(memory.signature, new.signature);
    assert_eq!(memory.sealed, new.sealed);
    assert_eq!(memory.tensors[0].shape, Vec::<u64>::new());
    assert!(memory.tensors[0].max_abs_error.to_bits() == 1);
    assert!(memory.summary.rel_l2_error.to_bits() == (0.1f64 + 0.2).to_bits());
    assert_eq!((memory.summary.original_bytes, memory.summary.stored_bytes), (12, 3));
    assert!((memory.summary.ratio - 0.25).abs() < 1e-12);
    assert_eq!(memory.traces.len(), 1);
    assert_eq!((memory.traces[0].context.as_str(), memory.traces[0].via), ("test_a", Via::Consolidated));
    assert_eq!(contents(&store, &memory).unwrap(), [b"abc"]);
    assert_eq!(store.list(&Filter::default()).unwrap(), std::slice::from_ref(&memory.summary));
    let json = serde_json::to_value(&memory).unwrap();
    assert_eq!(json["type"], "model");
    assert_eq!(json["content_hash"], hash(1).to_string());
}

// R5
#[test]
fn the_same_content_twice_is_stored_once_and_both_contexts_are_in_the_trace() {
    let (dir, store) = store();
    assert!(put(&store, 1, "a", &[b"x".into(), b"shared".into()]).unwrap().new);
    assert!(!put(&store, 1, "b", &[b"x".into(), b"shared".into()]).unwrap().new);
    put(&store, 2, "a", &[b"y".into(), b"shared".into(), b"shared".into()]).unwrap();
    assert_eq!(files_in(&dir.path().join("new/store/objects")).len(), 3);
    assert_eq!(store.list(&Filter::default()).unwrap().len(), 2);
    let contexts: Vec<_> = store.traces(&hash(1)).unwrap().into_iter().map(|t| t.context).collect();
    assert_eq!(contexts, ["a", "b"]);
    assert!(files_in(&dir.path().join("new/store/tmp")).is_empty());
    assert_eq!(get(&store, 2), [b"y".to_vec(), b"shared".to_vec(), b"shared".to_vec()]);

    store.forget(&hash(1)).unwrap();
    let report = store.gc().unwrap();
    assert_eq!((report.removed_objects, report.removed_bytes, report.kept_objects), (1, 1, 2));
    assert_eq!(get(&store, 2)[1], b"shared");
}

// R7
#[test]
fn an_unknown_memory_is_an_error_for_every_question() {
    let (_dir, store) = store();
    let unknown = |error| matches!(error, Error::UnknownMemory(h) if h == hash(9));
    assert!(unknown(store.manifest(&hash(9)).unwrap_err()));
    assert!(unknown(store.traces(&hash(9)).unwrap_err()));
    assert!(unknown(store.record_trace(&hash(9), "c").unwrap_err()));
    assert!(unknown(store.forget(&hash(9)).unwrap_err()));
    let object = ObjectRef { hash: hash(9), bytes: 1 };
    let error = store.read_object(&object).unwrap_err();
    assert!(matches!(error, Error::ObjectUnknown { .. }) && error.is_not_found());
}

// R8
#[test]
fn statistics_count_shared_objects_once_and_what_was_freed_once() {
    let (_dir, store) = store();
    let first = put(&store, 1, "a", &[vec![1; 100], vec![2; 50]]).unwrap();
    let second = put(&store, 1, "b", &[vec![1; 100], vec![2; 50]]).unwrap();
    let mut batch = store.begin().unwrap();
    let mut writer = batch.object().unwrap();
    writer.write_all(&[1; 100]).unwrap();
    let object = writer.finish().unwrap();
    let mut sealed = NewMemory::new(hash(2), "unconscious".parse().unwrap(), "model", "a");
    (sealed.sealed, sealed.original_bytes) = (Some(object), 1000);
    batch.memory(sealed).unwrap();
    batch.commit().unwrap();
    for _ in 0..2 {
        store.record_freed(&first, 600).unwrap();
        store.record_freed(&second, 400).unwrap();
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.total_consolidated, stats.consolidations, stats.objects), (2, 3, 2));
    assert_eq!((stats.total_original_bytes, stats.total_compressed_bytes), (1600, 150));
    assert_eq!((stats.freed_bytes, stats.activation_traces, stats.damaged), (1000, 3, 0));
    assert!((stats.average_compression - 150.0 / 1600.0).abs() < 1e-12);
    let sealed = &stats.layers[&"unconscious".parse().unwrap()];
    assert_eq!((sealed.total_consolidated, sealed.total_compressed_bytes), (1, 100));
    store.forget(&hash(1)).unwrap();
    let after = store.stats().unwrap();
    assert_eq!((after.total_consolidated, after.freed_bytes, after.total_compressed_bytes), (1, 1000, 100));
    assert_eq!(serde_json::to_value(&after).unwrap()["layers"]["unconscious"]["total_consolidated"], 1);
    let mb = f64::from(1 << 20);
    assert!((after.total_original_mb * mb - 1000.0).abs() < 1e-6);
}

#[test]
fn a_filter_lists_what_passes_all_of_its_conditions_newest_first() {
    let (_dir, store) = store();
    for n in 0..4 {
        put(&store, n, if n % 2 == 0 { "even" } else { "odd" }, &[vec![n as u8]]).unwrap();
    }
    store.record_trace(&hash(1), "even").unwrap();
    let list = |filter: &Filter| -> Vec<_> {
        store
            .list(filter)
            .unwrap()
            .into_iter()
            .map(|m| (0..4).position(|n| hash(n) == m.content_hash).unwrap())
            .collect()
    };
    assert_eq!(list(&Filter::default()), [3, 2, 1, 0]);
    assert_eq!(list(&Filter { limit: Some(2), ..Filter::default() }), [3, 2]);
    assert_eq!(list(&Filter { context: Some("even".into()), ..Filter::default() }), [2, 1, 0]);
    assert_eq!(
        list(&Filter { layer: Some("unconscious".parse().unwrap()), ..Filter::default() }),
        [0usize; 0]
    );
    assert_eq!(list(&Filter { kind: Some("model".into()), limit: Some(1), ..Filter::default() }), [3]);
    assert_eq!(list(&Filter { min_trauma: Some(0.1), ..Filter::default() }), [0usize; 0]);
    assert_eq!(list(&Filter { until: Some(1), ..Filter::default() }), [0usize; 0]);
    assert_eq!(list(&Filter { since: Some(1), until: Some(u64::MAX), ..Filter::default() }).len(), 4);
}

#[test]
fn a_prefix_finds_its_memory_or_says_what_it_could_mean() {
    let (_dir, store) = store();
    let near = |last: u8| {
        let mut bytes = [0xab; 32];
        bytes[31] = last;
        ContentHash::from_bytes(bytes)
    };
    for last in 0..12 {
        let mut batch = store.begin().unwrap();
        batch.memory(NewMemory::new(near(last), "preconscious".parse().unwrap(), "k", "c")).unwrap();
        batch.commit().unwrap();
    }
    put(&store, 1, "c", &[]).unwrap();
    let full = hash(1).to_string();
    for digits in [4, 5, 20, 63, 64] {
        assert_eq!(store.resolve_prefix(&full[..digits]).unwrap(), hash(1));
        assert_eq!(store.resolve_prefix(&full[..digits].to_uppercase()).unwrap(), hash(1));
    }
    match store.resolve_prefix("abab").unwrap_err() {
        Error::AmbiguousPrefix { candidates, more, .. } => {
            assert_eq!(candidates, (0..8).map(near).collect::<Vec<_>>());
            assert!(more);
        }
        other => panic!("{other}"),
    }
    assert_eq!(store.resolve_prefix(&near(7).to_string()).unwrap(), near(7));
    match store.resolve_prefix("abcd").unwrap_err() {
        Error::UnknownPrefix { near: found, .. } => assert_eq!(found, [near(0), near(1), near(2)]),
        other => panic!("{other}"),
    }
    for bad in ["", "abc", "hello", &format!("{full}0")] {
        assert!(matches!(store.resolve_prefix(bad), Err(Error::InvalidHash { .. })), "{bad:?}");
    }
}

// R10
#[test]
fn another_process_can_follow_every_change() {
    let (dir, store) = store();
    let other = Store::open(dir.path().join("new/store")).unwrap();
    let (changes, seq) = other.changes_since(0).unwrap();
    assert!(changes.is_empty());
    put(&store, 1, "a", &[b"1".into()]).unwrap();
    put(&store, 2, "a", &[b"2".into()]).unwrap();
    let (changes, seq) = other.changes_since(seq).unwrap();
    assert!(matches!(&changes[..], [Change::Added { memory, traces, .. }, Change::Added { .. }]
        if memory.content_hash == hash(1) && traces.len() == 1));
    assert!(store.record_trace(&hash(1), "b").unwrap());
    assert!(!store.record_trace(&hash(1), "b").unwrap());
    store.forget(&hash(2)).unwrap();
    let (changes, last) = other.changes_since(seq).unwrap();
    assert!(matches!(&changes[..], [Change::Traced { content_hash, trace }, Change::Forgotten { .. }]
        if *content_hash == hash(1) && trace.context == "b" && trace.via == Via::Reactivated));
    assert_eq!(other.changes_since(last).unwrap(), (vec![], last));
    // Ahead of the store, as after it was replaced by an older copy: start afresh.
    let (changes, _) = other.changes_since(last + 1000).unwrap();
    assert!(matches!(&changes[..], [Change::Reset, Change::Added { traces, .. }] if traces.len() == 2));
}

#[test]
fn an_object_that_nobody_has_is_refused_and_one_that_the_store_has_may_be_referred_to() {
    let (_dir, store) = store();
    put(&store, 1, "a", &[b"there".into()]).unwrap();
    let there = store.manifest(&hash(1)).unwrap().tensors[0].object;
    let mut batch = store.begin().unwrap();
    batch.memory(describe(2, "a", &[there])).unwrap();
    assert!(batch.commit().unwrap()[0].new);
    let mut batch = store.begin().unwrap();
    batch.memory(describe(3, "a", &[there, ObjectRef { hash: hash(3), bytes: 5 }])).unwrap();
    assert!(matches!(batch.commit(), Err(Error::ObjectMissing { object, .. }) if object == hash(3)));
    let mut batch = store.begin().unwrap();
    batch.memory(describe(3, "a", &[ObjectRef { bytes: 6, ..there }])).unwrap();
    assert!(matches!(batch.commit(), Err(Error::ObjectDamaged { .. })));
    assert!(store.manifest(&hash(3)).is_err());
}

#[test]
fn what_could_not_be_given_back_as_it_is_is_refused() {
    let (_dir, store) = store();
    let mut batch = store.begin().unwrap();
    let object = batch.object().unwrap().finish().unwrap();
    let good = describe(1, "c", &[object, object]);
    let mut refuse = |what: &str, change: &dyn Fn(&mut NewMemory)| {
        let mut bad = good.clone();
        change(&mut bad);
        let error = batch.memory(bad).unwrap_err();
        assert!(
            matches!(error, Error::InvalidMemory { .. }) && error.to_string().contains(what),
            "{what}: {error}"
        );
    };
    refuse("context", &|m| m.context.clear());
    refuse("kind", &|m| m.kind = "x".repeat(257));
    refuse("trauma score", &|m| m.trauma_score = 1.5);
    refuse("rel_l2_error", &|m| m.rel_l2_error = f64::NAN);
    refuse("max_abs_error", &|m| m.tensors[1].max_abs_error = f64::INFINITY);
    refuse("original_bytes", &|m| m.original_bytes = u64::MAX);
    refuse("signature", &|m| m.signature = Some(vec![1.0, f32::NAN]));
    refuse("signature", &|m| m.signature = Some(vec![]));
    refuse("metadata", &|m| _ = m.metadata.insert("x".into(), "y".repeat(1 << 20).into()));
    refuse("twice", &|m| m.tensors[1].name = "t0".into());
    refuse("shape", &|m| m.tensors[0].shape = vec![1 << 63]);
    assert!("Layer".parse::<memory_store::LayerName>().is_err());
    batch.memory(good).unwrap();
    batch.commit().unwrap();
}

#[test]
fn a_batch_that_is_dropped_leaves_nothing_behind() {
    let (dir, store) = store();
    let batch = store.begin().unwrap();
    let mut writer = batch.object().unwrap();
    writer.write_all(&vec![7; 3 << 20]).unwrap();
    writer.finish().unwrap();
    let mut unfinished = batch.object().unwrap();
    unfinished.write_all(&vec![8; 2 << 20]).unwrap();
    drop(unfinished);
    assert_eq!(files_in(&dir.path().join("new/store/tmp")).len(), 2, "the object and the lock");
    drop(batch);
    assert_eq!(std::fs::read_dir(dir.path().join("new/store/tmp")).unwrap().count(), 0);
    assert!(files_in(&dir.path().join("new/store/objects")).is_empty());
}

#[test]
fn threads_write_objects_of_one_batch_at_once() {
    let (_dir, store) = store();
    let mut batch = store.begin().unwrap();
    let contents: Vec<_> = (0..300u32).map(|n| n.to_le_bytes().repeat(1000)).collect();
    let objects: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = contents
            .chunks(75)
            .map(|chunk| {
                let batch = &batch;
                scope.spawn(move || {
                    let write = |content: &Vec<u8>| {
                        let mut writer = batch.object().unwrap();
                        writer.write_all(content).unwrap();
                        writer.finish().unwrap()
                    };
                    chunk.iter().map(write).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    batch.memory(describe(1, "c", &objects)).unwrap();
    batch.commit().unwrap();
    assert_eq!(get(&store, 1), contents);
    assert!(store.verify(false).unwrap().is_clean());
}

#[test]
fn an_object_is_where_its_hash_says() {
    let (dir, store) = store();
    put(&store, 1, "a", &[b"findable".into()]).unwrap();
    assert_eq!(std::fs::read(path_of(&dir.path().join("new/store"), b"findable")).unwrap(), b"findable");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // Sizes on both sides of the writer's buffer, and writes that go back and leave holes.
    #[test]
    fn a_writer_that_seeks_stores_what_a_file_would_hold(
        writes in prop::collection::vec((0u64..1_500_000, 0usize..700_000, any::<u8>(), any::<bool>()), 1..8)
    ) {
        let (_dir, store) = store();
        let mut batch = store.begin().unwrap();
        let mut writer = batch.object().unwrap();
        let mut model = std::io::Cursor::new(Vec::new());
        for (at, length, byte, seek) in writes {
            if seek {
                writer.seek(SeekFrom::Start(at)).unwrap();
                model.seek(SeekFrom::Start(at)).unwrap();
            }
            writer.write_all(&vec![byte; length]).unwrap();
            model.write_all(&vec![byte; length]).unwrap();
        }
        let object = writer.finish().unwrap();
        let model = model.into_inner();
        prop_assert_eq!(object, ObjectRef { hash: ContentHash::of(&model), bytes: model.len() as u64 });
        batch.memory(describe(1, "c", &[object])).unwrap();
        batch.commit().unwrap();
        let mut read = Vec::new();
        store.read_object(&object).unwrap().read_to_end(&mut read).unwrap();
        prop_assert!(read == model);
    }
}
