//! Bringing a whole model back from a store, as a user of the facade does.

use std::path::Path;

use anyhow::{Context, Result};
use omnimind_memory::{Consolidator, ContentHash, Item, NamedTensor, ProcessContext};
use serde::Serialize;

use crate::{model::Model, tally::timed};

/// A model in a store.
#[derive(Debug)]
pub struct Recall {
    consolidator: Consolidator,
    context: ProcessContext,
    content_hash: ContentHash,
    stored_bytes: u64,
}

/// One time that the model was brought back.
#[derive(Debug, Serialize)]
pub struct Recalled {
    /// Seconds from the call until every byte had been read.
    pub seconds: f64,
    /// Sum of the bytes read, as little-endian words: nobody can leave the reading out.
    pub sum: u64,
}

impl Recall {
    /// Consolidates the model into a new store.
    ///
    /// # Errors
    /// If that fails.
    pub fn prepare(model: &Model, store: &Path) -> Result<Self> {
        let consolidator = Consolidator::builder().store(store).build()?;
        let context = ProcessContext::new("bench")?;
        let tensor = |t: &crate::model::Tensor| {
            NamedTensor::host(t.name.clone(), t.dtype, t.shape.clone(), t.bytes.clone())
        };
        let item = Item::new("model", model.tensors.iter().map(tensor).collect());
        let mut consolidated = consolidator.consolidate(vec![item], &context);
        if let Some(failed) = consolidated.failed.pop() {
            return Err(failed.error.into());
        }
        let outcome = consolidated.outcomes.pop().context("the consolidator says nothing of the model")?;
        let (content_hash, stored_bytes) = (outcome.content_hash, outcome.stored_bytes);
        Ok(Self { consolidator, context, content_hash, stored_bytes })
    }

    /// Bytes that the model takes in the store.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Brings the model back and reads every byte of it.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn reactivate(&self) -> Result<Recalled> {
        let (sum, time) = timed(|| -> Result<u64> {
            let back = self.consolidator.reactivate(&self.content_hash, &self.context)?;
            Ok(back.tensors.iter().fold(0, |sum, tensor| sum_words(&tensor.bytes).wrapping_add(sum)))
        });
        Ok(Recalled { seconds: time.as_secs_f64(), sum: sum? })
    }
}

fn sum_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(words, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}
