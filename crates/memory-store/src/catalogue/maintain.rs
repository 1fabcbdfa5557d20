//! What is asked of the catalogue as a whole: numbers, references of objects, checks, and tidying.

use super::query::{collect, optional_id};
use super::row::{hash, text, unsigned};
use super::sqlite::Failure;
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::LayerName;
use crate::stats::Stats;
use rusqlite::{Transaction, params};

/// Changes that are kept. An index that is further behind starts afresh.
const KEPT_CHANGES: i64 = 100_000;

/// The objects of memories, sealed ones included.
const REFERENCES: &str = "SELECT m.layer AS layer, t.object AS object FROM tensor t JOIN memory m ON m.id = t.memory_id \
     UNION SELECT layer, sealed FROM memory WHERE sealed IS NOT NULL";

pub(super) fn stats(tx: &Transaction<'_>) -> Result<Stats, Failure> {
    let mut stats = Stats::default();
    let mut statement = tx.prepare_cached(
        "SELECT layer, count(*), coalesce(sum(original_bytes), 0) FROM memory GROUP BY layer",
    )?;
    for (layer, memories, bytes) in
        collect(statement.query([])?, |r| Ok((text(r, 0)?, unsigned(r, 1)?, unsigned(r, 2)?)))?
    {
        stats.total_consolidated += memories;
        stats.total_original_bytes += bytes;
        let layer = stats.layers.entry(named(layer)?).or_default();
        layer.total_consolidated = memories;
        layer.total_original_bytes = bytes;
    }
    let mut statement = tx.prepare_cached(&format!(
        "SELECT r.layer, coalesce(sum(o.bytes), 0) FROM ({REFERENCES}) r JOIN object o ON o.id = r.object GROUP BY r.layer"
    ))?;
    for (layer, bytes) in collect(statement.query([])?, |r| Ok((text(r, 0)?, unsigned(r, 1)?)))? {
        stats.layers.entry(named(layer)?).or_default().total_compressed_bytes = bytes;
    }
    let mut statement = tx.prepare_cached(&format!(
        "SELECT count(*), coalesce(sum(bytes), 0) FROM object WHERE id IN (SELECT object FROM ({REFERENCES}))"
    ))?;
    (stats.objects, stats.total_compressed_bytes) =
        statement.query_row([], |r| Ok((r.get::<_, u64>(0)?, r.get::<_, u64>(1)?)))?;
    let mut statement = tx.prepare_cached(
        "SELECT m.layer, count(*) FROM trace t JOIN memory m ON m.id = t.memory_id GROUP BY m.layer",
    )?;
    for (layer, traces) in collect(statement.query([])?, |r| Ok((text(r, 0)?, unsigned(r, 1)?)))? {
        stats.activation_traces += traces;
        stats.layers.entry(named(layer)?).or_default().activation_traces = traces;
    }
    let mut statement = tx.prepare_cached(
        "SELECT layer, count(*), coalesce(sum(freed_bytes), 0) FROM consolidation GROUP BY layer",
    )?;
    for (layer, acts, bytes) in
        collect(statement.query([])?, |r| Ok((text(r, 0)?, unsigned(r, 1)?, unsigned(r, 2)?)))?
    {
        stats.consolidations += acts;
        stats.freed_bytes += bytes;
        let layer = stats.layers.entry(named(layer)?).or_default();
        layer.consolidations = acts;
        layer.freed_bytes = bytes;
    }
    stats.damaged = tx.query_row(
        "SELECT count(*) FROM (SELECT t.memory_id FROM object o JOIN tensor t ON t.object = o.id \
         WHERE o.damaged_at IS NOT NULL UNION SELECT m.id FROM object o JOIN memory m ON m.sealed = o.id \
         WHERE o.damaged_at IS NOT NULL)",
        [],
        |row| row.get(0),
    )?;
    Ok(stats)
}

fn named(layer: String) -> Result<LayerName, Failure> {
    LayerName::new(layer).map_err(|_| {
        Failure::Damage("the name of a layer in it is none; `verify` says of which memory".into())
    })
}

pub(super) fn are_referenced(tx: &Transaction<'_>, objects: &[ContentHash]) -> Result<Vec<bool>, Failure> {
    let mut statement = tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM tensor WHERE object = ?1) OR EXISTS (SELECT 1 FROM memory WHERE sealed = ?1)",
    )?;
    let mut referenced = Vec::with_capacity(objects.len());
    for object in objects {
        referenced.push(match optional_id(tx, object)? {
            Some(id) => statement.query_row([id], |row| row.get(0))?,
            None => false,
        });
    }
    Ok(referenced)
}

pub(super) fn referenced_objects(tx: &Transaction<'_>) -> Result<Vec<(ObjectRef, bool)>, Failure> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT hash, bytes, damaged_at IS NOT NULL FROM object \
         WHERE id IN (SELECT object FROM ({REFERENCES})) ORDER BY hash"
    ))?;
    collect(statement.query([])?, |row| {
        Ok((ObjectRef { hash: hash(row, 0)?, bytes: unsigned(row, 1)? }, row.get(2)?))
    })
}

pub(super) fn owners(tx: &Transaction<'_>, object: &ContentHash) -> Result<Vec<ContentHash>, Failure> {
    let mut statement = tx.prepare_cached(
        "SELECT m.content_hash FROM object o JOIN tensor t ON t.object = o.id JOIN memory m ON m.id = t.memory_id \
         WHERE o.hash = ?1 UNION SELECT m.content_hash FROM object o JOIN memory m ON m.sealed = o.id \
         WHERE o.hash = ?1 ORDER BY 1",
    )?;
    collect(statement.query([object.as_bytes()])?, |row| hash(row, 0))
}

pub(super) fn tidy(tx: &Transaction<'_>) -> Result<(), Failure> {
    tx.execute(&format!("DELETE FROM object WHERE id NOT IN (SELECT object FROM ({REFERENCES}))"), [])?;
    tx.execute("DELETE FROM change WHERE seq <= (SELECT max(seq) FROM change) - ?1", params![KEPT_CHANGES])?;
    Ok(())
}

pub(super) fn integrity(tx: &Transaction<'_>) -> Result<Vec<String>, Failure> {
    let mut statement = tx.prepare("PRAGMA integrity_check(20)")?;
    let mut found = collect(statement.query([])?, |row| text(row, 0))?;
    found.retain(|line| line != "ok");
    let mut statement = tx.prepare("PRAGMA foreign_key_check")?;
    let dangling = collect(statement.query([])?, |row| Ok((text(row, 0)?, text(row, 2)?)))?;
    found.extend(dangling.into_iter().map(|(from, to)| format!("a row of {from} refers to a missing {to}")));
    Ok(found)
}
