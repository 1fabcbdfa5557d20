//! Several processes on one store: at once, killed, and out of space.
//!
//! The other processes are this test binary again, running the one test `child` with a task in its environment.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]

mod common;

use common::{contents, files_in, get, hash, put, scratch};
use memory_store::{Error, Filter, Store};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TASK: &str = "MEMORY_STORE_TEST_TASK";

fn command(program: Command, task: &str, number: u64, dir: &Path) -> Child {
    let mut command = program;
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(TASK, format!("{task} {number}"))
        .env("MEMORY_STORE_TEST_DIR", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn spawn(task: &str, number: u64, dir: &Path) -> Child {
    command(Command::new(std::env::current_exe().unwrap()), task, number, dir)
}

/// The numbers on the lines that begin with `word`. A line cut short by a kill counts for nothing.
fn said(child: &mut Child, word: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        if let Some(number) = line.strip_prefix(word).and_then(|rest| rest.strip_suffix('\n')) {
            numbers.push(number.trim().parse().unwrap());
        }
        line.clear();
    }
    numbers
}

fn content(n: u64) -> Vec<Vec<u8>> {
    (n..n + 3).map(|k| (k / 2).to_le_bytes().repeat(50 + k as usize % 900)).collect()
}

/// What the other processes do.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (task, number) = task.split_once(' ').unwrap();
    let number: u64 = number.parse().unwrap();
    let store = Store::open(std::env::var_os("MEMORY_STORE_TEST_DIR").unwrap()).unwrap();
    let context = format!("process {number}");
    let say = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what} {number}").unwrap();
        out.flush().unwrap();
    };
    println!();
    match task {
        "overlap" => {
            for i in 0..60 {
                // Half of the time all meet at the same memory, half of the time they come from all sides.
                let n = if i % 2 == 0 { i } else { (i + number * 14) % 60 };
                for n in [n, (i + number * 15) % 60] {
                    if put(&store, n, &context, &content(n)).unwrap().new {
                        say("new", n);
                    }
                }
            }
        }
        "endless" => {
            for n in number * 1_000_000.. {
                put(&store, n, &context, &content(n)).unwrap();
                say("stored", n);
            }
        }
        "churn" => {
            for round in 0..150 {
                let n = number * 10 + round % 3;
                put(&store, n, &context, &content(round)).unwrap();
                assert_eq!(get(&store, n), content(round));
                store.forget(&hash(n)).unwrap();
            }
            put(&store, number, &context, &content(number)).unwrap();
            say("done", number);
        }
        "collect" => loop {
            store.gc().unwrap();
        },
        "cramped" => {
            for n in 0.. {
                let error = match put(&store, n, &context, &[vec![n as u8; 40_000]]) {
                    Ok(_) => {
                        say("stored", n);
                        if n != 5 {
                            continue;
                        }
                        put(&store, 999, &context, &[vec![7; 8 << 20]]).unwrap_err()
                    }
                    Err(error) => error,
                };
                assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
                let text = error.to_string();
                assert!(text.contains("no space left") && text.contains("as it was"), "{text}");
                say("refused", n);
                if n != 5 {
                    break;
                }
            }
        }
        other => panic!("{other}"),
    }
}

// R10
#[test]
fn four_processes_storing_the_same_memories_store_each_once() {
    let dir = scratch();
    // All four also race to make the store.
    let mut children: Vec<_> = (0..4).map(|n| spawn("overlap", n, dir.path())).collect();
    let mut new: Vec<_> = children.iter_mut().flat_map(|child| said(child, "new")).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    new.sort_unstable();
    assert_eq!(new, (0..60).collect::<Vec<_>>(), "each memory was new to exactly one process");
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.list(&Filter::default()).unwrap().len(), 60);
    for n in 0..60 {
        assert_eq!(get(&store, n), content(n));
        assert_eq!(store.traces(&hash(n)).unwrap().len(), 4);
    }
    let distinct: BTreeSet<_> = (0..60).flat_map(content).collect();
    assert_eq!(files_in(&dir.path().join("objects")).len(), distinct.len());
    assert!(store.verify(false).unwrap().is_clean());
    assert_eq!(store.gc().unwrap().removed_objects, 0);
    assert!(files_in(&dir.path().join("tmp")).is_empty());
}

// R11
#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it_and_nothing_is_half_there() {
    // On a real disk, where a process is most often killed while it syncs.
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        let mut children: Vec<_> = (0..2).map(|k| spawn("endless", round * 2 + k, dir.path())).collect();
        std::thread::sleep(Duration::from_millis(60 + round * 53));
        for child in &mut children {
            child.kill().unwrap();
        }
        for child in &mut children {
            child.wait().unwrap();
            acknowledged.extend(said(child, "stored"));
        }
        let store = Store::open(dir.path()).unwrap();
        if round % 2 == 1 {
            store.gc().unwrap();
            assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
        }
        for n in &acknowledged {
            assert_eq!(get(&store, *n), content(*n));
        }
        for memory in store.list(&Filter::default()).unwrap() {
            contents(&store, &store.manifest(&memory.content_hash).unwrap()).unwrap();
        }
        assert!(store.verify(false).unwrap().is_clean());
    }
    assert!(!acknowledged.is_empty());
}

// R4, R10
#[test]
fn a_collector_never_takes_what_a_writer_is_about_to_refer_to() {
    let dir = scratch();
    drop(Store::open(dir.path()).unwrap());
    let mut collectors: Vec<_> = (0..2).map(|n| spawn("collect", n, dir.path())).collect();
    let mut writers: Vec<_> = (1..4).map(|n| spawn("churn", n, dir.path())).collect();
    let done: Vec<_> = writers.iter_mut().flat_map(|child| said(child, "done")).collect();
    for collector in &mut collectors {
        assert!(collector.try_wait().unwrap().is_none(), "the collectors went on to the end");
        collector.kill().unwrap();
        collector.wait().unwrap();
    }
    assert!(writers.iter_mut().all(|writer| writer.wait().unwrap().success()));
    assert_eq!(done, [1, 2, 3]);
    let store = Store::open(dir.path()).unwrap();
    for n in 1..4 {
        assert_eq!(get(&store, n), content(n));
    }
    assert!(store.verify(false).unwrap().is_clean());
    store.gc().unwrap();
    let kept: BTreeSet<_> = (1..4).flat_map(content).collect();
    assert_eq!(files_in(&dir.path().join("objects")).len(), kept.len());
}

// R11
#[test]
#[cfg(unix)]
fn a_full_disk_is_named_and_leaves_the_store_as_it_was() {
    let dir = scratch();
    drop(Store::open(dir.path()).unwrap());
    // A limit on the size of a file stands in for a full disk: first an object exceeds it, then the catalogue.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    let mut child = command(shell, "cramped", 0, dir.path());
    let said: Vec<_> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{said:#?}");
    let count = |word| said.iter().filter(|line| line.starts_with(word)).count() as u64;
    assert_eq!(count("refused"), 2, "{said:#?}");
    let stored = count("stored");
    assert!(stored > 6);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.list(&Filter::default()).unwrap().len() as u64, stored);
    for n in 0..stored {
        assert_eq!(get(&store, n), [vec![n as u8; 40_000]]);
    }
    assert!(files_in(&dir.path().join("tmp")).is_empty());
    assert!(store.verify(false).unwrap().is_clean());
    put(&store, 5000, "later", &[vec![1; 8 << 20]]).unwrap();
}
