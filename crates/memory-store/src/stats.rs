//! The numbers of a store: what each of them counts is said here, and nowhere else.
//!
//! One MB is 1,048,576 bytes, as in the tools that report VRAM. Beside every figure in MB stands the exact one in bytes.

use crate::memory::{LayerName, ratio};
use serde::Serialize;
use std::collections::BTreeMap;

/// Numbers about all memories of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Memories in the store now.
    pub total_consolidated: u64,
    /// What they took before compression, each memory counted in full, in MB.
    pub total_original_mb: f64,
    /// What the objects that they refer to take on the disk, each object counted once, in MB.
    pub total_compressed_mb: f64,
    /// `total_compressed_mb / total_original_mb`: 0.25 means a quarter; 1 if the store is empty.
    pub average_compression: f64,
    /// VRAM freed by consolidations over the life of the store, forgotten memories included, in MB.
    pub freed_mb: f64,
    /// Pairs of a memory and a context that has it in its trace.
    pub activation_traces: u64,
    /// `total_original_mb` in bytes.
    pub total_original_bytes: u64,
    /// `total_compressed_mb` in bytes.
    pub total_compressed_bytes: u64,
    /// `freed_mb` in bytes.
    pub freed_bytes: u64,
    /// Acts of consolidation over the life of the store: repeated and since forgotten ones count too.
    pub consolidations: u64,
    /// Distinct objects that are referred to.
    pub objects: u64,
    /// Memories with known damage to an object.
    pub damaged: u64,
    /// The same for each layer that has or had memories.
    pub layers: BTreeMap<LayerName, LayerStats>,
}

/// Numbers about one layer, as in [`Stats`]. An object that two layers share counts in both.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LayerStats {
    /// Memories in this layer now.
    pub total_consolidated: u64,
    /// Their size before compression, in MB.
    pub total_original_mb: f64,
    /// The size of their distinct objects, in MB.
    pub total_compressed_mb: f64,
    /// The second over the first.
    pub average_compression: f64,
    /// VRAM freed by consolidations into this layer, in MB.
    pub freed_mb: f64,
    /// Pairs of a memory of this layer and a context.
    pub activation_traces: u64,
    /// `total_original_mb` in bytes.
    pub total_original_bytes: u64,
    /// `total_compressed_mb` in bytes.
    pub total_compressed_bytes: u64,
    /// `freed_mb` in bytes.
    pub freed_bytes: u64,
    /// Acts of consolidation into this layer.
    pub consolidations: u64,
}

impl Stats {
    /// Computes the figures that follow from others.
    pub(crate) fn complete(mut self) -> Self {
        self.total_original_mb = mb(self.total_original_bytes);
        self.total_compressed_mb = mb(self.total_compressed_bytes);
        self.freed_mb = mb(self.freed_bytes);
        self.average_compression = ratio(self.total_compressed_bytes, self.total_original_bytes);
        for layer in self.layers.values_mut() {
            layer.total_original_mb = mb(layer.total_original_bytes);
            layer.total_compressed_mb = mb(layer.total_compressed_bytes);
            layer.freed_mb = mb(layer.freed_bytes);
            layer.average_compression = ratio(layer.total_compressed_bytes, layer.total_original_bytes);
        }
        self
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
