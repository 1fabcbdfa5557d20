//! What is handed over to be consolidated: named tensors in host memory or on a device, and what is known about
//! them. Items are checked here, before anything is read, stored or freed; nothing here does either.

use std::{borrow::Cow, collections::HashSet};

use gpu_probe::Allocation;
use serde_json::{Map, Value};
use softhair_compress::{DType, MAX_RANK, Policy};
use topic_classifier::Signals;

use crate::{Borrowed, Error, Result, context::label_fault, layout::byte_count};

/// Longest name of a tensor, in bytes.
pub const MAX_TENSOR_NAME_BYTES: usize = 4096;

/// Something to consolidate: a state dict, its type, what happened to it, and optionally an embedding (R3).
#[derive(Debug)]
pub struct Item<'a> {
    /// The type, for example `model` or `activation`.
    pub kind: String,
    /// The tensors; at least one, no two of the same name.
    pub tensors: Vec<NamedTensor<'a>>,
    /// What is known about a failure: error type, severity, impact, free text. Decides the layer.
    pub signals: Signals,
    /// Anything else worth keeping. Kept readable for a Preconscious memory, sealed for an Unconscious one.
    pub metadata: Map<String, Value>,
    /// An embedding by which the memory is found again: finite, and for cosine not all zero.
    pub signature: Option<Vec<f32>>,
    /// The error bound for this item; the consolidator's own if `None`.
    pub policy: Option<Policy>,
}

impl<'a> Item<'a> {
    /// An item without failure signals, metadata or signature.
    #[must_use]
    pub fn new(kind: impl Into<String>, tensors: Vec<NamedTensor<'a>>) -> Self {
        Self {
            kind: kind.into(),
            tensors,
            signals: Signals::default(),
            metadata: Map::new(),
            signature: None,
            policy: None,
        }
    }

    /// Bytes of all tensors, uncompressed.
    #[must_use]
    pub fn original_bytes(&self) -> u64 {
        self.tensors.iter().map(NamedTensor::byte_count).sum()
    }

    /// The metadata, and beside it the labels that the item was classified by. The text of an error is not among them:
    /// it may be a whole log.
    pub(crate) fn described(&self) -> Map<String, Value> {
        let mut metadata = self.metadata.clone();
        let Signals { error_type, severity, impact, text: _ } = &self.signals;
        for (key, label) in [("error_type", error_type), ("severity", severity), ("impact", impact)] {
            if let Some(label) = label {
                metadata.entry(key).or_insert_with(|| Value::from(label.as_str()));
            }
        }
        metadata
    }

    /// Checks everything that can be known without reading a device.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::InvalidItem { kind: self.kind.clone(), reason });
        if let Some(fault) = label_fault(&self.kind) {
            return refuse(format!("its type cannot be used: {fault}"));
        }
        if self.tensors.is_empty() {
            return refuse("it has no tensors".to_owned());
        }
        let mut names = HashSet::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            if let Some(fault) = tensor.fault() {
                return refuse(format!("tensor {:?} {fault}", tensor.name));
            }
            if !names.insert(tensor.name.as_str()) {
                return refuse(format!("two tensors are named {:?}", tensor.name));
            }
        }
        Ok(())
    }
}

/// One tensor of an [`Item`].
#[derive(Debug)]
pub struct NamedTensor<'a> {
    /// Its name, unique within the item.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// Where the elements are.
    pub data: TensorData<'a>,
}

impl<'a> NamedTensor<'a> {
    /// A tensor in host memory: row-major, little-endian elements.
    pub fn host(
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        Self { name: name.into(), dtype, shape: shape.into(), data: TensorData::Host(bytes.into()) }
    }

    /// A tensor that fills a device allocation. The allocation is freed once the memory is durable, not before.
    pub fn device(
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        allocation: Allocation,
    ) -> Self {
        Self { name: name.into(), dtype, shape: shape.into(), data: TensorData::Device(allocation) }
    }

    /// A tensor that fills a device allocation, which is only read and stays as it is: to have a copy in the store.
    pub fn kept(
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        allocation: &'a Allocation,
    ) -> Self {
        Self { name: name.into(), dtype, shape: shape.into(), data: TensorData::Kept(allocation) }
    }

