//! A memory as it is printed: the JSON that is documented in `docs/src/cli.md`, and rows of tables. Independent of how
//! the store serializes, so that neither binds the other.

use std::time::{Duration, SystemTime};

use omnimind_memory::{ContentHash, Memory, Tensor, Trace};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::output::{Align, Bytes, Percent, Small, Table, timestamp};

#[derive(Debug, Serialize)]
pub(crate) struct MemoryRecord {
    pub(crate) content_hash: ContentHash,
    pub(crate) layer: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) context: String,
    pub(crate) trauma_score: f64,
    pub(crate) original_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) ratio: f64,
    pub(crate) bound: String,
    pub(crate) max_abs_error: f64,
    pub(crate) rel_l2_error: f64,
    pub(crate) stored_at: String,
    pub(crate) sealed: bool,
    pub(crate) damaged: bool,
    /// Empty if sealed.
    pub(crate) tensors: Vec<TensorRecord>,
    /// Of a sealed memory that has one: what its influence is computed from.
    pub(crate) encrypted_signature: Option<EncryptedSignature>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) activation_traces: Vec<TraceRecord>,
}

#[derive(Debug, Serialize)]
pub(crate) struct EncryptedSignature {
    pub(crate) dimension: u64,
    pub(crate) stored_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct TensorRecord {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) original_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) ratio: f64,
    pub(crate) max_abs_error: f64,
    pub(crate) rel_l2_error: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct TraceRecord {
    pub(crate) context: String,
    pub(crate) since: String,
}

impl From<Memory> for MemoryRecord {
    fn from(memory: Memory) -> Self {
        let Memory { summary, metadata, mut tensors, traces, .. } = memory;
        // What a sealed memory has beside its seal is no tensor of its own.
        let encrypted_signature = if summary.sealed { tensors.pop() } else { None };
        let encrypted_signature = encrypted_signature.map(|tensor| EncryptedSignature {
            dimension: tensor.shape.iter().product(),
            stored_bytes: tensor.object.bytes,
        });
        Self {
            content_hash: summary.content_hash,
            layer: summary.layer.to_string(),
            kind: summary.kind,
            context: summary.context,
            trauma_score: summary.trauma_score,
            original_bytes: summary.original_bytes,
            stored_bytes: summary.stored_bytes,
            ratio: summary.ratio,
            bound: summary.bound,
            max_abs_error: summary.max_abs_error,
            rel_l2_error: summary.rel_l2_error,
            stored_at: timestamp(moment(summary.stored_at)),
            sealed: summary.sealed,
            damaged: summary.damaged,
            tensors: tensors.into_iter().map(TensorRecord::from).collect(),
            encrypted_signature,
            metadata,
            activation_traces: traces.into_iter().map(TraceRecord::from).collect(),
        }
    }
}

impl From<Tensor> for TensorRecord {
    fn from(tensor: Tensor) -> Self {
        let stored_bytes = tensor.object.bytes;
        let ratio =
            if tensor.original_bytes == 0 { 1.0 } else { stored_bytes as f64 / tensor.original_bytes as f64 };
        Self {
            name: tensor.name,
            dtype: tensor.dtype,
            shape: tensor.shape,
            original_bytes: tensor.original_bytes,
            stored_bytes,
            ratio,
            max_abs_error: tensor.max_abs_error,
            rel_l2_error: tensor.rel_l2_error,
        }
    }
}

impl From<Trace> for TraceRecord {
    fn from(trace: Trace) -> Self {
        Self { context: trace.context, since: timestamp(moment(trace.first_at)) }
    }
}

impl TensorRecord {
    /// Tensors as rows, the wide ones first in nothing but their own order.
    pub(crate) fn table(tensors: &[Self]) -> Table {
        let mut table = Table::new([
            ("tensor", Align::Left),
            ("type", Align::Left),
            ("shape", Align::Left),
            ("original", Align::Right),
            ("stored", Align::Right),
            ("kept", Align::Right),
            ("max. error", Align::Right),
            ("rel. L2", Align::Right),
        ])
        .indented(2);
        for tensor in tensors {
            table.row([
                tensor.name.clone(),
                tensor.dtype.clone(),
                format!("{:?}", tensor.shape),
                Bytes(tensor.original_bytes).to_string(),
                Bytes(tensor.stored_bytes).to_string(),
                Percent(tensor.ratio).to_string(),
                Small(tensor.max_abs_error).to_string(),
                Small(tensor.rel_l2_error).to_string(),
            ]);
        }
        table
    }
}

/// The first digits of a hash: enough to tell a million memories apart, and to be typed.
pub(crate) fn short(hash: &ContentHash) -> String {
    hash.to_string().chars().take(12).collect()
}

/// A moment of the catalogue.
pub(crate) fn moment(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
