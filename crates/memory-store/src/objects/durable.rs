//! Getting things onto the disk: files and directories, many at a time.
//!
//! A file system commits its journal for a whole group of concurrent `fsync` calls at once, so a batch of
//! small objects is synced by several threads. On ext4, 100 files of 4 KiB took 27 ms one after the other
//! and 6 to 7 ms with 16 threads; more threads gained nothing.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that wait for the disk at once.
const WAITERS: usize = 16;

/// Syncs files that are open. The first failure is returned; none is tried twice, because after a failed
/// `fsync` a second one may succeed without the data being on the disk.
pub(super) fn sync_files(files: &[(PathBuf, File)]) -> Result<()> {
    in_parallel(files, |(path, file)| file.sync_all().map_err(|e| Error::io("write to the disk", path, e)))
}

/// Syncs directories, so that the names in them are durable.
pub(super) fn sync_dirs(dirs: &[PathBuf]) -> Result<()> {
    in_parallel(dirs, |dir| sync_dir(dir))
}

/// Syncs one directory.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(|e| Error::io("write the directory to the disk", dir, e))
}

fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    if items.len() < 2 {
        return items.iter().try_for_each(work);
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..items.len().min(WAITERS) {
            // Where no more threads are to be had, those that there are do the work.
            if std::thread::Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
