//! Flipped bits, missing files, foreign directories: always noticed, never made worse.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]

mod common;

use common::{contents, files_in, get, hash, path_of, put, scratch};
use memory_store::{Error, Filter, Problem, Store, VerifyReport};
use rusqlite::Connection;
use std::fs;
use std::io::Read;
use std::path::Path;

fn sql(dir: &Path, statements: &str) {
    Connection::open(dir.join("catalogue.sqlite3")).unwrap().execute_batch(statements).unwrap();
}

fn damaged_objects(report: &VerifyReport) -> Vec<memory_store::ContentHash> {
    report.damaged_objects.iter().map(|damaged| damaged.object).collect()
}

// R11
#[test]
fn a_flipped_bit_anywhere_in_an_object_is_found_by_read_and_by_verify() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let content = b"forty-two bytes of a quite small object...".to_vec();
    put(&store, 1, "a", std::slice::from_ref(&content)).unwrap();
    put(&store, 2, "a", &[content.clone(), b"other".to_vec()]).unwrap();
    let memory = store.manifest(&hash(1)).unwrap();
    let object = memory.tensors[0].object;
    let path = path_of(dir.path(), &content);
    for bit in 0..content.len() * 8 {
        let mut bytes = content.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        let error = contents(&store, &memory).unwrap_err().downcast::<Error>().unwrap();
        assert!(matches!(error, Error::ObjectDamaged { object: o, .. } if o == object.hash), "bit {bit}");
        assert!(error.to_string().contains(&object.hash.to_string()));
        let report = store.verify(false).unwrap();
        assert_eq!(damaged_objects(&report), [object.hash], "bit {bit}");
        let mut owners = vec![hash(1), hash(2)];
        owners.sort();
        assert_eq!(report.damaged_objects[0].memories, owners);
        assert!(report.damaged_objects[0].quarantined.is_none() && path.exists());
    }
    for length in [0, 1, content.len() - 1, content.len() + 1] {
        let mut bytes = content.clone();
        bytes.resize(length, b'.');
        fs::write(&path, bytes).unwrap();
        assert!(contents(&store, &memory).is_err(), "{length} bytes");
        assert_eq!(damaged_objects(&store.verify(false).unwrap()), [object.hash], "{length} bytes");
    }
    fs::write(&path, &content).unwrap();
    assert!(store.verify(false).unwrap().is_clean());
}

// R11
#[test]
fn repair_sets_damage_aside_marks_its_memories_and_storing_one_again_heals_them_all() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let (shared, own) = (vec![5; 3000], vec![6; 10]);
    put(&store, 1, "a", &[shared.clone(), own.clone()]).unwrap();
    put(&store, 2, "a", std::slice::from_ref(&shared)).unwrap();
    put(&store, 3, "a", std::slice::from_ref(&own)).unwrap();
    fs::write(path_of(dir.path(), &shared), vec![4; 3000]).unwrap();
    let report = store.verify(true).unwrap();
    assert_eq!(report.damaged_objects.len(), 1);
    let aside = report.damaged_objects[0].quarantined.clone().unwrap();
    assert_eq!(fs::read(aside).unwrap(), vec![4; 3000]);
    assert_eq!(report.damaged_objects[0].problem, Problem::Damaged);
    let marked = |store: &Store| [1, 2, 3].map(|n| store.manifest(&hash(n)).unwrap().summary.damaged);
    assert_eq!(marked(&store), [true, true, false]);
    assert_eq!(store.list(&Filter::default()).unwrap().iter().filter(|m| m.damaged).count(), 2);
    assert_eq!(store.stats().unwrap().damaged, 2);
    let error = contents(&store, &store.manifest(&hash(1)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(store.verify(false).unwrap().damaged_objects[0].problem, Problem::Missing);

    let committed = put(&store, 2, "b", std::slice::from_ref(&shared)).unwrap();
    assert!(committed.healed && !committed.new);
    assert_eq!(marked(&store), [false; 3]);
    assert_eq!(get(&store, 1), [shared, own]);
    assert!(store.verify(false).unwrap().is_clean());
    assert_eq!(store.traces(&hash(2)).unwrap().len(), 2);
}

// R11
#[test]
fn storing_again_heals_damage_that_nobody_had_noticed() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"content".into()]).unwrap();
    let path = path_of(dir.path(), b"content");
    for damage in [Some(b"c0ntent".as_slice()), Some(b"con"), None] {
        match damage {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        put(&store, 2, "a", &[b"content".into()]).unwrap();
        assert_eq!(get(&store, 1), [b"content"]);
    }
}

