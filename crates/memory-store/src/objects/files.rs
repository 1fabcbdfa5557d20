//! Objects as files: `objects/ab/cdef…`, fanned out over 256 directories by the first byte of the hash.
//!
//! Finds, lists, removes and sets aside. How objects come to be is the business of `stage`, who may do so
//! and when is that of `locks`.

use super::stage::{FileStage, STAGE_LOCK};
use super::{Guard, Locks, ObjectReader, ObjectStore, Stage, Swept};
use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Objects in a directory of the local file system.
#[derive(Clone, Debug)]
pub struct FileObjects {
    pub(super) root: PathBuf,
    pub(super) locks: Locks,
}

impl FileObjects {
    /// The objects of a directory that is laid out already.
    pub(crate) fn new(root: &Path, locks: Locks) -> Self {
        Self { root: root.to_path_buf(), locks }
    }

    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    pub(super) fn objects_dir(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(super) fn stages_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn path(&self, object: &ContentHash) -> PathBuf {
        let hex = object.to_string();
        self.objects_dir().join(&hex[..2]).join(&hex[2..])
    }
}

impl ObjectStore for FileObjects {
    fn stage(&self) -> Result<Box<dyn Stage>> {
        Ok(Box::new(FileStage::new(self)?))
    }

    fn open(&self, object: &ContentHash) -> Result<Option<ObjectReader>> {
        let path = self.path(object);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("open", &path, e)),
        }
    }

    fn size(&self, object: &ContentHash) -> Result<Option<u64>> {
        let path = self.path(object);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("look at", &path, e)),
        }
    }

    fn each(&self, visit: &mut dyn FnMut(ObjectRef) -> Result<()>) -> Result<()> {
        for fan in entries(&self.objects_dir())? {
            if !fan.is_dir() {
                continue;
            }
            for path in entries(&fan)? {
                // Files with other names are not ours to judge.
                let Some(hash) = hash_of(&fan, &path) else { continue };
                match fs::metadata(&path) {
                    Ok(metadata) => visit(ObjectRef { hash, bytes: metadata.len() })?,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(Error::io("look at", &path, e)),
                }
            }
        }
        Ok(())
    }

    fn remove(&self, object: &ContentHash) -> Result<()> {
        let path = self.path(object);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path, e)),
            _ => Ok(()),
        }
    }

    fn quarantine(&self, object: &ContentHash) -> Result<String> {
        let dir = self.root.join("quarantine");
        fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let to = dir.join(format!("{object}.{at}"));
        fs::rename(self.path(object), &to).map_err(|e| Error::io("set the object aside as", &to, e))?;
        Ok(to.display().to_string())
    }

    fn place(&self, object: &ContentHash) -> String {
        self.path(object).display().to_string()
    }

    fn hold(&self) -> Result<Guard> {
        self.locks.hold()
    }

    fn seize(&self) -> Result<Guard> {
        self.locks.seize()
    }

    fn sweep(&self) -> Result<Swept> {
        let _gate = self.locks.shut_gate()?;
        let mut swept = Swept::default();
        for stage in entries(&self.stages_dir())? {
            // A live batch holds its lock; one that died before it had a lock has no file of that name.
            if let Ok(lock) = File::open(stage.join(STAGE_LOCK))
                && lock.try_lock().is_err()
            {
                continue;
            }
            let bytes = if stage.is_dir() { total_bytes(&stage) } else { 0 };
            let removed = if stage.is_dir() { fs::remove_dir_all(&stage) } else { fs::remove_file(&stage) };
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &stage, e)),
                _ => swept = Swept { stages: swept.stages + 1, bytes: swept.bytes + bytes },
            }
        }
        Ok(swept)
    }
}

/// What is in a directory, in no particular order.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().map_err(|e| Error::io("list", dir, e))
}

fn hash_of(fan: &Path, path: &Path) -> Option<ContentHash> {
    let (fan, rest) = (fan.file_name()?.to_str()?, path.file_name()?.to_str()?);
    let hash: ContentHash = (fan.len() == 2).then(|| format!("{fan}{rest}"))?.parse().ok()?;
    // `from_hex` takes capitals too, and those would name another file.
    (hash.to_string()[2..] == *rest && hash.to_string()[..2] == *fan).then_some(hash)
}

fn total_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
