//! A memory given other objects: it stays what it is, or it stays as it was.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]

mod common;

use common::{contents, describe, files_in, get, hash, path_of, put, scratch};
use memory_store::{Batch, Error, Filter, Memory, NewTensor, ObjectRef, Replaced, Store};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::{Read, Write};

fn write(batch: &Batch, bytes: &[u8]) -> ObjectRef {
    let mut writer = batch.object().unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn tensors(objects: &[ObjectRef]) -> Vec<NewTensor> {
    let named =
        |(i, o): (usize, &ObjectRef)| NewTensor::new(format!("n{i}"), "u8", vec![o.bytes], *o, o.bytes);
    objects.iter().enumerate().map(named).collect()
}

/// Memory number `n`, with everything a memory can have: tensors and a sealed object at once, too.
fn put_whole(store: &Store, n: u64, contents: &[Vec<u8>], sealed: Option<&[u8]>) -> Memory {
    let mut batch = store.begin().unwrap();
    let objects: Vec<_> = contents.iter().map(|bytes| write(&batch, bytes)).collect();
    let mut memory = describe(n, "a", &objects);
    memory.sealed = sealed.map(|bytes| write(&batch, bytes));
    memory.signature = Some(vec![1.5, -0.25]);
    memory.metadata.insert("key".into(), serde_json::json!(["é", 1.0, null]));
    memory.original_bytes = 10_000;
    memory.trauma_score = 0.9;
    batch.memory(memory).unwrap();
    batch.commit().unwrap();
    store.record_trace(&hash(n), "b").unwrap();
    store.manifest(&hash(n)).unwrap()
}

/// Gives memory number `n` other objects, expecting it to consist of `expected`.
fn replace(
    store: &Store,
    n: u64,
    expected: &[ObjectRef],
    new: &[Vec<u8>],
    sealed: Option<&[u8]>,
) -> Replaced {
    let mut batch = store.begin().unwrap();
    let objects: Vec<_> = new.iter().map(|bytes| write(&batch, bytes)).collect();
    let sealed = sealed.map(|bytes| write(&batch, bytes));
    batch.replace(hash(n), expected.to_vec(), tensors(&objects), sealed).unwrap();
    batch.commit_all().unwrap().replacements[0]
}

fn read(store: &Store, object: &ObjectRef) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read_object(object).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn some_contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // Few enough that old and new objects are often the same.
    prop::collection::vec((0u8..6, 0usize..4).prop_map(|(byte, length)| vec![byte; length * 40]), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn after_a_replacement_the_new_objects_are_read_the_old_ones_are_gone_and_all_else_is_as_it_was(
        old in some_contents(),
        old_sealed in prop::option::of(Just(b"old seal")),
        new in some_contents(),
        new_sealed in prop::option::of(Just(b"new seal")),
        neighbour in some_contents(),
    ) {
        prop_assume!(!new.is_empty() || new_sealed.is_some());
        let new_sealed = new_sealed.map(|seal| &seal[..]);
        let dir = scratch();
        let store = Store::open(dir.path()).unwrap();
        put(&store, 2, "a", &neighbour).unwrap();
        let before = put_whole(&store, 1, &old, old_sealed.map(|seal| &seal[..]));
        let (_, seq) = store.changes_since(0).unwrap();

        prop_assert_eq!(replace(&store, 1, &before.objects(), &new, new_sealed), Replaced::Done);
        store.gc().unwrap();

        let after = store.manifest(&hash(1)).unwrap();
        prop_assert_eq!(&contents(&store, &after).unwrap(), &new);
        prop_assert_eq!(after.sealed.map(|object| read(&store, &object)), new_sealed.map(<[u8]>::to_vec));
        let kept: BTreeSet<&[u8]> =
            new.iter().chain(&neighbour).map(Vec::as_slice).chain(new_sealed).collect();
        for bytes in &kept {
            prop_assert!(path_of(dir.path(), bytes).exists());
        }
        prop_assert_eq!(files_in(&dir.path().join("objects")).len(), kept.len());

        let own: BTreeSet<&[u8]> = new.iter().map(Vec::as_slice).chain(new_sealed).collect();
        let mut expected = before.summary.clone();
        expected.stored_bytes = own.iter().map(|bytes| bytes.len() as u64).sum();
        expected.ratio = expected.stored_bytes as f64 / 10_000.0;
        expected.tensor_count = new.len() as u64;
        expected.sealed = new_sealed.is_some();
        prop_assert_eq!(&after.summary, &expected);
        prop_assert_eq!(&after.metadata, &before.metadata);
        prop_assert_eq!(&after.signature, &before.signature);
        prop_assert_eq!(&after.traces, &before.traces);
        prop_assert_eq!(store.changes_since(seq).unwrap(), (vec![], seq));
        prop_assert_eq!(&get(&store, 2), &neighbour);
        prop_assert_eq!(store.stats().unwrap().objects, kept.len() as u64);
        prop_assert!(store.verify(false).unwrap().is_clean());
        prop_assert_eq!(store.verify(false).unwrap().unreferenced_objects, 0);
    }
}

#[test]
fn a_memory_that_is_gone_or_has_other_objects_is_left_alone_and_the_answer_says_so() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let first = put_whole(&store, 1, &[b"one".into()], Some(b"seal"));
    let missing_seal = first.tensors.iter().map(|tensor| tensor.object).collect::<Vec<_>>();
    for expected in [&[][..], &missing_seal] {
        assert_eq!(replace(&store, 1, expected, &[b"two".into()], None), Replaced::Differs);
    }
    assert_eq!(replace(&store, 9, &first.objects(), &[b"two".into()], None), Replaced::Gone);
    assert_eq!(store.manifest(&hash(1)).unwrap(), first);
    assert!(store.manifest(&hash(9)).unwrap_err().is_not_found());

    // In any order and named twice, they are the same objects. The second who comes finds others.
    let mut shuffled = first.objects();
    shuffled.reverse();
    shuffled.push(shuffled[0]);
    assert_eq!(replace(&store, 1, &shuffled, &[b"two".into()], None), Replaced::Done);
    assert_eq!(replace(&store, 1, &shuffled, &[b"three".into()], None), Replaced::Differs);
    store.forget(&hash(1)).unwrap();
    assert_eq!(replace(&store, 1, &shuffled, &[b"three".into()], None), Replaced::Gone);
    store.gc().unwrap();
    assert!(files_in(&dir.path().join("objects")).is_empty());
}

