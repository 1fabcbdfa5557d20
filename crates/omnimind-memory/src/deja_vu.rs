//! What a query resembles (R26), over the memories of all processes that use the store. Similarity and traces are
//! computed by `activation-index`; this asks an index that is in step with the store, and translates names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use activation_index::{ActivationIndex, Entry, QueryFilter};
use memory_store::ContentHash;
use serde::{Serialize, Serializer};

use crate::{Compaction, Consolidator, Item, ProcessContext, Result};
#[cfg(feature = "homomorphic")]
use crate::{Error, Notice};

/// A memory that a query resembles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Familiarity {
    /// The memory.
    pub content_hash: ContentHash,
    /// How alike: the cosine, or the inner product where the index is configured so. Of a sealed memory its influence.
    pub similarity: f32,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Since when it is stored; in JSON in seconds.
    #[serde(rename = "age_seconds", serialize_with = "as_seconds")]
    pub age: Duration,
    /// Whether the layer lets it be recalled.
    pub recallable: bool,
    /// Why not, if not.
    pub reason_if_not: Option<String>,
    /// Whether it is alike enough to be a déjà vu.
    pub familiar: bool,
    /// Whether the asking context is in its activation trace.
    pub in_trace: bool,
    /// Of a sealed memory, what its keyholder lets be known: the similarity is at least this. Of others none.
    pub influence: Option<f32>,
}

fn as_seconds<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(age.as_secs_f64())
}

impl Consolidator {
    /// The `k` memories that `query` resembles most, with what `context` may do with them (R26). Memories of other processes
    /// that use the store are among them, and sealed ones where a keyholder can be asked about them.
    ///
    /// # Errors
    /// If the query is empty, not finite or has a dimension that no signature has, or if the catalogue cannot be read.
    pub fn deja_vu(&self, context: &ProcessContext, query: &[f32], k: usize) -> Result<Vec<Familiarity>> {
        self.deja_vu_among(&QueryFilter::default(), context, query, k)
    }

    /// [`deja_vu`](Self::deja_vu) among the memories that `filter` admits: of one process context, of one layer, of one type (R27).
    ///
    /// # Errors
    /// As [`deja_vu`](Self::deja_vu).
    pub fn deja_vu_among(
        &self,
        filter: &QueryFilter,
        context: &ProcessContext,
        query: &[f32],
        k: usize,
    ) -> Result<Vec<Familiarity>> {
        let now = SystemTime::now();
        let found = self.index.ask(|index| index.deja_vu_among(filter, context.as_str(), query, k, now))?;
        if self.compaction == Compaction::InBackground {
            self.index.compact_if_due();
        }
        let found = found.into_iter().map(Familiarity::from).collect();
        #[cfg(feature = "homomorphic")]
        let found = self.feel(filter, context, query, k, found);
        Ok(found)
    }

    /// Puts what the Unconscious lets be known among what was found. Without an answer from there, what was found is still
    /// the answer: a notice says what is missing.
    #[cfg(feature = "homomorphic")]
    fn feel(
        &self,
        filter: &QueryFilter,
        context: &ProcessContext,
        query: &[f32],
        k: usize,
        mut found: Vec<Familiarity>,
    ) -> Vec<Familiarity> {
        if self.unconscious.is_none() || filter.recallable == Some(true) {
            return found;
        }
        let influence = self.influence_among(query, |memory| {
            filter.kind.as_ref().is_none_or(|kind| *kind == memory.kind)
                && filter.context.as_ref().is_none_or(|context| memory.contexts.contains(context))
        });
        let influence = match influence {
            Ok(influence) => influence,
            // Then nothing that is sealed can resemble it.
            Err(Error::NoSuchDimension { .. }) => return found,
            Err(error) => {
                self.index.tell(Notice::WithoutInfluence { reason: error.to_string() });
                return found;
            }
        };
        if let Some(unanswered) = influence.unanswered.first() {
            let reason = match influence.unanswered.len() {
                1 => format!("memory {}: {}", unanswered.content_hash, unanswered.reason),
                count => format!("{count} sealed memories, the newest of them because {}", unanswered.reason),
            };
            self.index.tell(Notice::WithoutInfluence { reason });
        }
        let threshold = self.index.source.config.familiar_threshold;
        found.extend(influence.felt.into_iter().map(|felt| Familiarity {
            content_hash: felt.content_hash,
            similarity: felt.at_least,
            kind: felt.kind,
            age: felt.age,
            recallable: false,
            reason_if_not: Some(
                "sealed: it was born of a failure, and only its keyholder can open it".to_owned(),
            ),
            familiar: felt.at_least >= threshold,
            in_trace: felt.contexts.iter().any(|trace| trace == context.as_str()),
            influence: Some(felt.at_least),
        }));
        found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        found.truncate(k);
        found
    }

    /// The memories in whose activation trace `context` is (R25), in no particular order.
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn traced_by(&self, context: &ProcessContext) -> Result<Vec<ContentHash>> {
        self.index.ask(|index| {
            Ok(index.by_context(context.as_str()).copied().map(ContentHash::from_bytes).collect())
        })
    }

    /// Whether the index would take the item's signature, asked before anything is stored.
    pub(crate) fn check_signature(&self, item: &Item<'_>) -> Result<()> {
        let entry = Entry { signature: item.signature.clone(), ..Entry::new([0; 32], "", UNIX_EPOCH) };
        ActivationIndex::new(self.index.source.config)?.insert(entry)?;
        Ok(())
    }
}

impl From<activation_index::Familiarity> for Familiarity {
    fn from(found: activation_index::Familiarity) -> Self {
        Self {
            content_hash: ContentHash::from_bytes(found.id),
            similarity: found.similarity,
            kind: found.kind,
            age: found.age,
            recallable: found.recallable,
            reason_if_not: found.reason_if_not,
            familiar: found.familiar,
            in_trace: found.in_trace,
            influence: found.influence,
        }
    }
}