    /// Bytes of the elements as given.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        match &self.data {
            TensorData::Host(bytes) => bytes.len() as u64,
            TensorData::Device(allocation) => allocation.bytes(),
            TensorData::Kept(allocation) => allocation.bytes(),
            TensorData::Borrowed(borrowed) => borrowed.bytes(),
        }
    }

    /// Bytes of host memory that are its own, and so are gone with it: not those of a mapped file or of somebody else.
    pub(crate) fn owned_host_bytes(&self) -> u64 {
        match &self.data {
            TensorData::Host(Cow::Owned(bytes)) => bytes.len() as u64,
            TensorData::Host(Cow::Borrowed(_))
            | TensorData::Device(_)
            | TensorData::Kept(_)
            | TensorData::Borrowed(_) => 0,
        }
    }

    /// The elements, if they are in host memory, whoever's it is.
    pub(crate) fn host_bytes(&self) -> Option<&[u8]> {
        match &self.data {
            TensorData::Host(bytes) => Some(bytes),
            TensorData::Borrowed(borrowed) if borrowed.device().is_none() => borrowed.host_bytes(),
            TensorData::Device(_) | TensorData::Kept(_) | TensorData::Borrowed(_) => None,
        }
    }

    /// Index of the card that it is on, if it is on one.
    pub(crate) fn card(&self) -> Option<u32> {
        match &self.data {
            TensorData::Host(_) => None,
            TensorData::Device(allocation) | &TensorData::Kept(allocation) => Some(allocation.device()),
            TensorData::Borrowed(borrowed) => borrowed.device(),
        }
    }

    fn fault(&self) -> Option<String> {
        if let Some(fault) = name_fault(&self.name) {
            return Some(fault);
        }
        match shape_bytes(self.dtype, &self.shape) {
            Err(fault) => Some(fault),
            Ok(expected) if expected != self.byte_count() => Some(format!(
                "of type {} and shape {:?} needs {expected} bytes, but {} were given",
                self.dtype,
                self.shape,
                self.byte_count()
            )),
            Ok(1..) if matches!(&self.data, TensorData::Borrowed(borrowed) if borrowed.address() == 0) => {
                Some("is borrowed memory at address 0, where nothing is".to_owned())
            }
            Ok(_) => None,
        }
    }
}

/// What is wrong with the name of a tensor.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("has an empty name".to_owned());
    }
    let too_long = name.len() > MAX_TENSOR_NAME_BYTES;
    too_long.then(|| format!("has a name longer than {MAX_TENSOR_NAME_BYTES} bytes"))
}

/// Bytes of a tensor, or what is wrong with its shape.
pub(crate) fn shape_bytes(dtype: DType, shape: &[usize]) -> Result<u64, String> {
    if shape.len() > MAX_RANK {
        return Err(format!("has {} dimensions; at most {MAX_RANK} are supported", shape.len()));
    }
    byte_count(dtype, shape).ok_or_else(|| format!("of shape {shape:?} has more bytes than can be counted"))
}

/// Where the elements of a tensor are.
#[derive(Debug)]
pub enum TensorData<'a> {
    /// In host memory, borrowed (a mapped file, say) or owned.
    Host(Cow<'a, [u8]>),
    /// On a device of the consolidator's GPU. It is read in chunks, so host memory stays bounded.
    Device(Allocation),
    /// On a device, in memory that stays as it is.
    Kept(&'a Allocation),
    /// Memory of somebody else, on a device or in the host; see [`NamedTensor::borrowed`] and [`NamedTensor::from_dlpack`].
    Borrowed(Borrowed),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], bytes: usize) -> NamedTensor<'static> {
        NamedTensor::host(name, DType::F32, shape, vec![0; bytes])
    }

    fn reason(item: &Item<'_>) -> String {
        item.check().unwrap_err().to_string()
    }

    #[test]
    fn a_state_dict_with_scalars_and_empty_tensors_is_accepted() {
        // R3, R17
        let item =
            Item::new("model", vec![tensor("a", &[2, 3], 24), tensor("b", &[], 4), tensor("c", &[0, 7], 0)]);
        item.check().unwrap();
        assert_eq!(item.original_bytes(), 28);
    }

    #[test]
    fn what_cannot_be_stored_is_refused_with_the_tensor_and_the_reason() {
        let twice = Item::new("model", vec![tensor("a", &[1], 4), tensor("a", &[1], 4)]);
        assert!(reason(&twice).contains("two tensors are named \"a\""));
        let short = Item::new("model", vec![tensor("w", &[3], 4)]);
        assert!(reason(&short).contains("\"w\" of type F32 and shape [3] needs 12 bytes, but 4 were given"));
        let huge = Item::new("model", vec![tensor("w", &[1 << 60, 1 << 60], 4)]);
        assert!(reason(&huge).contains("more bytes than can be counted"));
        assert!(reason(&Item::new("model", vec![])).contains("no tensors"));
        assert!(reason(&Item::new("", vec![tensor("a", &[1], 4)])).contains("type"));
    }
}