#[test]
fn one_batch_adds_memories_and_replaces_others_and_answers_for_each() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let first = put_whole(&store, 1, &[b"one".into()], None);
    let mut batch = store.begin().unwrap();
    let object = write(&batch, b"two");
    batch.memory(describe(2, "a", &[object])).unwrap();
    batch.replace(hash(2), vec![object], tensors(&[object, object]), None).unwrap();
    batch.replace(hash(3), vec![object], tensors(&[object]), None).unwrap();
    batch.replace(hash(1), first.objects(), tensors(&[object]), Some(first.tensors[0].object)).unwrap();
    let done = batch.commit_all().unwrap();
    assert_eq!((done.memories.len(), done.memories[0].new), (1, true));
    assert_eq!(done.replacements, [Replaced::Done, Replaced::Gone, Replaced::Done]);
    assert_eq!(get(&store, 2), [b"two", b"two"]);
    assert_eq!(get(&store, 1), [b"two"]);
    assert!(store.verify(false).unwrap().is_clean());
}

#[test]
fn what_the_catalogue_could_not_give_back_is_refused_and_so_is_nothing_at_all() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let first = put_whole(&store, 1, &[b"one".into()], None);
    let mut batch = store.begin().unwrap();
    let object = first.objects()[0];
    let twice = vec![tensors(&[object]).remove(0), tensors(&[object]).remove(0)];
    for refused in [vec![], twice] {
        let error = batch.replace(hash(1), first.objects(), refused, None).unwrap_err();
        assert!(matches!(error, Error::InvalidMemory { .. }), "{error}");
    }
    let unknown = ObjectRef { hash: hash(7), bytes: 3 };
    batch.replace(hash(1), first.objects(), tensors(&[unknown]), None).unwrap();
    assert!(matches!(batch.commit_all(), Err(Error::ObjectMissing { .. })));
    assert_eq!(store.manifest(&hash(1)).unwrap(), first);
}

#[test]
fn a_row_that_fails_its_check_sum_is_not_replaced() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let first = put_whole(&store, 1, &[b"one".into()], None);
    let catalogue = rusqlite::Connection::open(dir.path().join("catalogue.sqlite3")).unwrap();
    catalogue.execute("UPDATE memory SET metadata = '{}'", []).unwrap();
    let mut batch = store.begin().unwrap();
    let object = write(&batch, b"two");
    batch.replace(hash(1), first.objects(), tensors(&[object]), None).unwrap();
    assert!(matches!(batch.commit_all(), Err(Error::MemoryDamaged { .. })));
    assert_eq!(store.list(&Filter::default()).unwrap()[0].tensor_count, 1);
    assert_eq!(store.verify(false).unwrap().damaged_memories.len(), 1);
}
