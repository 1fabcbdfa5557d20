//! One memory's row, in both directions, and the check sums that tell a damaged row from a good one.
//!
//! `SQLite` does not protect its pages against flipped bits. A memory row therefore carries two BLAKE3 check
//! sums (the first 16 bytes of each): `row_check` over the columns of a summary, `manifest_check` over
//! metadata, signature, tensors and the hashes of their objects. So does each row of a trace.

use super::sqlite::Failure;
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::{LayerName, MemorySummary, ratio};
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// The columns that [`summary`] reads, in its order. `m` is the memory, `s` the object that it is sealed in.
pub(super) const SUMMARY: &str = "m.content_hash, m.layer, m.kind, m.context, m.trauma_score, \
    m.original_bytes, m.stored_bytes, m.bound, m.max_abs_error, m.rel_l2_error, m.tensor_count, m.stored_at, \
    s.hash, s.bytes, m.row_check, m.id IN damaged";

/// The memories with a damaged object, as a common table. Empty, and found so at once, in a healthy store.
pub(super) const DAMAGED: &str = "WITH damaged AS MATERIALIZED (\
    SELECT t.memory_id AS id FROM object o JOIN tensor t ON t.object = o.id WHERE o.damaged_at IS NOT NULL \
    UNION SELECT m.id FROM object o JOIN memory m ON m.sealed = o.id WHERE o.damaged_at IS NOT NULL) ";

/// The number of columns in [`SUMMARY`].
pub(super) const SUMMARY_COLUMNS: usize = 16;

/// Reads a summary, the object it is sealed in, and whether the row passed its check sum.
pub(super) fn summary(row: &Row<'_>) -> Result<(MemorySummary, Option<ObjectRef>, bool), Failure> {
    let content_hash = hash(row, 0)?;
    let sealed = match blob(row, 12)? {
        Some(_) => Some(ObjectRef { hash: hash(row, 12)?, bytes: unsigned(row, 13)? }),
        None => None,
    };
    let layer = text(row, 1)?;
    let (original_bytes, stored_bytes) = (unsigned(row, 5)?, unsigned(row, 6)?);
    let mut summary = MemorySummary {
        content_hash,
        // A layer whose name is damaged is still listed, as what it is.
        layer: LayerName::new(layer).or_else(|_| LayerName::new("damaged"))?,
        kind: text(row, 2)?,
        context: text(row, 3)?,
        trauma_score: real(row, 4)?,
        original_bytes,
        stored_bytes,
        ratio: ratio(stored_bytes, original_bytes),
        bound: text(row, 7)?,
        max_abs_error: real(row, 8)?,
        rel_l2_error: real(row, 9)?,
        tensor_count: unsigned(row, 10)?,
        stored_at: unsigned(row, 11)?,
        sealed: sealed.is_some(),
        damaged: row.get::<_, bool>(15)?,
    };
    let whole = blob(row, 14)? == Some(&row_check(&summary, sealed.as_ref())[..]);
    summary.damaged |= !whole;
    Ok((summary, sealed, whole))
}

/// The check sum over a summary.
pub(super) fn row_check(summary: &MemorySummary, sealed: Option<&ObjectRef>) -> [u8; 16] {
    let mut check = Check::new("memory-store 2026 row check v1");
    check.bytes(summary.content_hash.as_bytes());
    for text in [summary.layer.as_str(), &summary.kind, &summary.context, &summary.bound] {
        check.bytes(text.as_bytes());
    }
    for real in [summary.trauma_score, summary.max_abs_error, summary.rel_l2_error] {
        check.number(real.to_bits());
    }
    for count in [summary.original_bytes, summary.stored_bytes, summary.tensor_count, summary.stored_at] {
        check.number(count);
    }
    check.object(sealed);
    check.finish()
}

/// The tensor rows as both directions see them.
pub(super) struct TensorRow<'a> {
    pub(super) name: &'a str,
    pub(super) dtype: &'a str,
    pub(super) shape: &'a [u64],
    pub(super) object: ObjectRef,
    pub(super) original_bytes: u64,
    pub(super) max_abs_error: f64,
    pub(super) rel_l2_error: f64,
}

/// The check sum over a manifest.
pub(super) fn manifest_check<'a>(
    content_hash: &ContentHash,
    metadata: &str,
    signature: Option<&[u8]>,
    tensors: impl ExactSizeIterator<Item = TensorRow<'a>>,
) -> [u8; 16] {
    let mut check = Check::new("memory-store 2026 manifest check v1");
    check.bytes(content_hash.as_bytes());
    check.bytes(metadata.as_bytes());
    check.number(u64::from(signature.is_some()));
    check.bytes(signature.unwrap_or_default());
    check.number(tensors.len() as u64);
    for tensor in tensors {
        check.bytes(tensor.name.as_bytes());
        check.bytes(tensor.dtype.as_bytes());
        check.number(tensor.shape.len() as u64);
        tensor.shape.iter().for_each(|&extent| check.number(extent));
        check.object(Some(&tensor.object));
        check.number(tensor.original_bytes);
        check.number(tensor.max_abs_error.to_bits());
        check.number(tensor.rel_l2_error.to_bits());
    }
    check.finish()
}

/// The check sum over one line of a trace.
pub(super) fn trace_check(content_hash: &ContentHash, context: &[u8], first_at: u64, via: &str) -> [u8; 16] {
    let mut check = Check::new("memory-store 2026 trace check v1");
    check.bytes(content_hash.as_bytes());
    check.bytes(context);
    check.number(first_at);
    check.bytes(via.as_bytes());
    check.finish()
}

/// BLAKE3 over fields that cannot run into one another: text and bytes with their lengths before them,
/// numbers as 8 bytes, all little-endian.
struct Check(blake3::Hasher);

impl Check {
    fn new(purpose: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(purpose))
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn object(&mut self, object: Option<&ObjectRef>) {
        self.number(u64::from(object.is_some()));
        if let Some(object) = object {
            self.bytes(object.hash.as_bytes());
            self.number(object.bytes);
        }
    }

    fn finish(&self) -> [u8; 16] {
        let mut check = [0; 16];
        self.0.finalize_xof().fill(&mut check);
        check
    }
}

/// A signature as the catalogue keeps it: float32, little-endian.
pub(super) fn signature_bytes(signature: &[f32]) -> Vec<u8> {
    signature.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// And back.
pub(super) fn signature_from(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

// A flipped bit can make any column anything, so these take what they find. The check sums tell.

pub(super) fn hash(row: &Row<'_>, column: usize) -> Result<ContentHash, Failure> {
    let bytes = blob(row, column)?.unwrap_or_default();
    match bytes.try_into() {
        Ok(bytes) => Ok(ContentHash::from_bytes(bytes)),
        Err(_) => Err(Failure::Damage(format!("a hash in it has {} bytes", bytes.len()))),
    }
}

pub(super) fn blob<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r [u8]>, Failure> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Some(bytes),
        ValueRef::Null => None,
        _ => Some(&[]),
    })
}

pub(super) fn text(row: &Row<'_>, column: usize) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(blob(row, column)?.unwrap_or_default()).into_owned())
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, Failure> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => u64::try_from(number).unwrap_or(0),
        _ => 0,
    })
}

pub(super) fn real(row: &Row<'_>, column: usize) -> Result<f64, Failure> {
    Ok(match row.get_ref(column)? {
        ValueRef::Real(number) => number,
        ValueRef::Integer(number) => number as f64,
        _ => 0.0,
    })
}
