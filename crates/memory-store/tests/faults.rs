//! Failures put between the store and its parts: each is reported, and leaves things as they were.

#![allow(clippy::unwrap_used, reason = "these are tests; the lint knows only functions marked so")]

mod common;

use common::{files_in, get, hash, put, scratch};
use memory_store::{
    ContentHash, Error, FileObjects, Filter, Guard, ObjectReader, ObjectRef, ObjectStore, Options, Result,
    Stage, StageFile, Store, Swept,
};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// Where to fail.
const PREPARE: u32 = 1;
const PUBLISH_BEFORE: u32 = 2;
const PUBLISH_AFTER: u32 = 3;
const HOLD: u32 = 4;
const FINISH: u32 = 5;

/// Objects on a disk that can be made to fail.
#[derive(Debug)]
struct Failing {
    objects: FileObjects,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    at: AtomicU32,
    bytes_left: AtomicI64,
}

impl Faults {
    fn check(&self, at: u32) -> Result<()> {
        if self.at.load(SeqCst) == at { Err(full()) } else { Ok(()) }
    }
}

fn full() -> Error {
    Error::NoSpace { path: "disk".into(), source: io::ErrorKind::StorageFull.into() }
}

impl ObjectStore for Failing {
    fn stage(&self) -> Result<Box<dyn Stage>> {
        Ok(Box::new(FailingStage { stage: self.objects.stage()?, faults: Arc::clone(&self.faults) }))
    }
    fn open(&self, object: &ContentHash) -> Result<Option<ObjectReader>> {
        self.objects.open(object)
    }
    fn size(&self, object: &ContentHash) -> Result<Option<u64>> {
        self.objects.size(object)
    }
    fn each(&self, visit: &mut dyn FnMut(ObjectRef) -> Result<()>) -> Result<()> {
        self.objects.each(visit)
    }
    fn remove(&self, object: &ContentHash) -> Result<()> {
        self.objects.remove(object)
    }
    fn quarantine(&self, object: &ContentHash) -> Result<String> {
        self.objects.quarantine(object)
    }
    fn place(&self, object: &ContentHash) -> String {
        self.objects.place(object)
    }
    fn hold(&self) -> Result<Guard> {
        self.faults.check(HOLD)?;
        self.objects.hold()
    }
    fn seize(&self) -> Result<Guard> {
        self.objects.seize()
    }
    fn sweep(&self) -> Result<Swept> {
        self.objects.sweep()
    }
}

#[derive(Debug)]
struct FailingStage {
    stage: Box<dyn Stage>,
    faults: Arc<Faults>,
}

