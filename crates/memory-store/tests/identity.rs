//! What tells one store from another, so that what is derived from it is not taken for something else's.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]

mod common;

use common::{get, put, scratch};
use memory_store::{ContentHash, Store};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Barrier;

#[test]
fn a_store_keeps_its_identity_and_no_two_have_the_same() {
    let dir = scratch();
    let open = |name: &str| Store::open(dir.path().join(name)).unwrap();
    let (first, second) = (open("a").identity().unwrap(), open("b").identity().unwrap());
    assert_ne!(first, second);
    assert_eq!(open("a").identity(), Some(first));
    assert_eq!(open("a").another().unwrap().identity(), Some(first));
    assert_eq!(open("a").index_dir().unwrap(), dir.path().join("a/index"));
    let marker = fs::read_to_string(dir.path().join("a/STORE")).unwrap();
    let hex = ContentHash::from_bytes(first).to_string();
    assert_eq!(marker, format!("omnimind memory-store\nformat 1\nid {hex}\n"));
}

#[test]
fn a_store_of_before_there_were_identities_gets_one_that_all_who_open_it_at_once_agree_on() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"kept".into()]).unwrap();
    drop(store);
    for left in ["omnimind memory-store\nformat 1\n", "omnimind memory-store\nformat 1\nid 0123\n"] {
        fs::write(dir.path().join("STORE"), left).unwrap();
        let barrier = Barrier::new(8);
        let identities: BTreeSet<_> = std::thread::scope(|scope| {
            let open = || {
                barrier.wait();
                Store::open(dir.path()).unwrap().identity().unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(identities.len(), 1);
        assert_eq!(Store::open(dir.path()).unwrap().identity(), identities.first().copied());
    }
    assert_eq!(get(&Store::open(dir.path()).unwrap(), 1), [b"kept"]);
}

#[test]
fn a_directory_that_holds_nothing_but_an_index_may_become_a_store() {
    let dir = scratch();
    fs::create_dir_all(dir.path().join("index/cosine")).unwrap();
    fs::write(dir.path().join("index/cosine/snapshot"), b"of a store that lost its marker").unwrap();
    Store::open(dir.path()).unwrap();
    assert!(dir.path().join("index/cosine/snapshot").exists(), "the store does not look into it");
}

#[test]
fn there_is_news_exactly_if_the_last_change_is_another() {
    let dir = scratch();
    let (store, other) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    assert_eq!(other.last_change().unwrap(), 0);
    for n in 0..3 {
        put(&store, n, "a", &[b"x".into()]).unwrap();
        let (_, seen) = other.changes_since(0).unwrap();
        assert_eq!(other.last_change().unwrap(), seen);
    }
    let seen = other.last_change().unwrap();
    assert!(!store.record_trace(&common::hash(1), "a").unwrap());
    assert_eq!(other.last_change().unwrap(), seen, "nothing happened");
    store.forget(&common::hash(1)).unwrap();
    assert!(other.last_change().unwrap() > seen);
}
