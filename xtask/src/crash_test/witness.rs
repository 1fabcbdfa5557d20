//! Remembers what the writers said, and compares it with what a store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use omnimind_memory::{Consolidator, ContentHash, Filter, ProcessContext};

use super::{is_number, item, writer::CONTEXT};

/// What was said about a store so far.
#[derive(Debug, Default)]
pub(super) struct Witness {
    acknowledged: BTreeMap<u64, ContentHash>,
    /// A writer began to forget these; either answer is right until it says that it has.
    perhaps: BTreeSet<u64>,
    forgotten: BTreeSet<u64>,
    unsaid: BTreeSet<u64>,
}

/// What one look at the store gave.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) compared: u64,
    /// Memories that nobody had said were durable, and that no look had found before.
    pub(super) unsaid: u64,
}

impl Witness {
    /// Takes note of the lines of one writer.
    pub(super) fn heard(&mut self, lines: &[String]) -> Result<()> {
        for line in lines {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["acknowledged", number, hash] => {
                    self.acknowledged.insert(is_number(number)?, hash.parse()?);
                }
                ["forgetting", number] => {
                    let number = is_number(number)?;
                    self.acknowledged.remove(&number);
                    self.perhaps.insert(number);
                }
                ["forgotten", number] => {
                    let number = is_number(number)?;
                    self.perhaps.remove(&number);
                    self.forgotten.insert(number);
                }
                _ => bail!("a writer said {line:?}"),
            }
        }
        Ok(())
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.len() as u64
    }

    /// Opens the store anew and compares everything in it.
    pub(super) fn examine(&mut self, store: &Path) -> Result<Seen> {
        let consolidator = Consolidator::builder().store(store).build().context("opening the store again")?;
        let verified = consolidator.store().verify(false)?;
        ensure!(verified.is_clean(), "verify found damage: {verified:?}");
        let context = ProcessContext::new(CONTEXT)?;
        let mut seen = Seen::default();
        let mut visible = BTreeMap::new();
        for memory in consolidator.store().list(&Filter::default())? {
            let number = is_number(memory.kind.strip_prefix("item-").unwrap_or(&memory.kind))?;
            let back = consolidator.reactivate(&memory.content_hash, &context);
            let back = back.with_context(|| format!("item {number} is visible, but does not come back"))?;
            item::compare(number, &back.tensors)?;
            ensure!(!self.forgotten.contains(&number), "item {number} was forgotten, but is there");
            ensure!(visible.insert(number, memory.content_hash).is_none(), "item {number} is there twice");
            seen.compared += 1;
            let said = self.acknowledged.contains_key(&number) || self.perhaps.contains(&number);
            seen.unsaid += u64::from(!said && self.unsaid.insert(number));
        }
        for (number, hash) in &self.acknowledged {
            ensure!(
                visible.get(number) == Some(hash),
                "item {number} ({hash}) was acknowledged, but is not there"
            );
        }
        Ok(seen)
    }

    /// Collects garbage, and makes sure that just what memories refer to is left; returns how much was removed.
    pub(super) fn examine_after_gc(&mut self, store: &Path) -> Result<u64> {
        let consolidator = Consolidator::builder().store(store).build()?;
        let report = consolidator.store().gc()?;
        let mut objects = BTreeSet::new();
        for memory in consolidator.store().list(&Filter::default())? {
            let memory = consolidator.store().manifest(&memory.content_hash)?;
            objects.extend(memory.tensors.iter().map(|tensor| tensor.object.hash.to_string()));
        }
        let on_disk = files(&store.join("objects"))?;
        ensure!(
            on_disk.len() == objects.len(),
            "after gc {} object files are there, and memories refer to {}",
            on_disk.len(),
            objects.len()
        );
        let temporary = files(&store.join("tmp"))?;
        ensure!(temporary.is_empty(), "after gc temporary files are left: {temporary:?}");
        self.examine(store).context("after gc")?;
        Ok(report.removed_objects + report.removed_batches)
    }
}

/// All files below a folder that may be missing.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_is_no_longer_expected() {
        let mut witness = Witness::default();
        let hash = ContentHash::of(b"x");
        let lines =
            [format!("acknowledged 1 {hash}"), format!("acknowledged 2 {hash}"), "forgetting 1".to_owned()];
        witness.heard(&lines).unwrap();
        assert_eq!((witness.acknowledged(), witness.forgotten()), (1, 0));
        witness.heard(&["forgotten 1".to_owned()]).unwrap();
        assert_eq!((witness.acknowledged(), witness.forgotten()), (1, 1));
        assert!(witness.heard(&["acknowledged 3".to_owned()]).is_err());
    }
}
