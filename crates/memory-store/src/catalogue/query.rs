//! What is asked of the catalogue about memories. Each function sees one moment of it.

use super::row::{
    DAMAGED, SUMMARY, SUMMARY_COLUMNS, TensorRow, blob, hash, manifest_check, real, signature_from, summary,
    text, trace_check, unsigned,
};
use super::sqlite::Failure;
use crate::changes::Change;
use crate::error::Error;
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::{Filter, Memory, MemorySummary, Tensor, Trace, Via};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};

pub(super) fn memory(tx: &Transaction<'_>, wanted: &ContentHash) -> Result<Option<Memory>, Failure> {
    let mut statement = tx.prepare_cached(&format!(
        "{DAMAGED} SELECT {SUMMARY}, m.id, m.metadata, m.signature, m.manifest_check \
         FROM memory m LEFT JOIN object s ON s.id = m.sealed WHERE m.content_hash = ?1"
    ))?;
    let mut rows = statement.query([wanted.as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (summary, sealed, whole) = summary(row)?;
    let damaged =
        |reason: &str| Failure::Ours(Error::MemoryDamaged { memory: *wanted, reason: reason.into() });
    if !whole {
        return Err(damaged("its row does not match its check sum"));
    }
    let id: i64 = row.get(SUMMARY_COLUMNS)?;
    let metadata = text(row, SUMMARY_COLUMNS + 1)?;
    let signature = blob(row, SUMMARY_COLUMNS + 2)?;
    let tensors = tensors(tx, id)?;
    let check = manifest_check(wanted, &metadata, signature, tensors.iter().map(tensor_row));
    if blob(row, SUMMARY_COLUMNS + 3)? != Some(&check[..]) || tensors.len() as u64 != summary.tensor_count {
        return Err(damaged("its manifest does not match its check sum"));
    }
    let metadata =
        serde_json::from_str(&metadata).map_err(|_| damaged("its metadata are not a JSON object"))?;
    let signature = signature.map(signature_from);
    Ok(Some(Memory { summary, metadata, tensors, sealed, signature, traces: traces(tx, wanted)? }))
}

fn tensors(tx: &Transaction<'_>, memory: i64) -> Result<Vec<Tensor>, Failure> {
    let mut statement = tx.prepare_cached(
        "SELECT t.name, t.dtype, t.shape, o.hash, o.bytes, t.original_bytes, t.max_abs_error, t.rel_l2_error \
         FROM tensor t JOIN object o ON o.id = t.object WHERE t.memory_id = ?1 ORDER BY t.position",
    )?;
    collect(statement.query([memory])?, |row| {
        Ok(Tensor {
            name: text(row, 0)?,
            dtype: text(row, 1)?,
            // A damaged shape does not match the check sum either.
            shape: serde_json::from_str(&text(row, 2)?).unwrap_or_default(),
            object: ObjectRef { hash: hash(row, 3)?, bytes: unsigned(row, 4)? },
            original_bytes: unsigned(row, 5)?,
            max_abs_error: real(row, 6)?,
            rel_l2_error: real(row, 7)?,
        })
    })
}

fn tensor_row(tensor: &Tensor) -> TensorRow<'_> {
    TensorRow {
        name: &tensor.name,
        dtype: &tensor.dtype,
        shape: &tensor.shape,
        object: tensor.object,
        original_bytes: tensor.original_bytes,
        max_abs_error: tensor.max_abs_error,
        rel_l2_error: tensor.rel_l2_error,
    }
}

pub(super) fn list(tx: &Transaction<'_>, filter: &Filter) -> Result<Vec<MemorySummary>, Failure> {
    let mut wheres = vec!["1"];
    let mut values: Vec<Value> = Vec::new();
    let mut also = |condition, value: Option<Value>| {
        if let Some(value) = value {
            wheres.push(condition);
            values.push(value);
        }
    };
    let moment = |ms: u64| Value::from(i64::try_from(ms).unwrap_or(i64::MAX));
    also("m.layer = ?", filter.layer.as_ref().map(|layer| layer.as_str().to_owned().into()));
    also("m.kind = ?", filter.kind.clone().map(Value::from));
    also("m.id IN (SELECT memory_id FROM trace WHERE context = ?)", filter.context.clone().map(Value::from));
    also("m.stored_at >= ?", filter.since.map(moment));
    also("m.stored_at < ?", filter.until.map(moment));
    also("m.trauma_score >= ?", filter.min_trauma.map(Value::from));
    values.push(filter.limit.map_or(Value::from(-1), moment));
    let mut statement = tx.prepare(&format!(
        "{DAMAGED} SELECT {SUMMARY} FROM memory m LEFT JOIN object s ON s.id = m.sealed \
         WHERE {} ORDER BY m.stored_at DESC, m.id DESC LIMIT ?",
        wheres.join(" AND ")
    ))?;
    collect(statement.query(params_from_iter(values))?, |row| Ok(summary(row)?.0))
}

pub(super) fn content_hashes(tx: &Transaction<'_>) -> Result<Vec<ContentHash>, Failure> {
    let mut statement = tx.prepare_cached("SELECT content_hash FROM memory ORDER BY content_hash")?;
    collect(statement.query([])?, |row| hash(row, 0))
}

pub(super) fn between(
    tx: &Transaction<'_>,
    low: &ContentHash,
    high: &ContentHash,
    limit: usize,
) -> Result<Vec<ContentHash>, Failure> {
    let mut statement = tx.prepare_cached(
        "SELECT content_hash FROM memory WHERE content_hash BETWEEN ?1 AND ?2 ORDER BY content_hash LIMIT ?3",
    )?;
    collect(statement.query(params![low.as_bytes(), high.as_bytes(), limit as i64])?, |row| hash(row, 0))
}

/// Fails unless the memory exists.
pub(super) fn require(tx: &Transaction<'_>, wanted: &ContentHash) -> Result<(), Failure> {
    let mut statement = tx.prepare_cached("SELECT 1 FROM memory WHERE content_hash = ?1")?;
    if statement.exists([wanted.as_bytes()])? {
        return Ok(());
    }
    Err(Error::UnknownMemory(*wanted).into())
}

pub(super) fn traces_of(tx: &Transaction<'_>, wanted: &ContentHash) -> Result<Vec<Trace>, Failure> {
    require(tx, wanted)?;
    traces(tx, wanted)
}

fn traces(tx: &Transaction<'_>, wanted: &ContentHash) -> Result<Vec<Trace>, Failure> {
    let mut statement = tx.prepare_cached(
        "SELECT t.context, t.first_at, t.via, t.row_check FROM trace t JOIN memory m ON m.id = t.memory_id \
         WHERE m.content_hash = ?1 ORDER BY t.first_at, t.context",
    )?;
    collect(statement.query([wanted.as_bytes()])?, |row| {
        trace(row, wanted)?.ok_or_else(|| {
            let reason = "its trace does not match its check sum".into();
            Error::MemoryDamaged { memory: *wanted, reason }.into()
        })
    })
}

/// A line of a trace: context, time, via, check sum. `None` if it fails that.
fn trace(row: &Row<'_>, memory: &ContentHash) -> Result<Option<Trace>, Failure> {
    let (first_at, via) = (unsigned(row, 1)?, text(row, 2)?);
    let check = trace_check(memory, blob(row, 0)?.unwrap_or_default(), first_at, &via);
    if blob(row, 3)? != Some(&check[..]) {
        return Ok(None);
    }
    Ok(Via::from_name(&via).map(|via| Trace { context: text(row, 0).unwrap_or_default(), first_at, via }))
}

pub(super) fn last_change(tx: &Transaction<'_>) -> Result<u64, Failure> {
    // The highest number ever given: the record itself may be empty after a collection.
    let mut statement = tx.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'change'")?;
    let last: Option<i64> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or_default() as u64)
}

