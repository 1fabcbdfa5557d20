//! The directory that an index is kept in: one snapshot, and a lock for who writes the next.
//!
//! ```text
//! snapshot        the index, frozen; replaced by renaming, never changed
//! snapshot.new    the next one, being written by whoever holds the lock
//! lock            empty; locked while a snapshot is made
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::IndexError;

/// Where an index is kept.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    path: PathBuf,
}

/// What tells one snapshot file from the next: its inode, size and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

/// Whoever holds it may write the next snapshot. Let go of however the process ends.
#[derive(Debug)]
pub(crate) struct WriteLock {
    _file: File,
}

impl Directory {
    /// Makes the directory if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        fs::create_dir_all(path).map_err(|e| IndexError::io("make", path, &e))?;
        Ok(Self { path: path.to_path_buf() })
    }

    pub(crate) fn snapshot(&self) -> PathBuf {
        self.path.join("snapshot")
    }

    /// Which snapshot there is now, if any.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(self.snapshot()).ok()?;
        Some(Stamp { inode: metadata.ino(), bytes: metadata.len(), modified: metadata.modified().ok() })
    }

    /// The right to write; an error if another process has it.
    pub(crate) fn lock(&self) -> Result<WriteLock, IndexError> {
        let path = self.path.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| IndexError::io("open", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(WriteLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(IndexError::Compacting { path: self.path.clone() }),
            Err(TryLockError::Error(e)) => Err(IndexError::io("lock", &path, &e)),
        }
    }

    /// Writes a snapshot beside the present one and puts it in its place. What a killed writer left is overwritten.
    pub(crate) fn replace(
        &self,
        _lock: &WriteLock,
        write: impl FnOnce(BufWriter<File>) -> Result<BufWriter<File>, IndexError>,
    ) -> Result<(), IndexError> {
        let beside = self.path.join("snapshot.new");
        let written = self.write_beside(&beside, write);
        if written.is_err() {
            // It is of no use, and may be what filled the disk.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn write_beside(
        &self,
        beside: &Path,
        write: impl FnOnce(BufWriter<File>) -> Result<BufWriter<File>, IndexError>,
    ) -> Result<(), IndexError> {
        let file = File::create(beside).map_err(|e| IndexError::io("create", beside, &e))?;
        let file = write(BufWriter::with_capacity(1 << 20, file))?;
        let durable = || -> io::Result<()> {
            file.into_inner()?.sync_all()?;
            fs::rename(beside, self.snapshot())?;
            File::open(&self.path)?.sync_all()
        };
        durable().map_err(|e| IndexError::io("write", beside, &e))
    }
}
