//! The index over time: opened again, compacted behind the searches, searched from many threads, narrowed by filters
//! (R25–R27).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use end_to_end::{FaultyCatalogue, context, direction, hash_of, nearest_of, remember};
use omnimind_memory::{Builder, CompactOptions, Compaction, Consolidator, Familiarity, QueryFilter, Store};

/// With a graph over few memories already.
fn builder(store: &Path) -> Builder {
    Consolidator::builder().store(store).compact_options(CompactOptions::default().with_graph_from(64))
}

fn by_hand(store: &Path) -> Consolidator {
    builder(store).compaction(Compaction::OnRequest).build().unwrap()
}

fn waits_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Answers to many questions, without what time changes.
fn answers(consolidator: &Consolidator, numbers: impl Iterator<Item = u64>) -> Vec<Familiarity> {
    let ask = |n| consolidator.deja_vu(&context("asker"), &direction(n), 7).unwrap();
    numbers.flat_map(ask).map(|found| Familiarity { age: Duration::ZERO, ..found }).collect()
}

#[test]
fn an_index_that_is_opened_again_answers_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    remember(&store, 0..900, "a").unwrap();
    let first = by_hand(dir.path());
    let scanned = answers(&first, (0..900).step_by(31));
    assert_eq!(answers(&by_hand(dir.path()), (0..900).step_by(31)), scanned, "from the store alone");
    first.compact_index().unwrap();
    remember(&store, 900..950, "b").unwrap();
    store.forget(&hash_of(31)).unwrap();
    store.record_trace(&hash_of(62), "asker").unwrap();
    let before = answers(&first, (0..950).step_by(31));
    let opened = by_hand(dir.path());
    assert_eq!(answers(&opened, (0..950).step_by(31)), before, "from the snapshot, and what came since");
    let in_trace = before.iter().filter(|found| found.in_trace).map(|found| found.content_hash);
    assert_eq!(in_trace.collect::<BTreeSet<_>>(), [hash_of(62)].into());
    // What another process compacted is taken over by those that are open.
    opened.compact_index().unwrap();
    assert_eq!(first.index_stats().unwrap().fresh, 0);
    for consolidator in [&first, &opened, &by_hand(dir.path())] {
        assert_eq!(answers(consolidator, (900..950).step_by(7)).len(), 8 * 7);
        assert_eq!(consolidator.notices(), []);
        assert!(consolidator.verify_index().unwrap().is_clean());
    }
}

#[test]
fn a_consolidator_that_lives_compacts_behind_its_searches_and_one_that_goes_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    remember(&store, 0..3000, "a").unwrap();
    let consolidator = builder(dir.path()).build().unwrap();
    let find = |n: u64| consolidator.deja_vu(&context("a"), &direction(n), 1).unwrap()[0].content_hash;
    assert_eq!(find(17), hash_of(17));
    waits_for("the first snapshot", || consolidator.index_stats().unwrap().snapshot_bytes > 0);
    let stats = consolidator.index_stats().unwrap();
    assert!(stats.fresh == 0 && stats.memories == 3000 && stats.columns[0].graph.is_some(), "{stats:?}");
    assert_eq!(find(2999), hash_of(2999));

    remember(&store, 3000..6000, "a").unwrap();
    assert_eq!(find(5999), hash_of(5999));
    let begun = Instant::now();
    drop(consolidator);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // What was begun goes on to its end, as this process does.
    waits_for("the second", || {
        let opened = by_hand(dir.path());
        opened.index_stats().unwrap().fresh == 0
    });
    assert!(by_hand(dir.path()).verify_index().unwrap().is_clean());
}