// R11
#[test]
fn an_object_put_back_by_hand_is_recognised_as_whole() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"content".into()]).unwrap();
    let path = path_of(dir.path(), b"content");
    fs::remove_file(&path).unwrap();
    assert_eq!(store.verify(true).unwrap().damaged_objects[0].problem, Problem::Missing);
    assert!(store.manifest(&hash(1)).unwrap().summary.damaged);
    fs::write(&path, b"content").unwrap();
    assert_eq!(store.verify(true).unwrap().recovered_objects, 1);
    assert!(!store.manifest(&hash(1)).unwrap().summary.damaged);
}

#[test]
fn a_memory_healed_with_other_objects_gets_their_manifest() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"as the old codec wrote it".into()]).unwrap();
    put(&store, 2, "a", &[b"as the old codec wrote it".into()]).unwrap();
    fs::write(path_of(dir.path(), b"as the old codec wrote it"), b"rot").unwrap();
    store.verify(true).unwrap();
    assert!(put(&store, 1, "a", &[b"as the new one does".into()]).unwrap().healed);
    assert_eq!(get(&store, 1), [b"as the new one does"]);
    assert!(!store.manifest(&hash(1)).unwrap().summary.damaged);
    assert!(store.manifest(&hash(2)).unwrap().summary.damaged);
}

// R11: SQLite itself does not notice any of these.
#[test]
fn a_changed_catalogue_row_is_noticed_listed_as_damaged_and_healed_by_storing_again() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let changes = [
        "UPDATE memory SET original_bytes = original_bytes + 1",
        "UPDATE memory SET kind = 'modem'",
        "UPDATE memory SET layer = 'Preconscious!'",
        "UPDATE memory SET metadata = '{\"x\":1}'",
        "UPDATE memory SET signature = x'00000000'",
        "UPDATE memory SET rel_l2_error = 0.25",
        "UPDATE memory SET row_check = x'00'",
        "UPDATE tensor SET name = 't9'",
        "UPDATE tensor SET shape = '[8]'",
        "UPDATE tensor SET shape = '[7'",
        "DELETE FROM tensor",
        "UPDATE trace SET context = 'b'",
        "UPDATE trace SET via = 'reactivated'",
    ];
    for change in changes {
        put(&store, 1, "a", &[b"content".into()]).unwrap();
        assert!(store.manifest(&hash(1)).is_ok());
        sql(dir.path(), change);
        let error = store.manifest(&hash(1)).unwrap_err();
        assert!(
            matches!(&error, Error::MemoryDamaged { memory, .. } if *memory == hash(1)),
            "{change}: {error}"
        );
        assert_eq!(store.verify(false).unwrap().damaged_memories[0].content_hash, hash(1), "{change}");
        assert_eq!(store.list(&Filter::default()).unwrap().len(), 1, "{change}");
        store.changes_since(0).unwrap();
        assert!(put(&store, 1, "a", &[b"content".into()]).unwrap().healed, "{change}");
        assert_eq!(get(&store, 1), [b"content"], "{change}");
    }
}

// R11
#[test]
fn a_catalogue_that_is_gone_overwritten_or_someone_elses_is_refused_and_left_alone() {
    let dir = scratch();
    let file = dir.path().join("catalogue.sqlite3");
    put(&Store::open(dir.path()).unwrap(), 1, "a", &[b"content".into()]).unwrap();
    let whole = fs::read(&file).unwrap();
    let refused = |what: &str| {
        let before = fs::read(&file).ok();
        let error = Store::open(dir.path()).map(drop).unwrap_err();
        assert!(error.is_damage(), "{what}: {error}");
        assert!(error.to_string().contains("catalogue.sqlite3"), "{what}: {error}");
        assert_eq!(fs::read(&file).ok(), before, "{what}");
    };
    fs::write(&file, b"not a database at all, but long enough to be one".repeat(100)).unwrap();
    refused("text");
    fs::write(&file, b"").unwrap();
    refused("empty");
    fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE someone_elses (x)").unwrap();
    refused("another application's");
    fs::remove_file(&file).unwrap();
    refused("gone");
    fs::write(&file, whole).unwrap();
    assert_eq!(get(&Store::open(dir.path()).unwrap(), 1), [b"content"]);
}

