//! What changes the catalogue. Each function is the inside of one transaction.

use super::query;
use super::row::{TensorRow, manifest_check, row_check, signature_bytes, trace_check};
use super::sqlite::Failure;
use crate::error::Error;
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::{Committed, MemorySummary, NewMemory, NewTensor, Via, metadata_json, ratio};
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn commit(
    tx: &Transaction<'_>,
    memories: &[NewMemory],
    intact: &dyn Fn(&ObjectRef) -> bool,
) -> Result<Vec<Committed>, Failure> {
    // Whether a memory was damaged is asked before the marks on its objects are cleared: two memories of one
    // batch may share a damaged object, and both are healed.
    let existing =
        memories.iter().map(|m| state(tx, &m.content_hash, intact)).collect::<Result<Vec<_>, _>>()?;
    let at = now();
    let mut healed_before: HashMap<ContentHash, bool> = HashMap::new();
    let mut committed = Vec::with_capacity(memories.len());
    for (memory, existing) in memories.iter().zip(existing) {
        // The same memory twice in one batch: the second finds what the first made.
        let state = if healed_before.contains_key(&memory.content_hash) { State::Whole } else { existing };
        let id = match state {
            State::Absent => Some(insert(tx, memory, at)?),
            State::Whole => None,
            State::Damaged { stored_at } => {
                // Its manifest may name other objects than the one at hand: everything is replaced but the
                // trace, which is history, unless that is what is damaged.
                if matches!(query::traces_of(tx, &memory.content_hash), Err(Failure::Ours(_))) {
                    forget_trace(tx, &memory.content_hash)?;
                }
                Some(replace(tx, memory, stored_at.unwrap_or(at))?)
            }
        };
        let new = matches!(state, State::Absent);
        healed_before.insert(memory.content_hash, true);
        if id.is_some() {
            change(tx, &memory.content_hash, "added", None, at)?;
        }
        add_trace(tx, &memory.content_hash, &memory.context, Via::Consolidated, at)?;
        committed.push(Committed {
            content_hash: memory.content_hash,
            new,
            healed: matches!(state, State::Damaged { .. }),
            consolidation: consolidation(tx, memory, at)?,
        });
    }
    Ok(committed)
}

#[derive(Clone, Copy)]
enum State {
    Absent,
    Whole,
    Damaged { stored_at: Option<i64> },
}

fn state(
    tx: &Transaction<'_>,
    hash: &ContentHash,
    intact: &dyn Fn(&ObjectRef) -> bool,
) -> Result<State, Failure> {
    match query::memory(tx, hash) {
        Ok(None) => Ok(State::Absent),
        Ok(Some(memory)) => {
            let objects = memory.tensors.iter().map(|t| t.object).chain(memory.sealed);
            if !memory.summary.damaged && objects.into_iter().all(|object| intact(&object)) {
                return Ok(State::Whole);
            }
            Ok(State::Damaged { stored_at: i64::try_from(memory.summary.stored_at).ok() })
        }
        Err(Failure::Ours(Error::MemoryDamaged { .. })) => Ok(State::Damaged { stored_at: None }),
        Err(other) => Err(other),
    }
}

fn insert(tx: &Transaction<'_>, memory: &NewMemory, stored_at: i64) -> Result<i64, Failure> {
    tx.prepare_cached(
        "INSERT INTO memory (content_hash, layer, kind, context, trauma_score, original_bytes, stored_bytes, \
         bound, max_abs_error, rel_l2_error, tensor_count, stored_at, sealed, metadata, row_check, \
         manifest_check) VALUES (?1, '', '', '', 0, 0, 0, '', 0, 0, 0, 0, NULL, '', x'', x'')",
    )?
    .execute([memory.content_hash.as_bytes()])?;
    replace(tx, memory, stored_at)
}

