//! Pages that stay in RAM while a model is leased (R41, R46). Which bytes those are is decided here; how pages are locked, and how far
//! that goes, in `systemd-policy`. What is in force is said as it is, never what was wished for.

use std::sync::Arc;

use serde::Serialize;

use crate::{Item, NamedTensor};

/// How far the bytes of a leased model are kept in RAM; see [`ModelLease::protection`](crate::ModelLease::protection).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Protection {
    /// Bytes of its tensors that are not swapped while it is leased.
    pub protected_bytes: u64,
    /// Bytes of its tensors in host memory that may be.
    pub unprotected_bytes: u64,
    /// What is protected, and if that is not all, why, and what to set.
    pub statement: String,
}

/// The locked pages of an item. They hold the item, too.
pub(crate) struct LockedPages {
    #[cfg(target_os = "linux")]
    _buffers: Vec<systemd_policy::act::CriticalBuffer<TensorBytes>>,
    protection: Protection,
}

impl LockedPages {
    /// What was locked, and what was not.
    pub(crate) fn protection(&self) -> &Protection {
        &self.protection
    }

    fn in_host(item: &Item<'_>) -> bool {
        item.tensors.iter().any(|tensor| tensor.card().is_none())
    }
}

#[cfg(target_os = "linux")]
impl LockedPages {
    /// Locks what the item has in host memory, tensor by tensor, as far as the limit on locked memory allows.
    pub(crate) fn of(item: &Arc<Item<'static>>) -> Self {
        let tensors = 0..item.tensors.len();
        let buffers: Vec<_> = tensors
            .map(|at| TensorBytes { item: Arc::clone(item), at })
            .filter(|bytes| !bytes.as_ref().is_empty())
            .map(systemd_policy::act::CriticalBuffer::lock)
            .collect();
        let protected_bytes = buffers.iter().map(|buffer| buffer.protected_bytes() as u64).sum();
        let unprotected_bytes = buffers.iter().map(|buffer| buffer.unprotected_bytes() as u64).sum();
        let all_bytes = protected_bytes + unprotected_bytes;
        let statement = match buffers.iter().find(|buffer| buffer.unprotected_bytes() > 0) {
            _ if !Self::in_host(item) => ON_CARD.to_owned(),
            None => format!("all {all_bytes} bytes stay in RAM"),
            Some(first) => format!(
                "{protected_bytes} of {all_bytes} bytes stay in RAM; all of them take {unprotected_bytes} bytes more; of tensor \
                 {:?}, {}",
                first.tensor().map_or("", |tensor| &tensor.name),
                first.statement()
            ),
        };
        Self { _buffers: buffers, protection: Protection { protected_bytes, unprotected_bytes, statement } }
    }
}

#[cfg(not(target_os = "linux"))]
impl LockedPages {
    /// Locks nothing, and says so.
    pub(crate) fn of(item: &Arc<Item<'static>>) -> Self {
        let bytes = |tensor: &NamedTensor<'_>| tensor.host_bytes().map_or(0, |bytes| bytes.len() as u64);
        let unprotected_bytes = item.tensors.iter().map(bytes).sum();
        let statement = if Self::in_host(item) {
            format!(
                "nothing is locked: {unprotected_bytes} bytes may be swapped, because pages are only locked on Linux"
            )
        } else {
            ON_CARD.to_owned()
        };
        Self { protection: Protection { protected_bytes: 0, unprotected_bytes, statement } }
    }
}

const ON_CARD: &str = "the memory of a card is not swapped, so nothing has to be locked";

/// The elements of a tensor of an item that is shared. Nobody changes a shared item, so they stay where they are.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct TensorBytes {
    item: Arc<Item<'static>>,
    at: usize,
}

#[cfg(target_os = "linux")]
impl TensorBytes {
    fn tensor(&self) -> Option<&NamedTensor<'static>> {
        self.item.tensors.get(self.at)
    }
}

#[cfg(target_os = "linux")]
impl AsRef<[u8]> for TensorBytes {
    fn as_ref(&self) -> &[u8] {
        self.tensor().and_then(NamedTensor::host_bytes).unwrap_or_default()
    }
}
