//! One batch's temporary files, and their way into the store: written, synced, renamed, directories synced.
//!
//! A stage is a directory `tmp/<name>/` whose file `lock` its owner keeps locked. The kernel lets go of the lock
//! when the owner dies, and then the directory is garbage.

use super::durable;
use super::{FileObjects, ObjectStore, Stage, StageFile};
use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use crate::read::check_object;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file in a stage that its owner keeps locked.
pub(super) const STAGE_LOCK: &str = "lock";

/// Finished files that are kept open before a group of them is synced. Enough for the disk to write them
/// together, and far from any limit on open files.
const GROUP: usize = 128;
/// Bytes that may wait for the disk before the group is synced.
const GROUP_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct FileStage {
    objects: FileObjects,
    inner: Arc<Inner>,
    present: Mutex<HashSet<ContentHash>>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    // Locked until the stage is dropped.
    _lock: File,
    next: AtomicU64,
    finished: Mutex<Finished>,
    /// Set when a sync failed: none of the batch can be trusted then, even if a second sync succeeds.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Finished {
    files: HashMap<ContentHash, Staged>,
    waiting: u64,
    waiting_bytes: u64,
}

#[derive(Debug)]
struct Staged {
    path: PathBuf,
    /// Open as long as it is not synced: a write error is reported to those who had the file open.
    unsynced: Option<File>,
}

impl FileStage {
    pub(super) fn new(objects: &FileObjects) -> Result<Self> {
        let _gate = objects.locks.pass_gate()?;
        let dir = objects.stages_dir().join(unique_name());
        fs::create_dir(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let path = dir.join(STAGE_LOCK);
        let lock = File::create_new(&path).map_err(|e| Error::io("create", &path, e))?;
        lock.lock().map_err(|e| Error::io("lock", &path, e))?;
        let inner = Inner {
            dir,
            _lock: lock,
            next: AtomicU64::new(0),
            finished: Mutex::default(),
            failed: AtomicBool::new(false),
        };
        Ok(Self { objects: objects.clone(), inner: Arc::new(inner), present: Mutex::default() })
    }

    /// Whether the store has the object whole, by reading it.
    fn is_whole(&self, object: &ObjectRef) -> Result<bool> {
        match check_object(&self.objects, object) {
            Ok(()) => Ok(true),
            Err(e) if e.is_damage() => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl Stage for FileStage {
    fn create(&self) -> Result<Box<dyn StageFile>> {
        let path = self.inner.dir.join(self.inner.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| Error::io("create", &path, e))?;
        Ok(Box::new(FileInStage { inner: Arc::clone(&self.inner), path, file: Some(file) }))
    }

    fn prepare(&self, objects: &[ObjectRef]) -> Result<()> {
        if self.inner.failed.load(Ordering::Relaxed) {
            let earlier = io::Error::other("an earlier object of this batch could not be written");
            return Err(Error::io("write the batch to the disk", &self.inner.dir, earlier));
        }
        let mut to_sync = Vec::new();
        for object in objects {
            if self.is_whole(object)? {
                lock(&self.present).insert(object.hash);
                continue;
            }
            if let Some(staged) = lock(&self.inner.finished).files.get_mut(&object.hash) {
                to_sync.extend(staged.take_unsynced());
                continue;
            }
            // Not ours: say how it is damaged, unless somebody has just made it whole.
            check_object(&self.objects, object)?;
            lock(&self.present).insert(object.hash);
        }
        durable::sync_files(&to_sync)
    }

    fn publish(&self, objects: &[ObjectRef]) -> Result<()> {
        let present = lock(&self.present);
        let mut finished = lock(&self.inner.finished);
        let mut dirs = BTreeSet::new();
        for object in objects {
            let path = self.objects.path(&object.hash);
            let dir = path.parent().map(PathBuf::from).unwrap_or_default();
            // Even where the object is there already its directory is synced: the process that put it there
            // may not have come to that yet.
            let kept =
                present.contains(&object.hash) && self.objects.size(&object.hash)? == Some(object.bytes);
            if !kept {
                match finished.files.remove(&object.hash) {
                    Some(mut staged) => {
                        // Found whole before, collected since: then it has not been synced yet.
                        durable::sync_files(staged.take_unsynced().as_slice())?;
                        rename(&staged.path, &path)?;
                    }
                    None => check_object(&self.objects, object)?,
                }
            }
            dirs.insert(dir);
        }
        durable::sync_dirs(&dirs.into_iter().collect::<Vec<_>>())
    }
}

/// Moves a file over whatever bears that name: it can only be the same bytes, or damaged ones.
fn rename(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A fan-out directory is missing: a copy of the store was made without its empty directories.
            let fan = to.parent().unwrap_or(to);
            fs::create_dir_all(fan).map_err(|e| Error::io("create", fan, e))?;
            durable::sync_dir(fan.parent().unwrap_or(fan))?;
            fs::rename(from, to)
        }
        other => other,
    }
    .map_err(|e| Error::io("put the object in place as", to, e))
}

impl Staged {
    /// The file, if it has yet to be synced.
    fn take_unsynced(&mut self) -> Option<(PathBuf, File)> {
        self.unsynced.take().map(|file| (self.path.clone(), file))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What cannot be removed now is garbage for the next sweep.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A temporary file. Removed when dropped unfinished.
#[derive(Debug)]
struct FileInStage {
    inner: Arc<Inner>,
    path: PathBuf,
    file: Option<File>,
}

impl FileInStage {
    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the object is finished"))
    }

    fn named<T>(&self, action: &'static str, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => Error::io(action, &self.path, e).into(),
        })
    }
}

impl StageFile for FileInStage {
    fn finish(mut self: Box<Self>, object: ObjectRef) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let mut finished = lock(&self.inner.finished);
        if finished.files.contains_key(&object.hash) {
            drop(finished);
            return fs::remove_file(&self.path).map_err(|e| Error::io("remove", &self.path, e));
        }
        let staged = Staged { path: self.path.clone(), unsynced: Some(file) };
        finished.files.insert(object.hash, staged);
        finished.waiting += 1;
        finished.waiting_bytes += object.bytes;
        if finished.waiting < GROUP as u64 && finished.waiting_bytes < GROUP_BYTES {
            return Ok(());
        }
        (finished.waiting, finished.waiting_bytes) = (0, 0);
        let group: Vec<_> = finished.files.values_mut().filter_map(Staged::take_unsynced).collect();
        drop(finished);
        // Other threads go on writing meanwhile.
        durable::sync_files(&group).inspect_err(|_| self.inner.failed.store(true, Ordering::Relaxed))
    }
}

impl Drop for FileInStage {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Read for FileInStage {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file()?.read(buffer);
        self.named("read", read)
    }
}

impl Write for FileInStage {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file()?.write(buffer);
        self.named("write", written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for FileInStage {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = self.file()?.seek(to);
        self.named("seek in", at)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name that no other batch has: the process, and 64 random bits.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{}-{random:016x}", std::process::id())
}
