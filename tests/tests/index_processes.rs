//! The index of several processes: searched while it is written, killed while it is compacted, told of what others forget
//! (R10, R25, R26).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use end_to_end::{Ledger, context, direction, hash_of, nearest_of, remember};
use omnimind_memory::{CompactOptions, Compaction, Consolidator, IndexConfig, Store};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// With a graph over few memories already, and nothing in the background.
fn consolidator(store: &Path, recall: f32) -> Consolidator {
    Consolidator::builder()
        .store(store)
        .index(IndexConfig { recall, ..IndexConfig::default() })
        .compaction(Compaction::OnRequest)
        .compact_options(CompactOptions::default().with_graph_from(64))
        .build()
        .unwrap()
}

fn snapshot(store: &Path) -> PathBuf {
    store.join("index/cosine/snapshot")
}

fn worker(arguments: &[&str]) -> Child {
    let mut command = Command::new(WORKER);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn four_processes_search_while_one_stores_forgets_and_compacts_and_every_answer_is_right() {
    const BATCH: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let (store_dir, ledger) = (dir.path().join("store"), dir.path().join("ledger"));
    let store = Store::open(&store_dir).unwrap();
    remember(&store, 0..400, "writer").unwrap();
    Ledger::write(&ledger, "stored", 0..400).unwrap();
    let searchers: Vec<Child> = (1..=4)
        .map(|seed: u64| {
            let paths = [&store_dir, &ledger].map(|path| path.to_str().unwrap());
            worker(&["searching", paths[0], paths[1], &seed.to_string()])
        })
        .collect();

    let writer = consolidator(&store_dir, 0.99);
    for round in 0..20 {
        let new = 400 + round * BATCH..400 + (round + 1) * BATCH;
        remember(&store, new.clone(), "writer").unwrap();
        Ledger::write(&ledger, "stored", new).unwrap();
        for n in [round * 17, round * 17 + 5, 400 + round * BATCH] {
            Ledger::write(&ledger, "forgetting", [n]).unwrap();
            store.forget(&hash_of(n)).unwrap();
            Ledger::write(&ledger, "forgotten", [n]).unwrap();
        }
        if round % 3 == 2 {
            writer.compact_index().unwrap();
        }
        thread::sleep(Duration::from_millis(40));
    }
    Ledger::write(&ledger, "over", [0]).unwrap();
    for searcher in searchers {
        let output = searcher.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let count: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        assert!(count > 20, "only {count} searches");
    }
    assert!(writer.verify_index().unwrap().is_clean());
}

#[test]
fn a_process_that_is_killed_while_it_compacts_leaves_an_index_that_answers_as_the_exact_scan_does() {
    const KILLS: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let store_dir = dir.path().join("store");
    let store = Store::open(&store_dir).unwrap();
    let mut alive: BTreeSet<u64> = (0..1500).collect();
    remember(&store, alive.iter().copied(), "a").unwrap();
    let whole = time_of_one_compaction(&store_dir);

    let mut left_behind = 0;
    for kill in 0..KILLS {
        let mut child = worker(&["compacting", store_dir.to_str().unwrap()]);
        // Once it has begun for sure, at another moment of its work each time.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        thread::sleep(whole.mul_f64((kill * 7 % KILLS) as f64 / KILLS as f64));
        child.kill().unwrap();
        child.wait().unwrap();
        left_behind += u64::from(store_dir.join("index/cosine/snapshot.new").exists());

        let (new, gone) = (1500 + kill * 3..1503 + kill * 3, [kill * 11, kill * 11 + 1]);
        remember(&store, new.clone(), "a").unwrap();
        alive.extend(new);
        for n in gone {
            store.forget(&hash_of(n)).unwrap();
            alive.remove(&n);
        }
        answers_as_a_scan(&store_dir, &alive, kill);
    }
    println!("{left_behind} of {KILLS} kills left a snapshot half written; one compaction took {whole:?}");

    // Whatever was being written is never read, and makes way for the next.
    fs::write(store_dir.join("index/cosine/snapshot.new"), b"half of something").unwrap();
    answers_as_a_scan(&store_dir, &alive, KILLS);
    let last = consolidator(&store_dir, 0.99);
    last.compact_index().unwrap();
    assert!(!store_dir.join("index/cosine/snapshot.new").exists());
    assert!(last.verify_index().unwrap().is_clean());
    answers_as_a_scan(&store_dir, &alive, KILLS + 1);
}

fn time_of_one_compaction(store: &Path) -> Duration {
    let mut child = worker(&["compacting", store.to_str().unwrap()]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let begun = Instant::now();
    lines.next().unwrap().unwrap();
    let took = begun.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

/// Opens the index anew, exact and by graph, and compares.
fn answers_as_a_scan(store: &Path, alive: &BTreeSet<u64>, round: u64) {
    const K: usize = 6;
    let (exact, by_graph) = (consolidator(store, 1.0), consolidator(store, 0.99));
    let me = context("a");
    for at in 0..8 {
        let n = *alive.iter().nth(((round * 8 + at) * 131) as usize % alive.len()).unwrap();
        let query = direction(n);
        let expected = nearest_of(alive, &query, K);
        let found = exact.deja_vu(&me, &query, K).unwrap();
        assert_eq!(found.len(), K);
        for (found, (hash, cosine)) in found.iter().zip(&expected) {
            assert!(
                found.content_hash == *hash && (f64::from(found.similarity) - cosine).abs() < 1e-5,
                "round {round}: {found:?} instead of {hash} {cosine}"
            );
        }
        let walked = by_graph.deja_vu(&me, &query, K).unwrap();
        assert_eq!(walked[0].content_hash, hash_of(n), "round {round}");
    }
    for opened in [&exact, &by_graph] {
        assert_eq!(opened.notices(), [], "round {round}: a whole snapshot was found");
        let stats = opened.index_stats().unwrap();
        assert!(stats.snapshot_bytes > 0 && stats.columns[0].graph.is_some());
    }
}

#[test]
fn what_another_process_forgets_is_not_found_from_then_on_and_its_space_returns_when_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    remember(&store, 0..600, "a").unwrap();
    let searcher = consolidator(dir.path(), 0.99);
    searcher.compact_index().unwrap();
    let first_is_itself = |n: u64| {
        let found = searcher.deja_vu(&context("a"), &direction(n), 1).unwrap();
        found[0].content_hash == hash_of(n)
    };
    let before = fs::metadata(snapshot(dir.path())).unwrap().len();
    for n in [7, 599] {
        assert!(first_is_itself(n));
        let output = worker(&["forgetting", dir.path().to_str().unwrap(), &n.to_string()]);
        assert!(output.wait_with_output().unwrap().status.success());
        assert!(!first_is_itself(n), "it takes effect at once");
    }
    assert_eq!(fs::metadata(snapshot(dir.path())).unwrap().len(), before);
    for n in (0..600).filter(|n| n % 2 == 0) {
        store.forget(&hash_of(n)).unwrap();
    }
    let report = searcher.compact_index().unwrap();
    assert_eq!((report.memories, report.dropped, report.bytes_before), (298, 302, before));
    let after = fs::metadata(snapshot(dir.path())).unwrap().len();
    assert!(report.bytes == after && after * 10 < before * 6, "{before} before, {after} after");
    assert!(first_is_itself(1) && !first_is_itself(2));
    let bytes = fs::read(snapshot(dir.path())).unwrap();
    let gone = hash_of(2);
    assert!(!bytes.windows(32).any(|window| window == gone.as_bytes()), "nothing of it is left on the disk");
}
