//! Who may publish and who may delete: two files locked with `flock`, which the kernel releases when a
//! process dies, however it dies.
//!
//! Writers hold `publish` shared while their objects become visible and are not yet referred to. A collector
//! holds it exclusively while it deletes. So that a steady stream of writers cannot starve a collector,
//! everybody passes `gate` first: writers step through it, a collector keeps it shut until it is done.

use super::Guard;
use crate::error::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The two locks of a store.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    gate: PathBuf,
    publish: PathBuf,
    patience: Duration,
}

#[derive(Clone, Copy)]
enum Mode {
    Shared,
    Exclusive,
}

impl Locks {
    /// Locks in the directory `dir`, which must exist. `patience` is the longest wait for any of them.
    pub(crate) fn new(dir: &Path, patience: Duration) -> Self {
        Self { gate: dir.join("gate"), publish: dir.join("publish"), patience }
    }

    /// A writer's hold on the objects that exist.
    pub(super) fn hold(&self) -> Result<Guard> {
        let gate = self.acquire(&self.gate, Mode::Shared)?;
        let publish = self.acquire(&self.publish, Mode::Shared)?;
        drop(gate);
        Ok(Guard::new(publish))
    }

    /// The collector's right to delete.
    pub(super) fn seize(&self) -> Result<Guard> {
        let gate = self.acquire(&self.gate, Mode::Exclusive)?;
        let publish = self.acquire(&self.publish, Mode::Exclusive)?;
        // Fields of a tuple drop in order: writers at the gate find `publish` free.
        Ok(Guard::new((publish, gate)))
    }

    /// Held while a stage is being made, so that nobody takes it for an abandoned one before it is locked.
    pub(super) fn pass_gate(&self) -> Result<Guard> {
        Ok(Guard::new(self.acquire(&self.gate, Mode::Shared)?))
    }

    /// Held while abandoned stages are looked for, and while a store is being laid out.
    pub(crate) fn shut_gate(&self) -> Result<Guard> {
        Ok(Guard::new(self.acquire(&self.gate, Mode::Exclusive)?))
    }

    fn acquire(&self, path: &Path, mode: Mode) -> Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|e| Error::io("open the lock file", path, e))?;
        let begun = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            let attempt = match mode {
                Mode::Shared => file.try_lock_shared(),
                Mode::Exclusive => file.try_lock(),
            };
            match attempt {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
            }
            if begun.elapsed() >= self.patience {
                let waiting_for = match mode {
                    Mode::Shared => "a garbage collection or repair in another process",
                    Mode::Exclusive => "writers in other processes",
                };
                return Err(Error::Busy { waiting_for: waiting_for.into(), waited: begun.elapsed() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(dir: &Path, millis: u64) -> Locks {
        Locks::new(dir, Duration::from_millis(millis))
    }

    #[test]
    fn writers_share_and_a_collector_waits_for_them_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path(), 20);
        let first = locks.hold().unwrap();
        let second = locks.hold().unwrap();
        assert!(matches!(locks.seize(), Err(Error::Busy { .. })));
        drop((first, second));
        let collector = locks.seize().unwrap();
        let refused = locks.hold().unwrap_err();
        assert!(refused.to_string().contains("busy"), "{refused}");
        drop(collector);
        locks.hold().unwrap();
    }

    #[test]
    fn a_waiting_collector_gets_its_turn_before_new_writers() {
        let dir = tempfile::tempdir().unwrap();
        let locks = locks(dir.path(), 10_000);
        let writer = locks.hold().unwrap();
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| locks.seize().unwrap());
            // Once the collector stands at the gate, a new writer does not get in before it.
            let impatient = Locks { patience: Duration::ZERO, ..locks.clone() };
            while impatient.hold().is_ok() {
                std::thread::yield_now();
            }
            drop(writer);
            drop(collector.join().unwrap());
        });
        locks.hold().unwrap();
    }
}
