//! Any sequence of operations leaves a store as it leaves the simplest model of one.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]

mod common;

use common::{get, hash, path_of, put};
use memory_store::{Change, Filter, Store};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Op {
    Put { memory: u64, context: u8 },
    Recall { memory: u64, context: u8 },
    Forget { memory: u64 },
    Abandon { memory: u64 },
    Damage { memory: u64, object: usize },
    Gc,
    Repair,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let memory = 0u64..6;
    prop_oneof![
        6 => (memory.clone(), 0u8..3).prop_map(|(memory, context)| Op::Put { memory, context }),
        2 => (memory.clone(), 0u8..3).prop_map(|(memory, context)| Op::Recall { memory, context }),
        2 => memory.clone().prop_map(|memory| Op::Forget { memory }),
        1 => memory.clone().prop_map(|memory| Op::Abandon { memory }),
        1 => (memory, 0usize..3).prop_map(|(memory, object)| Op::Damage { memory, object }),
        2 => Just(Op::Gc),
        1 => Just(Op::Repair),
        1 => Just(Op::Reopen),
    ]
}

/// What memory `n` is made of. Neighbours share objects.
fn content(n: u64) -> Vec<Vec<u8>> {
    (n..n + 3).map(|k| vec![k as u8; (k as usize % 4) * 700 + 1]).collect()
}

fn context(n: u8) -> String {
    format!("context {n}")
}

#[derive(Default)]
struct Model {
    memories: BTreeMap<u64, BTreeSet<String>>,
    damaged: BTreeSet<Vec<u8>>,
}

impl Model {
    fn is_damaged(&self, n: u64) -> bool {
        content(n).iter().any(|object| self.damaged.contains(object))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    // R4, R5, R10, R11
    #[test]
    fn a_store_does_what_its_model_does(ops in prop::collection::vec(op(), 1..40)) {
        let dir = common::scratch();
        let dir = dir.path().join("s");
        let mut store = Store::open(&dir).unwrap();
        let mut model = Model::default();
        let mut follower: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        let mut seq = 0;
        for op in ops {
            match op {
                Op::Put { memory, context: c } => {
                    let committed = put(&store, memory, &context(c), &content(memory)).unwrap();
                    prop_assert_eq!(committed.new, !model.memories.contains_key(&memory));
                    model.memories.entry(memory).or_default().insert(context(c));
                    model.damaged.retain(|object| !content(memory).contains(object));
                }
                Op::Recall { memory, context: c } => {
                    let recorded = store.record_trace(&hash(memory), &context(c));
                    match model.memories.get_mut(&memory) {
                        Some(trace) => prop_assert_eq!(recorded.unwrap(), trace.insert(context(c))),
                        None => prop_assert!(recorded.is_err()),
                    }
                }
                Op::Forget { memory } => {
                    let known = model.memories.remove(&memory).is_some();
                    prop_assert_eq!(store.forget(&hash(memory)).is_ok(), known);
                }
                Op::Abandon { memory } => {
                    let batch = store.begin().unwrap();
                    for content in content(memory) {
                        let mut writer = batch.object().unwrap();
                        std::io::Write::write_all(&mut writer, &content).unwrap();
                        writer.finish().unwrap();
                    }
                }
                Op::Damage { memory, object } => {
                    let object = content(memory).swap_remove(object);
                    let path = path_of(&dir, &object);
                    if path.exists() && !model.damaged.contains(&object) {
                        let mut bytes = object.clone();
                        bytes[0] ^= 1;
                        std::fs::write(&path, bytes).unwrap();
                        model.damaged.insert(object);
                    }
                }
                Op::Gc => {
                    store.gc().unwrap();
                    let kept: BTreeSet<_> = model.memories.keys().flat_map(|n| content(*n)).collect();
                    model.damaged.retain(|object| kept.contains(object));
                    for n in 0..8 {
                        let object = content(n).swap_remove(0);
                        let there = path_of(&dir, &object).exists();
                        let set_aside = model.damaged.contains(&object);
                        prop_assert!(there == kept.contains(&object) || (set_aside && !there));
                    }
                }
                Op::Repair => {
                    let report = store.verify(true).unwrap();
                    let named: BTreeSet<_> = report.damaged_objects.iter().flat_map(|d| &d.memories).copied().collect();
                    let expected = model.memories.keys().filter(|n| model.is_damaged(**n)).map(|n| hash(*n));
                    prop_assert_eq!(named, expected.collect());
                    let referred: BTreeSet<_> = model.memories.keys().flat_map(|n| content(*n)).collect();
                    model.damaged.retain(|object| referred.contains(object));
                    for memory in store.list(&Filter::default()).unwrap() {
                        let n = (0..6).find(|n| hash(*n) == memory.content_hash).unwrap();
                        prop_assert_eq!(memory.damaged, model.is_damaged(n));
                    }
                }
                Op::Reopen => store = Store::open(&dir).unwrap(),
            }
            let listed: BTreeSet<_> =
                store.list(&Filter::default()).unwrap().into_iter().map(|m| m.content_hash).collect();
            prop_assert_eq!(&listed, &model.memories.keys().map(|n| hash(*n)).collect());
            let (changes, next) = store.changes_since(seq).unwrap();
            seq = next;
            for change in changes {
                match change {
                    Change::Added { memory, traces, .. } => {
                        follower.insert(memory.content_hash, traces.into_iter().map(|t| t.context).collect());
                    }
                    Change::Traced { content_hash, trace } => {
                        follower.get_mut(&content_hash).unwrap().insert(trace.context);
                    }
                    Change::Forgotten { content_hash } => _ = follower.remove(&content_hash),
                    _ => follower.clear(),
                }
            }
            prop_assert_eq!(&follower, &model.memories.iter().map(|(n, t)| (hash(*n), t.clone())).collect());
        }
        for n in model.memories.keys() {
            if model.is_damaged(*n) {
                let memory = store.manifest(&hash(*n)).unwrap();
                prop_assert!(common::contents(&store, &memory).is_err());
            } else {
                prop_assert_eq!(get(&store, *n), content(*n));
            }
        }
    }
}
