//! What came of consolidating: one answer per item, in numbers for programs and in words for people.

use gpu_probe::{Allocation, human_bytes};
use memory_store::ContentHash;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use topic_classifier::{Classification, Layer};

use crate::{Error, Item};

/// What came of [`crate::Consolidator::consolidate`], item by item.
#[derive(Debug, Default)]
#[must_use = "items that failed are in here, with their device memory"]
pub struct Consolidated<'a> {
    /// Items that are now durable.
    pub outcomes: Vec<Outcome>,
    /// Items that are not, given back as they were.
    pub failed: Vec<Failed<'a>>,
}

impl Consolidated<'_> {
    /// Device memory that was freed, in bytes.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.freed_bytes).sum()
    }

    /// Device memory of others that was handed back to its owners, in bytes.
    #[must_use]
    pub fn released_to_owner_bytes(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.released_to_owner_bytes).sum()
    }
}

/// A memory that is durable.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name for ever.
    pub content_hash: ContentHash,
    /// Where it went.
    pub layer: Layer,
    /// The type of the item.
    #[serde(rename = "type")]
    pub kind: String,
    /// False if the same content was there already; then only the trace grew.
    pub new: bool,
    /// Whether it was there, was damaged, and is now whole.
    pub healed: bool,
    /// Why it went there.
    pub classification: Classification,
    /// The error bound asked for, for example `default` or `rel=0.006`.
    pub bound: String,
    /// Bytes of all tensors before.
    pub original_bytes: u64,
    /// Bytes in the store. Tensors that other memories share are counted here all the same.
    pub stored_bytes: u64,
    /// Stored bytes per original byte; 1 for an item without a byte.
    pub ratio: f64,
    /// Largest absolute error of any element.
    pub max_abs_error: f64,
    /// Largest relative L2 error of any tensor.
    pub rel_l2_error: f64,
    /// Number of tensors.
    pub tensors: usize,
    /// Device memory that this consolidator freed, in bytes; what is counted in the statistics.
    pub freed_bytes: u64,
    /// Device memory of others that was handed back to its owner, in bytes. Whether the card has it back by now is the owner's
    /// business: frameworks keep what they free for their next tensor.
    pub released_to_owner_bytes: u64,
    /// Host memory of the item's own tensors that was freed, in bytes. What it only borrowed (a mapped file, a framework's tensor)
    /// is not counted: whether that leaves RAM is its owner's business.
    pub freed_host_bytes: u64,
    /// Device memory that could not be freed although the memory is durable.
    pub still_held: Vec<StillHeld>,
    /// What did not work after the memory was durable, but for what is in `still_held`.
    pub warning: Option<String>,
}

impl Outcome {
    /// Device memory that was freed, or handed back to its owner, in bytes.
    pub(crate) fn released_bytes(&self) -> u64 {
        self.freed_bytes.saturating_add(self.released_to_owner_bytes)
    }

    /// What was released and where, in words.
    pub(crate) fn released(&self) -> String {
        let on_cards = || format!("{} of VRAM", human_bytes(self.released_bytes()));
        let in_host = || format!("{} of RAM", human_bytes(self.freed_host_bytes));
        match (self.released_bytes(), self.freed_host_bytes) {
            (_, 0) => on_cards(),
            (0, _) => in_host(),
            _ => format!("{} and {}", on_cards(), in_host()),
        }
    }
}

/// A device allocation that could not be freed although its content is durable. Nothing is lost: the memory can be
/// reactivated, and freeing can be tried again with the allocation in here.
#[derive(Debug)]
pub struct StillHeld {
    /// The tensor.
    pub tensor: String,
    /// What holds the device memory.
    pub allocation: Allocation,
    /// What the device answered.
    pub error: gpu_probe::Error,
}

impl StillHeld {
    /// What happened and what to do, in one sentence.
    #[must_use]
    pub fn message(&self) -> String {
        format!(
            "tensor {:?} is stored, but its {} bytes of device memory are still held ({}); free the allocation again, or \
             end the process",
            self.tensor,
            self.allocation.bytes(),
            self.error
        )
    }
}

impl Serialize for StillHeld {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("StillHeld", 3)?;
        fields.serialize_field("tensor", &self.tensor)?;
        fields.serialize_field("bytes", &self.allocation.bytes())?;
        fields.serialize_field("message", &self.message())?;
        fields.end()
    }
}

/// An item that could not be consolidated.
#[derive(Debug)]
pub struct Failed<'a> {
    /// The item, unharmed: host tensors as they were, device allocations alive.
    pub item: Item<'a>,
    /// Why.
    pub error: Error,
}