// R11
#[test]
fn a_torn_catalogue_page_is_reported_by_verify() {
    let dir = scratch();
    let file = dir.path().join("catalogue.sqlite3");
    let store = Store::open(dir.path()).unwrap();
    for n in 0..200 {
        put(&store, n, "a", &[]).unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&file).unwrap();
    let page = bytes.len() / 4096 / 2 * 4096;
    bytes[page..page + 2048].fill(0xff);
    fs::write(&file, &bytes).unwrap();
    match Store::open(dir.path()).and_then(|store| store.verify(false)) {
        Ok(report) => assert!(!report.is_clean() && !report.catalogue_errors.is_empty()),
        Err(error) => assert!(error.is_damage(), "{error}"),
    }
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let dir = scratch();
    drop(Store::open(dir.path()).unwrap());
    sql(dir.path(), "PRAGMA user_version = 2");
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::NewerStore { found: 2, supported: 1, .. }), "{error}");
    sql(dir.path(), "PRAGMA user_version = 1");
    Store::open(dir.path()).unwrap();
    fs::write(dir.path().join("STORE"), "omnimind memory-store\nformat 7\n").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::NewerStore { found: 7, .. })));
    fs::write(dir.path().join("STORE"), "something else").unwrap();
    assert!(Store::open(dir.path()).is_err());
}

#[test]
fn a_directory_that_is_no_store_is_refused_and_nothing_is_written_into_it() {
    let dir = scratch();
    fs::write(dir.path().join("thesis.txt"), "x").unwrap();
    fs::create_dir(dir.path().join("objects")).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::ForeignDirectory { found, .. } if found == "thesis.txt"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    for path in ["thesis.txt", "thesis.txt/below"] {
        let error = Store::open(dir.path().join(path)).unwrap_err();
        assert!(matches!(error, Error::NotADirectory { .. }), "{path}: {error}");
    }
}

#[test]
fn a_layout_that_was_interrupted_is_completed() {
    let dir = scratch();
    for name in ["locks", "objects/00", "objects/01"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"x".into()]).unwrap();
    drop(store);
    // A copy made by a tool that leaves out empty directories.
    for fan in fs::read_dir(dir.path().join("objects")).unwrap() {
        _ = fs::remove_dir(fan.unwrap().path());
    }
    fs::remove_dir(dir.path().join("quarantine")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    for n in 2..20 {
        put(&store, n, "a", &[vec![n as u8; 9]]).unwrap();
    }
    // And one whose directories vanish while it is in use.
    for fan in fs::read_dir(dir.path().join("objects")).unwrap() {
        _ = fs::remove_dir(fan.unwrap().path());
    }
    for n in 20..40 {
        put(&store, n, "a", &[vec![n as u8; 9]]).unwrap();
    }
    assert!(store.verify(false).unwrap().is_clean());
    // Losing the marker alone loses nothing.
    fs::remove_file(dir.path().join("STORE")).unwrap();
    assert_eq!(get(&Store::open(dir.path()).unwrap(), 1), [b"x"]);
}

// R11: what a crash between rename and commit leaves.
#[test]
fn an_object_without_a_memory_is_invisible_and_collected() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"kept".into()]).unwrap();
    let orphan = path_of(dir.path(), b"orphan");
    fs::write(&orphan, b"orphan").unwrap();
    fs::write(orphan.with_file_name("README"), b"not ours").unwrap();
    let stage = dir.path().join("tmp/123-dead");
    fs::create_dir(&stage).unwrap();
    fs::write(stage.join("lock"), "").unwrap();
    fs::write(stage.join("0"), "half an obj").unwrap();
    fs::create_dir(dir.path().join("tmp/124-died-before-it-had-a-lock")).unwrap();
    assert_eq!(store.list(&Filter::default()).unwrap().len(), 1);
    let live = store.begin().unwrap();
    let report = store.verify(false).unwrap();
    assert!(report.is_clean());
    assert_eq!((report.objects, report.unreferenced_objects), (2, 1));
    let report = store.gc().unwrap();
    assert_eq!((report.removed_objects, report.removed_bytes), (1, 6));
    assert_eq!((report.removed_batches, report.removed_batch_bytes), (2, 11));
    assert!(!orphan.exists() && orphan.with_file_name("README").exists());
    assert_eq!(files_in(&dir.path().join("tmp")).len(), 1, "the live batch's lock");
    live.commit().unwrap();
    assert_eq!(get(&store, 1), [b"kept"]);
}

#[test]
fn a_reader_that_stops_early_can_still_ask_whether_the_rest_is_whole() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[vec![1; 100_000]]).unwrap();
    let object = store.manifest(&hash(1)).unwrap().tensors[0].object;
    let mut reader = store.read_object(&object).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    reader.verify_rest().unwrap();
    let mut bytes = vec![1; 100_000];
    bytes[99_999] = 2;
    fs::write(path_of(dir.path(), &vec![1; 100_000]), bytes).unwrap();
    let mut reader = store.read_object(&object).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    assert!(reader.verify_rest().unwrap_err().is_damage());
}