impl Stage for FailingStage {
    fn create(&self) -> Result<Box<dyn StageFile>> {
        Ok(Box::new(FailingFile { file: self.stage.create()?, faults: Arc::clone(&self.faults) }))
    }
    fn prepare(&self, objects: &[ObjectRef]) -> Result<()> {
        self.faults.check(PREPARE)?;
        self.stage.prepare(objects)
    }
    fn publish(&self, objects: &[ObjectRef]) -> Result<()> {
        self.faults.check(PUBLISH_BEFORE)?;
        self.stage.publish(objects)?;
        self.faults.check(PUBLISH_AFTER)
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Box<dyn StageFile>,
    faults: Arc<Faults>,
}

impl StageFile for FailingFile {
    fn finish(self: Box<Self>, object: ObjectRef) -> Result<()> {
        self.faults.check(FINISH)?;
        self.file.finish(object)
    }
}

impl Read for FailingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Write for FailingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.faults.bytes_left.fetch_sub(buffer.len() as i64, SeqCst) < buffer.len() as i64 {
            return Err(full().into());
        }
        self.file.write(buffer)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for FailingFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn failing(dir: &Path) -> (Store, Arc<Faults>) {
    let (objects, catalogue) = Store::parts(dir, &Options::default()).unwrap();
    let faults = Arc::new(Faults::default());
    faults.bytes_left.store(i64::MAX, SeqCst);
    (Store::over(Arc::new(Failing { objects, faults: Arc::clone(&faults) }), Arc::new(catalogue)), faults)
}

// R4, R11
#[test]
fn a_failure_at_any_step_leaves_what_was_there_and_nothing_else_visible() {
    let dir = scratch();
    let (store, faults) = failing(dir.path());
    let (old, new) = (vec![vec![1; 100], vec![2; 3 << 20]], vec![vec![1; 100], vec![3; 3 << 20]]);
    put(&store, 1, "a", &old).unwrap();
    let intact = || {
        assert_eq!(store.list(&Filter::default()).unwrap().len(), 1);
        assert_eq!(get(&store, 1), old);
        assert!(store.verify(false).unwrap().is_clean());
        assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    };
    for step in [PREPARE, PUBLISH_BEFORE, PUBLISH_AFTER, HOLD, FINISH] {
        faults.at.store(step, SeqCst);
        assert!(matches!(put(&store, 2, "a", &new), Err(Error::NoSpace { .. })), "step {step}");
        intact();
        assert!(store.manifest(&hash(2)).unwrap_err().is_not_found());
    }
    faults.at.store(0, SeqCst);
    for room in [0, 50, 100, 101, 1 << 20, 2 << 20, (3 << 20) + 99] {
        faults.bytes_left.store(room, SeqCst);
        assert!(matches!(put(&store, 2, "a", &new), Err(Error::NoSpace { .. })), "{room} bytes");
        intact();
    }
    faults.bytes_left.store(i64::MAX, SeqCst);
    assert_eq!(store.gc().unwrap().removed_objects, 1, "published, and then the step after failed");
    put(&store, 2, "a", &new).unwrap();
    assert_eq!(get(&store, 2), new);
    assert_eq!(files_in(&dir.path().join("objects")).len(), 3);
}

#[test]
fn a_failure_at_any_step_of_a_replacement_leaves_the_old_objects() {
    let dir = scratch();
    let (store, faults) = failing(dir.path());
    put(&store, 1, "a", &[b"old".into()]).unwrap();
    let before = store.manifest(&hash(1)).unwrap();
    let replace = || {
        let mut batch = store.begin()?;
        let mut writer = batch.object()?;
        writer.write_all(b"new").unwrap();
        let new = writer.finish()?;
        let tensors = common::describe(1, "a", &[new]).tensors;
        batch.replace(hash(1), before.objects(), tensors, Some(new))?;
        batch.commit_all()
    };
    let intact = || {
        assert_eq!(store.manifest(&hash(1)).unwrap(), before);
        assert_eq!(get(&store, 1), [b"old"]);
        assert!(store.verify(false).unwrap().is_clean());
    };
    for step in [PREPARE, PUBLISH_BEFORE, PUBLISH_AFTER, HOLD, FINISH] {
        faults.at.store(step, SeqCst);
        assert!(matches!(replace(), Err(Error::NoSpace { .. })), "step {step}");
        intact();
    }
    faults.at.store(0, SeqCst);
    assert_eq!(store.gc().unwrap().removed_objects, 1, "published, and then the step after failed");
    intact();
    // The last step: the catalogue gives up in the middle of its transaction.
    let other = rusqlite::Connection::open(dir.path().join("catalogue.sqlite3")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON tensor BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.execute_batch(refuse).unwrap();
    assert!(matches!(replace(), Err(Error::Catalogue { .. })));
    intact();
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    assert_eq!(replace().unwrap().replacements, [memory_store::Replaced::Done]);
    assert_eq!(get(&store, 1), [b"new"]);
}

// R10
#[test]
fn waiting_for_a_collector_or_another_writer_ends_in_a_clear_error() {
    let dir = scratch();
    let options = Options::default().patience(Duration::from_millis(50));
    let store = Store::open_with(dir.path(), &options).unwrap();
    put(&store, 1, "a", &[b"x".into()]).unwrap();
    let (objects, _) = Store::parts(dir.path(), &options).unwrap();
    let seized = objects.seize().unwrap();
    let error = put(&store, 2, "a", &[b"y".into()]).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert_eq!(get(&store, 1), [b"x"], "readers do not wait");
    drop(seized);
    let held = objects.hold().unwrap();
    put(&store, 2, "a", &[b"y".into()]).unwrap();
    store.forget(&hash(2)).unwrap();
    assert!(matches!(store.gc(), Err(Error::Busy { .. })));
    drop(held);
    assert_eq!(store.gc().unwrap().removed_objects, 1);

    let other = rusqlite::Connection::open(dir.path().join("catalogue.sqlite3")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = put(&store, 3, "a", &[b"z".into()]).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert_eq!(get(&store, 1), [b"x"], "readers do not wait");
    other.execute_batch("ROLLBACK").unwrap();
    put(&store, 3, "a", &[b"z".into()]).unwrap();
}

// R10: between finding an object and referring to it, a collector may come.
#[test]
fn an_object_collected_between_writing_and_commit_is_published_again() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"shared".into()]).unwrap();
    let mut batch = store.begin().unwrap();
    let mut writer = batch.object().unwrap();
    writer.write_all(b"shared").unwrap();
    let object = writer.finish().unwrap();
    store.forget(&hash(1)).unwrap();
    assert_eq!(store.gc().unwrap().removed_objects, 1);
    batch.memory(common::describe(2, "a", &[object])).unwrap();
    batch.commit().unwrap();
    assert_eq!(get(&store, 2), [b"shared"]);
}

// R10: and the narrowest gap, between verifying that it is there and holding it there.
#[test]
fn an_object_collected_while_a_commit_is_under_way_is_published_again() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    put(&store, 1, "a", &[b"shared".into()]).unwrap();
    let (objects, _) = Store::parts(dir.path(), &Options::default()).unwrap();
    let stage = objects.stage().unwrap();
    let object = ObjectRef { hash: ContentHash::of(b"shared"), bytes: 6 };
    let mut file = stage.create().unwrap();
    file.write_all(b"shared").unwrap();
    file.finish(object).unwrap();
    stage.prepare(&[object]).unwrap();
    store.forget(&hash(1)).unwrap();
    assert_eq!(store.gc().unwrap().removed_objects, 1);
    let _held = objects.hold().unwrap();
    stage.publish(&[object]).unwrap();
    assert_eq!(objects.size(&object.hash).unwrap(), Some(6));
}