/// Writes everything but the hash of a row that exists.
fn replace(tx: &Transaction<'_>, memory: &NewMemory, stored_at: i64) -> Result<i64, Failure> {
    let id: i64 = tx
        .prepare_cached("SELECT id FROM memory WHERE content_hash = ?1")?
        .query_row([memory.content_hash.as_bytes()], |row| row.get(0))?;
    let ids = object_ids(tx, &memory.objects())?;
    let summary = summary_of(memory, stored_at);
    let metadata = metadata_json(&memory.metadata);
    let signature = memory.signature.as_deref().map(signature_bytes);
    let rows = memory.tensors.iter().map(tensor_row);
    let manifest = manifest_check(&memory.content_hash, &metadata, signature.as_deref(), rows);
    tx.prepare_cached(
        "UPDATE memory SET layer = ?2, kind = ?3, context = ?4, trauma_score = ?5, original_bytes = ?6, \
         stored_bytes = ?7, bound = ?8, max_abs_error = ?9, rel_l2_error = ?10, tensor_count = ?11, \
         stored_at = ?12, sealed = ?13, metadata = ?14, signature = ?15, row_check = ?16, \
         manifest_check = ?17 WHERE id = ?1",
    )?
    .execute(params![
        id,
        summary.layer.as_str(),
        summary.kind,
        summary.context,
        summary.trauma_score,
        summary.original_bytes,
        summary.stored_bytes,
        summary.bound,
        summary.max_abs_error,
        summary.rel_l2_error,
        summary.tensor_count,
        summary.stored_at,
        memory.sealed.map(|object| ids[&object.hash]),
        metadata,
        signature,
        row_check(&summary, memory.sealed.as_ref()),
        manifest,
    ])?;
    write_tensors(tx, id, &memory.tensors, &ids)?;
    Ok(id)
}

