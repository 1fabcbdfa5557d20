//! Gives a memory other objects, if it still has those that it is expected to have. The inside of a transaction.

use super::query;
use super::row::{blob, manifest_check, row_check, text};
use super::sqlite::Failure;
use super::write::{object_ids, tensor_row, write_tensors};
use crate::replace::{Replaced, Replacement};
use rusqlite::{Transaction, params};

pub(super) fn replace(tx: &Transaction<'_>, new: &Replacement) -> Result<Replaced, Failure> {
    let hash = &new.content_hash;
    let Some(memory) = query::memory(tx, hash)? else { return Ok(Replaced::Gone) };
    if memory.objects() != new.expected {
        return Ok(Replaced::Differs);
    }
    // As they are in the row, to the byte.
    let (id, metadata, signature) = tx
        .prepare_cached("SELECT id, metadata, signature FROM memory WHERE content_hash = ?1")?
        .query_row([hash.as_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, text(row, 1), blob(row, 2).map(|bytes| bytes.map(<[u8]>::to_vec))))
        })?;
    let (metadata, signature) = (metadata?, signature?);
    let objects = new.objects();
    let ids = object_ids(tx, &objects)?;
    let mut summary = memory.summary;
    summary.stored_bytes = objects.iter().map(|object| object.bytes).fold(0, u64::saturating_add);
    summary.tensor_count = new.tensors.len() as u64;
    let manifest = manifest_check(hash, &metadata, signature.as_deref(), new.tensors.iter().map(tensor_row));
    tx.prepare_cached(
        "UPDATE memory SET stored_bytes = ?2, tensor_count = ?3, sealed = ?4, row_check = ?5, \
         manifest_check = ?6 WHERE id = ?1",
    )?
    .execute(params![
        id,
        summary.stored_bytes,
        summary.tensor_count,
        new.sealed.map(|object| ids[&object.hash]),
        row_check(&summary, new.sealed.as_ref()),
        manifest,
    ])?;
    write_tensors(tx, id, &new.tensors, &ids)?;
    Ok(Replaced::Done)
}
