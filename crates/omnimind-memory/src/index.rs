//! The index of a store as the threads of one consolidator share it: searches go on side by side, and wait only while
//! somebody tells the index what is new.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use activation_index::{ActivationIndex, IndexError};

use crate::{
    Notice, Result,
    compaction::Background,
    follower::{Follower, Source},
};

/// An index that is brought up to date before each answer.
#[derive(Debug)]
pub(crate) struct SharedIndex {
    pub(crate) source: Source,
    follower: RwLock<Follower>,
    notices: Mutex<Vec<Notice>>,
    pub(crate) background: Background,
}

impl SharedIndex {
    pub(crate) fn new(source: Source) -> Result<Self> {
        let follower = RwLock::new(Follower::unopened(source.config)?);
        Ok(Self { source, follower, notices: Mutex::default(), background: Background::default() })
    }

    /// Answers a question out of an index that knows all that was committed before it was asked. Where the snapshot turns out to
    /// be damaged, the index is filled again from the store and asked once more.
    pub(crate) fn ask<T>(&self, question: impl Fn(&ActivationIndex) -> Result<T, IndexError>) -> Result<T> {
        let answer = question(&self.up_to_date()?.index);
        match answer {
            Err(IndexError::SnapshotDamaged { .. }) => self.ask_after_damage(question),
            answer => Ok(answer?),
        }
    }

    fn ask_after_damage<T>(&self, question: impl Fn(&ActivationIndex) -> Result<T, IndexError>) -> Result<T> {
        let mut follower = self.write();
        self.bring_up_to_date(&mut follower)?;
        match question(&follower.index) {
            Err(IndexError::SnapshotDamaged { what, .. }) => {
                self.tell(Notice::Rebuilt { reason: what });
                follower.refill(&self.source.store)?;
                Ok(question(&follower.index)?)
            }
            // Another thread has been here first.
            answer => Ok(answer?),
        }
    }

    fn up_to_date(&self) -> Result<RwLockReadGuard<'_, Follower>> {
        let follower = self.read();
        if follower.is_current(&self.source.store)? {
            return Ok(follower);
        }
        drop(follower);
        let mut follower = self.write();
        self.bring_up_to_date(&mut follower)?;
        Ok(RwLockWriteGuard::downgrade(follower))
    }

    fn bring_up_to_date(&self, follower: &mut Follower) -> Result<()> {
        if !follower.opened || follower.index.is_outdated() {
            let (opened, notice) = Follower::open(&self.source)?;
            *follower = opened;
            if let Some(notice) = notice {
                self.tell(notice);
            }
        }
        if follower.is_current(&self.source.store)? { Ok(()) } else { follower.catch_up(&self.source.store) }
    }

    pub(crate) fn tell(&self, notice: Notice) {
        let mut notices = lock(&self.notices);
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }

    pub(crate) fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *lock(&self.notices))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Follower> {
        self.follower.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Follower> {
        self.follower.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
