//! Collecting garbage: objects that no memory refers to, and what dead batches left behind.
//!
//! Looks for candidates without disturbing anybody. Deletes in small groups, each while no writer is between
//! finding an object and referring to it, and only what is still unreferred to then.

use crate::error::Result;
use crate::hash::ObjectRef;
use crate::store::Inner;
use serde::Serialize;

/// Objects deleted per seizure of the store, so that no writer waits for long.
const GROUP: usize = 256;

/// What [`crate::Store::gc`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// Objects deleted that no memory referred to.
    pub removed_objects: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Batches of dead processes whose temporary files were deleted.
    pub removed_batches: u64,
    /// Their bytes.
    pub removed_batch_bytes: u64,
    /// Objects that stay.
    pub kept_objects: u64,
    /// Their bytes.
    pub kept_bytes: u64,
}

pub(crate) fn collect(store: &Inner) -> Result<GcReport> {
    let swept = store.objects.sweep()?;
    let mut report =
        GcReport { removed_batches: swept.stages, removed_batch_bytes: swept.bytes, ..GcReport::default() };
    let mut found = Vec::new();
    store.objects.each(&mut |object| {
        found.push(object);
        report.kept_objects += 1;
        report.kept_bytes += object.bytes;
        Ok(())
    })?;
    let mut candidates = Vec::new();
    for group in found.chunks(GROUP) {
        candidates.extend(unreferenced(store, group)?);
    }
    for group in candidates.chunks(GROUP) {
        let _seized = store.objects.seize()?;
        for object in unreferenced(store, group)? {
            store.objects.remove(&object.hash)?;
            report.removed_objects += 1;
            report.removed_bytes += object.bytes;
            report.kept_objects -= 1;
            report.kept_bytes -= object.bytes;
        }
    }
    store.catalogue.tidy()?;
    Ok(report)
}

fn unreferenced(store: &Inner, objects: &[ObjectRef]) -> Result<Vec<ObjectRef>> {
    let hashes: Vec<_> = objects.iter().map(|object| object.hash).collect();
    let referenced = store.catalogue.are_referenced(&hashes)?;
    Ok(objects
        .iter()
        .zip(referenced)
        .filter(|(_, referenced)| !referenced)
        .map(|(object, _)| *object)
        .collect())
}