/// Writes the manifest of a row that exists, in place of the one it may have.
pub(super) fn write_tensors(
    tx: &Transaction<'_>,
    id: i64,
    tensors: &[NewTensor],
    ids: &HashMap<ContentHash, i64>,
) -> Result<(), Failure> {
    tx.prepare_cached("DELETE FROM tensor WHERE memory_id = ?1")?.execute([id])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO tensor (memory_id, position, name, dtype, shape, object, original_bytes, max_abs_error, \
         rel_l2_error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (position, tensor) in tensors.iter().enumerate() {
        insert.execute(params![
            id,
            position as i64,
            tensor.name,
            tensor.dtype,
            shape_text(&tensor.shape),
            ids[&tensor.object.hash],
            tensor.original_bytes,
            tensor.max_abs_error,
            tensor.rel_l2_error,
        ])?;
    }
    Ok(())
}

fn summary_of(memory: &NewMemory, stored_at: i64) -> MemorySummary {
    let stored_bytes = memory.objects().iter().map(|object| object.bytes).fold(0, u64::saturating_add);
    MemorySummary {
        content_hash: memory.content_hash,
        layer: memory.layer.clone(),
        kind: memory.kind.clone(),
        context: memory.context.clone(),
        trauma_score: memory.trauma_score,
        original_bytes: memory.original_bytes,
        stored_bytes,
        ratio: ratio(stored_bytes, memory.original_bytes),
        bound: memory.bound.clone(),
        max_abs_error: memory.max_abs_error,
        rel_l2_error: memory.rel_l2_error,
        tensor_count: memory.tensors.len() as u64,
        stored_at: stored_at as u64,
        sealed: memory.sealed.is_some(),
        damaged: false,
    }
}

pub(super) fn tensor_row(tensor: &NewTensor) -> TensorRow<'_> {
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

fn shape_text(shape: &[u64]) -> String {
    format!("[{}]", shape.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
}

/// The numbers of objects that have just been verified.
pub(super) fn object_ids(
    tx: &Transaction<'_>,
    objects: &[ObjectRef],
) -> Result<HashMap<ContentHash, i64>, Failure> {
    objects.iter().map(|object| Ok((object.hash, object_id(tx, object)?))).collect()
}

fn object_id(tx: &Transaction<'_>, object: &ObjectRef) -> Result<i64, Failure> {
    let mut upsert = tx.prepare_cached(
        "INSERT INTO object (hash, bytes) VALUES (?1, ?2) \
         ON CONFLICT (hash) DO UPDATE SET bytes = excluded.bytes, damaged_at = NULL RETURNING id",
    )?;
    Ok(upsert.query_row(params![object.hash.as_bytes(), object.bytes], |row| row.get(0))?)
}

fn consolidation(tx: &Transaction<'_>, memory: &NewMemory, at: i64) -> Result<u64, Failure> {
    tx.prepare_cached(
        "INSERT INTO consolidation (content_hash, layer, context, at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![memory.content_hash.as_bytes(), memory.layer.as_str(), memory.context, at])?;
    Ok(tx.last_insert_rowid() as u64)
}

pub(super) fn record_freed(tx: &Transaction<'_>, of: &Committed, bytes: u64) -> Result<(), Failure> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let known = tx
        .prepare_cached(
            "UPDATE consolidation SET freed_bytes = max(freed_bytes, ?3) WHERE id = ?1 AND content_hash = ?2",
        )?
        .execute(params![of.consolidation as i64, of.content_hash.as_bytes(), bytes])?;
    if known == 0 {
        return Err(Error::UnknownMemory(of.content_hash).into());
    }
    Ok(())
}

pub(super) fn record_trace(
    tx: &Transaction<'_>,
    hash: &ContentHash,
    context: &str,
    via: Via,
) -> Result<bool, Failure> {
    query::require(tx, hash)?;
    add_trace(tx, hash, context, via, now())
}

/// Adds to a trace and, if that is news, records the change.
fn add_trace(
    tx: &Transaction<'_>,
    hash: &ContentHash,
    context: &str,
    via: Via,
    at: i64,
) -> Result<bool, Failure> {
    let added = tx
        .prepare_cached(
            "INSERT INTO trace (memory_id, context, first_at, via, row_check) \
             SELECT id, ?2, ?3, ?4, ?5 FROM memory WHERE content_hash = ?1 ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            hash.as_bytes(),
            context,
            at,
            via.name(),
            trace_check(hash, context.as_bytes(), at as u64, via.name()),
        ])?;
    if added > 0 {
        change(tx, hash, "traced", Some(context), at)?;
    }
    Ok(added > 0)
}

fn forget_trace(tx: &Transaction<'_>, hash: &ContentHash) -> Result<(), Failure> {
    let sql = "DELETE FROM trace WHERE memory_id = (SELECT id FROM memory WHERE content_hash = ?1)";
    tx.prepare_cached(sql)?.execute([hash.as_bytes()])?;
    Ok(())
}

pub(super) fn forget(tx: &Transaction<'_>, hash: &ContentHash) -> Result<(), Failure> {
    let id: Option<i64> = tx
        .prepare_cached("DELETE FROM memory WHERE content_hash = ?1 RETURNING id")?
        .query_row([hash.as_bytes()], |row| row.get(0))
        .optional()?;
    if id.is_none() {
        return Err(Error::UnknownMemory(*hash).into());
    }
    change(tx, hash, "forgotten", None, now())
}

pub(super) fn mark_damaged(tx: &Transaction<'_>, object: &ContentHash, damaged: bool) -> Result<(), Failure> {
    let at = damaged.then(now);
    tx.prepare_cached("UPDATE object SET damaged_at = ?2 WHERE hash = ?1")?
        .execute(params![object.as_bytes(), at])?;
    Ok(())
}

fn change(
    tx: &Transaction<'_>,
    hash: &ContentHash,
    event: &str,
    context: Option<&str>,
    at: i64,
) -> Result<(), Failure> {
    tx.prepare_cached("INSERT INTO change (content_hash, event, context, at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![hash.as_bytes(), event, context, at])?;
    Ok(())
}

/// Milliseconds since 1970-01-01 UTC.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