#[test]
fn many_threads_search_while_others_store_forget_and_compact() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    remember(&store, 0..500, "a").unwrap();
    let consolidator = by_hand(dir.path());
    let (stored, is_over) = (AtomicU64::new(500), AtomicBool::new(false));
    let searches = thread::scope(|scope| {
        let search = |seed: u64| {
            let (consolidator, stored, is_over) = (&consolidator, &stored, &is_over);
            move || {
                let mut searches = 0_u64;
                while !is_over.load(Ordering::Acquire) {
                    let n = (seed + searches * 37) % stored.load(Ordering::Acquire);
                    let found = consolidator.deja_vu(&context("a"), &direction(n), 3).unwrap();
                    // Every tenth is forgotten some time.
                    assert!(n.is_multiple_of(10) || found[0].content_hash == hash_of(n), "{n}: {found:?}");
                    searches += 1;
                }
                searches
            }
        };
        let searchers: Vec<_> = (0..4).map(|seed| scope.spawn(search(seed * 101))).collect();
        for round in 0..12 {
            let new = 500 + round * 30..530 + round * 30;
            remember(&store, new.clone(), "a").unwrap();
            stored.store(new.end, Ordering::Release);
            store.forget(&hash_of(round * 10)).unwrap();
            if round % 4 == 1 {
                consolidator.compact_index().unwrap();
            }
        }
        is_over.store(true, Ordering::Release);
        searchers.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(searches.iter().all(|&searches| searches > 10), "{searches:?}");
    assert!(consolidator.verify_index().unwrap().is_clean());
}

#[test]
fn filters_by_context_layer_and_type_find_the_nearest_of_what_they_admit() {
    // R26, R27
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    remember(&store, 0..1000, "a").unwrap();
    remember(&store, 1000..1020, "b").unwrap();
    let consolidator = by_hand(dir.path());
    let filter = QueryFilter::default();
    let cases = [
        (
            QueryFilter { context: Some("b".into()), ..filter.clone() },
            (1000..1020).collect::<BTreeSet<u64>>(),
        ),
        (QueryFilter { kind: Some("rare".into()), ..filter.clone() }, (0..1020).step_by(10).collect()),
        (
            QueryFilter { kind: Some("rare".into()), context: Some("b".into()), ..filter.clone() },
            [1000, 1010].into(),
        ),
        (QueryFilter { recallable: Some(true), ..filter.clone() }, (0..1020).collect()),
        (QueryFilter { recallable: Some(false), ..filter.clone() }, BTreeSet::new()),
        (QueryFilter { kind: Some("unheard of".into()), ..filter }, BTreeSet::new()),
    ];
    for compacted in [false, true] {
        for (filter, admitted) in &cases {
            for n in [3, 500, 1007] {
                let found = consolidator.deja_vu_among(filter, &context("x"), &direction(n), 5).unwrap();
                let found: Vec<_> = found.into_iter().map(|found| found.content_hash).collect();
                let expected = nearest_of(admitted, &direction(n), 5);
                let expected: Vec<_> = expected.into_iter().map(|(hash, _)| hash).collect();
                assert_eq!(found, expected, "{filter:?}, compacted: {compacted}, {n}");
            }
        }
        consolidator.compact_index().unwrap();
    }
}

#[test]
fn a_store_of_other_parts_has_its_index_in_memory_and_says_nothing_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let (objects, catalogue) = Store::parts(dir.path(), &memory_store::Options::default()).unwrap();
    let store = Store::over(Arc::new(objects), Arc::new(FaultyCatalogue::new(catalogue)));
    remember(&store, 0..300, "a").unwrap();
    let consolidator = Consolidator::builder()
        .over(store)
        .compact_options(CompactOptions::default().with_graph_from(64))
        .build()
        .unwrap();
    let before = answers(&consolidator, 0..20);
    assert_eq!(consolidator.index_dir(), None);
    let report = consolidator.compact_index().unwrap();
    assert_eq!(report.memories, 300);
    assert_eq!(answers(&consolidator, 0..20), before);
    assert!(consolidator.index_stats().unwrap().columns[0].graph.is_some());
    assert_eq!(consolidator.notices(), []);
    assert!(!dir.path().join("index").exists());
}