pub(super) fn changes_since(tx: &Transaction<'_>, seq: u64) -> Result<(Vec<Change>, u64), Failure> {
    let span = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0), \
                coalesce((SELECT min(seq) FROM change), 1)";
    let (last, first): (i64, i64) = tx.query_row(span, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let since = i64::try_from(seq).unwrap_or(i64::MAX);
    let mut changes = Vec::new();
    if since > last || since + 1 < first {
        changes.push(Change::Reset);
        for memory in content_hashes(tx)? {
            changes.extend(added(tx, &memory)?);
        }
        return Ok((changes, last as u64));
    }
    // Only the latest `added` of a memory tells anything, and only if it was not forgotten since: it carries
    // the state as of now.
    let mut statement = tx.prepare_cached(
        "SELECT t.context, t.first_at, t.via, t.row_check, c.content_hash, c.event FROM change c \
         LEFT JOIN memory m ON m.content_hash = c.content_hash \
         LEFT JOIN trace t ON t.memory_id = m.id AND t.context = c.context WHERE c.seq > ?1 ORDER BY c.seq",
    )?;
    let mut told = std::collections::HashSet::new();
    let mut rows = statement.query([since])?;
    while let Some(row) = rows.next()? {
        let content_hash = hash(row, 4)?;
        match text(row, 5)?.as_str() {
            "added" if told.insert(content_hash) => changes.extend(added(tx, &content_hash)?),
            "forgotten" => {
                told.remove(&content_hash);
                changes.push(Change::Forgotten { content_hash });
            }
            "traced" if !told.contains(&content_hash) => {
                if let Some(trace) = trace(row, &content_hash)? {
                    changes.push(Change::Traced { content_hash, trace });
                }
            }
            _ => {}
        }
    }
    Ok((changes, last as u64))
}

/// A memory as a change, if it (still) exists. One whose row is damaged cannot be followed until it is healed.
fn added(tx: &Transaction<'_>, wanted: &ContentHash) -> Result<Option<Change>, Failure> {
    match memory(tx, wanted) {
        Ok(Some(memory)) => Ok(Some(Change::Added {
            memory: Box::new(memory.summary),
            signature: memory.signature,
            traces: memory.traces,
        })),
        Ok(None) | Err(Failure::Ours(Error::MemoryDamaged { .. })) => Ok(None),
        Err(other) => Err(other),
    }
}

pub(super) fn optional_id(tx: &Transaction<'_>, object: &ContentHash) -> Result<Option<i64>, Failure> {
    let mut statement = tx.prepare_cached("SELECT id FROM object WHERE hash = ?1")?;
    Ok(statement.query_row([object.as_bytes()], |row| row.get(0)).optional()?)
}

/// All rows, each read by `read`.
pub(super) fn collect<T>(
    mut rows: rusqlite::Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}
