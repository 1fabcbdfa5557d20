//! Checking everything: the catalogue's structure, every memory's row, every object's bytes.
//!
//! Finds and names; with `repair` it sets damaged objects aside and marks the memories they belong to, so that storing
//! one of them again heals it. It never invents data and never deletes any.

use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use crate::read::check_object;
use crate::store::Inner;
use serde::Serialize;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What [`crate::Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Memories checked.
    pub memories: u64,
    /// Objects checked.
    pub objects: u64,
    /// Their bytes, as found.
    pub object_bytes: u64,
    /// Objects among them that no memory refers to; `gc` deletes them.
    pub unreferenced_objects: u64,
    /// Objects that are missing or damaged.
    pub damaged_objects: Vec<DamagedObject>,
    /// Memories whose catalogue rows are damaged.
    pub damaged_memories: Vec<DamagedMemory>,
    /// What the database itself says is wrong with the catalogue.
    pub catalogue_errors: Vec<String>,
    /// Objects that were marked damaged, and have been found whole and cleared.
    pub recovered_objects: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged_objects.is_empty()
            && self.damaged_memories.is_empty()
            && self.catalogue_errors.is_empty()
    }
}

/// An object that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedObject {
    /// The object.
    pub object: ContentHash,
    /// What is wrong with it.
    pub problem: Problem,
    /// In words.
    pub reason: String,
    /// The memories it belongs to; none if it was garbage.
    pub memories: Vec<ContentHash>,
    /// Where its bytes were moved, if they were.
    pub quarantined: Option<String>,
}

/// What is wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Problem {
    /// It is not there.
    Missing,
    /// Its length or its bytes are others than those stored.
    Damaged,
    /// The disk could not read it.
    Unreadable,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        })
    }
}

/// A memory whose row is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedMemory {
    /// The memory.
    pub content_hash: ContentHash,
    /// What does not match.
    pub reason: String,
}

pub(crate) fn verify(store: &Inner, repair: bool) -> Result<VerifyReport> {
    let mut report =
        VerifyReport { catalogue_errors: store.catalogue.integrity()?, ..VerifyReport::default() };
    for content_hash in store.catalogue.content_hashes()? {
        report.memories += 1;
        match store.catalogue.memory(&content_hash) {
            Ok(_) => {}
            Err(Error::MemoryDamaged { memory, reason }) => {
                report.damaged_memories.push(DamagedMemory { content_hash: memory, reason });
            }
            Err(other) => return Err(other),
        }
    }
    let mut objects = store.catalogue.referenced_objects()?;
    let referenced: HashSet<_> = objects.iter().map(|(object, _)| object.hash).collect();
    store.objects.each(&mut |object| {
        if !referenced.contains(&object.hash) {
            report.unreferenced_objects += 1;
            objects.push((object, false));
        }
        Ok(())
    })?;
    report.objects = objects.len() as u64;
    report.object_bytes = objects.iter().map(|(object, _)| object.bytes).sum();
    let outcomes = check_all(store, &objects);
    for ((object, marked), outcome) in objects.iter().zip(outcomes) {
        if outcome.is_err() {
            report.damaged_objects.extend(confirm(store, object, repair)?);
        } else if *marked && repair {
            let _held = store.objects.hold()?;
            if check_object(&*store.objects, object).is_ok() {
                store.catalogue.mark_damaged(&object.hash, false)?;
                report.recovered_objects += 1;
            }
        }
    }
    Ok(report)
}

/// Checks objects with as many threads as there are cores.
fn check_all(store: &Inner, objects: &[(ObjectRef, bool)]) -> Vec<Result<()>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(objects.len().max(1));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((object, _)) = objects.get(index) else { return done };
            done.push((index, check_object(&*store.objects, object)));
        }
    };
    let mut outcomes: Vec<_> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        all.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()).flatten());
        all
    });
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Looks again at an object that seemed damaged: a writer may have healed it, or a collector taken it.
/// When repairing, nobody can do either meanwhile.
fn confirm(store: &Inner, object: &ObjectRef, repair: bool) -> Result<Option<DamagedObject>> {
    let _seized = if repair { Some(store.objects.seize()?) } else { None };
    let Err(error) = check_object(&*store.objects, object) else { return Ok(None) };
    let memories = store.catalogue.owners(&object.hash)?;
    let problem = match &error {
        Error::ObjectMissing { .. } if memories.is_empty() => return Ok(None),
        Error::ObjectMissing { .. } => Problem::Missing,
        Error::ObjectDamaged { .. } => Problem::Damaged,
        _ => Problem::Unreadable,
    };
    let mut quarantined = None;
    if repair {
        // Marked first: if this process dies in between, the next repair finds it still in its place.
        store.catalogue.mark_damaged(&object.hash, true)?;
        if problem == Problem::Damaged {
            quarantined = Some(store.objects.quarantine(&object.hash)?);
        }
    }
    Ok(Some(DamagedObject { object: object.hash, problem, reason: error.to_string(), memories, quarantined }))
}
