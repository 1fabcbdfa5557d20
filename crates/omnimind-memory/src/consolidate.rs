//! Consolidating (R3, R4), one item at a time and in one direction: classify, hash, compress or seal, commit, free. Until
//! the commit an item is only borrowed, so a failure leaves it as it was; freeing comes after, and cannot fail it any more.

use std::borrow::Cow;

use memory_store::{
    Batch, Committed, ContentHash, LayerName, Memory, NewMemory, NewTensor, ObjectRef, Tensor,
};
use softhair_compress::{FrameHeader, Policy};
use topic_classifier::{Classification, Layer};

use crate::{
    Consolidated, Consolidator, Error, Failed, Item, NamedTensor, Outcome, ProcessContext, Result,
    TensorData,
    content::{Content, TensorContent},
    kernels::{OnCard, compresses_on_card, hashes_on_card},
    lanes,
    outcome::StillHeld,
    source::{Hashing, Source, Span},
    witness::Event,
};

/// An item whose place and name are decided, and nothing else.
pub(crate) struct Plan<'i> {
    pub(crate) item: &'i Item<'i>,
    pub(crate) classification: Classification,
    pub(crate) policy: Policy,
    /// BLAKE3 of each tensor, in the order of the item.
    pub(crate) digests: Vec<blake3::Hash>,
    pub(crate) content_hash: ContentHash,
}

/// What a frame says of itself, the frame, and BLAKE3 of what it was made of.
type Compressed = (FrameHeader, ObjectRef, blake3::Hash);

/// The objects of a memory: written to a batch, or found in the store.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) tensors: Vec<NewTensor>,
    pub(crate) sealed: Option<ObjectRef>,
    pub(crate) max_abs_error: f64,
    pub(crate) rel_l2_error: f64,
}

impl Consolidator {
    /// Makes items durable, and then frees the device memory that their tensors held (R3, R4).
    ///
    /// Each item is a memory of its own: one that fails is handed back unharmed and does not hold the others up.
    /// Traumatic items are sealed to the keyholder, all others compressed within their error bound. The same content
    /// again is the same memory; then only its activation trace grows. Host memory stays bounded whatever the size of
    /// the tensors.
    pub fn consolidate<'a>(&self, items: Vec<Item<'a>>, context: &ProcessContext) -> Consolidated<'a> {
        let mut consolidated = Consolidated::default();
        for item in items {
            match self.remember(&item, context) {
                Ok((outcome, committed)) => {
                    consolidated.outcomes.push(self.release(item, outcome, &committed));
                }
                Err(error) => consolidated.failed.push(Failed { item, error }),
            }
        }
        consolidated
    }

    /// Everything up to and including the commit.
    fn remember(&self, item: &Item<'_>, context: &ProcessContext) -> Result<(Outcome, Committed)> {
        self.remember_plan(&mut self.plan(item)?, None, context)
    }

    /// As [`Self::remember`], for an item whose bytes may be those that the memory `same` gives, whatever it was made of.
    pub(crate) fn remember_plan(
        &self,
        plan: &mut Plan<'_>,
        same: Option<ContentHash>,
        context: &ProcessContext,
    ) -> Result<(Outcome, Committed)> {
        let own = plan.content_hash;
        for content_hash in same.into_iter().chain([own]) {
            plan.content_hash = content_hash;
            if let Some(done) = self.refer(plan, context)? {
                return Ok(done);
            }
        }
        let batch = self.store.begin()?;
        let stored = match plan.classification.layer {
            Layer::Unconscious => self.seal(plan, &batch)?,
            Layer::Preconscious | Layer::Conscious => self.compress(plan, &batch)?,
        };
        self.commit(plan, stored, batch, context)
    }

    /// Refers to the memory of this name once more, if it is there and whole.
    fn refer(&self, plan: &Plan<'_>, context: &ProcessContext) -> Result<Option<(Outcome, Committed)>> {
        let Some(memory) = self.known(&plan.content_hash)? else { return Ok(None) };
        // The commit reads every object that it refers to, so damage cannot pass for durability.
        match self.commit(plan, Stored::of(memory), self.store.begin()?, context) {
            Err(Error::Store(error)) if error.is_damage() => Ok(None),
            done => done.map(Some),
        }
    }

    /// What the store has under this name, if it may be trusted.
    fn known(&self, content_hash: &ContentHash) -> Result<Option<Memory>> {
        match self.store.manifest(content_hash) {
            Ok(memory) => Ok(Some(memory).filter(|memory| !memory.summary.damaged)),
            Err(error) if error.is_not_found() || error.is_damage() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn plan<'i>(&self, item: &'i Item<'i>) -> Result<Plan<'i>> {
        let policy = item.policy.unwrap_or(self.policy);
        item.check()?;
        policy.check().map_err(Error::Policy)?;
        self.check_signature(item)?;
        let classification = self.classifier.classify(&item.signals);
        if !classification.layer.is_recallable() && self.keyholder.is_none() {
            let trauma_score = classification.trauma_score;
            return Err(Error::NoKeyholder { kind: item.kind.clone(), trauma_score });
        }
        let digests = lanes::each(&item.tensors, |tensor| self.digest(tensor))?;
        let content_hash = content_hash(item, classification.layer, policy, &digests);
        Ok(Plan { item, classification, policy, digests, content_hash })
    }

    /// Preconscious: a frame per tensor, each an object that other memories may share.
    fn compress(&self, plan: &Plan<'_>, batch: &Batch) -> Result<Stored> {
        let work: Vec<_> = plan.item.tensors.iter().zip(&plan.digests).collect();
        let tensors =
            lanes::each(&work, |&(tensor, digest)| self.compress_one(tensor, *digest, plan.policy, batch))?;
        let (max_abs_error, rel_l2_error) =
            tensors.iter().fold((0.0, 0.0), |(abs, rel): (f64, f64), tensor| {
                (abs.max(tensor.max_abs_error), rel.max(tensor.rel_l2_error))
            });
        Ok(Stored { tensors, sealed: None, max_abs_error, rel_l2_error })
    }

    fn compress_one(
        &self,
        tensor: &NamedTensor<'_>,
        digest: blake3::Hash,
        policy: Policy,
        batch: &Batch,
    ) -> Result<NewTensor> {
        let by_card = self.compress_on_card(tensor, policy, batch)?;
        let (header, object, compressed) =
            by_card.map_or_else(|| self.compress_by_copies(tensor, policy, batch), Ok)?;
        if compressed != digest {
            return Err(Error::TensorChanged { tensor: tensor.name.clone() });
        }
        let shape = tensor.shape.iter().map(|&extent| extent as u64).collect();
        let mut stored =
            NewTensor::new(&tensor.name, tensor.dtype.name(), shape, object, tensor.byte_count());
        stored.max_abs_error = header.max_abs_error;
        stored.rel_l2_error = header.rel_l2_error;
        Ok(stored)
    }

    fn digest(&self, tensor: &NamedTensor<'_>) -> Result<blake3::Hash> {
        let source = Source::new(tensor, self.gpu.as_deref())?;
        let span = source.span().filter(|&span| hashes_on_card(span));
        if let Some(Span { device, address, bytes }) = span {
            let digest = self.on_card(device, || source.touch(), |codec| codec.digest(address, bytes));
            if let Some(digest) = digest.map_err(|error| Error::from_codec(&tensor.name, error))? {
                return Ok(digest);
            }
        }
        source.digest().map_err(|error| Error::from_io(&tensor.name, error))
    }

    /// By kernels, where the tensor is. None if that is not possible here.
    ///
    /// The digest is of the tensor as it was afterwards: with the one from before it tells whether somebody wrote to it meanwhile.
    fn compress_on_card(
        &self,
        tensor: &NamedTensor<'_>,
        policy: Policy,
        batch: &Batch,
    ) -> Result<Option<Compressed>> {
        if !tensor.card().is_some_and(|device| self.has_kernels(device)) {
            return Ok(None);
        }
        let source = Source::new(tensor, self.gpu.as_deref())?;
        let span = source.span().filter(|&span| compresses_on_card(tensor, policy, span));
        let Some(Span { device, address, bytes }) = span else { return Ok(None) };
        let mut object = batch.object()?;
        let compress = |codec: &mut OnCard| {
            let header = codec.compress_to(tensor.dtype, &tensor.shape, address, policy, &mut object)?;
            Ok((header, codec.digest(address, bytes)?))
        };
        let compressed = self.on_card(device, || source.touch(), compress);
        match compressed.map_err(|error| Error::from_codec(&tensor.name, error))? {
            Some((header, digest)) => Ok(Some((header, object.finish()?, digest))),
            None => Ok(None),
        }
    }

    /// By the processor, from wherever the tensor is.
    fn compress_by_copies(
        &self,
        tensor: &NamedTensor<'_>,
        policy: Policy,
        batch: &Batch,
    ) -> Result<Compressed> {
        let mut object = batch.object()?;
        let mut source = Hashing::new(Source::new(tensor, self.gpu.as_deref())?);
        let header = self
            .codec
            .compress_from(tensor.dtype, &tensor.shape, &mut source, policy, &mut object)
            .map_err(|error| Error::from_codec(&tensor.name, error))?;
        Ok((header, object.finish()?, source.digest()))
    }

    fn commit(
        &self,
        plan: &Plan<'_>,
        stored: Stored,
        mut batch: Batch,
        context: &ProcessContext,
    ) -> Result<(Outcome, Committed)> {
        let layer = plan.classification.layer;
        let mut memory = NewMemory::new(
            plan.content_hash,
            LayerName::new(layer.as_str())?,
            &plan.item.kind,
            context.as_str(),
        );
        memory.trauma_score = plan.classification.trauma_score;
        memory.bound = plan.policy.to_string();
        memory.original_bytes = plan.item.original_bytes();
        memory.max_abs_error = stored.max_abs_error;
        memory.rel_l2_error = stored.rel_l2_error;
        if layer.is_recallable() {
            memory.metadata = plan.item.described();
            memory.signature.clone_from(&plan.item.signature);
        }
        memory.tensors = stored.tensors;
        memory.sealed = stored.sealed;
        batch.memory(memory.clone())?;
        let committed = batch.commit()?.first().copied().ok_or(Error::NotAcknowledged(plan.content_hash))?;
        if !committed.new {
            self.refers_to(&memory)?;
        }
        Ok((plan.outcome(&memory, &committed), committed))
    }

    /// A memory that was there stays as it is. If it is kept in other objects than those just committed, those may be the
    /// damaged ones for whose sake it was written again, and nothing may be freed on their account.
    fn refers_to(&self, memory: &NewMemory) -> Result<()> {
        let kept = self.store.manifest(&memory.content_hash)?;
        let mut objects: Vec<_> =
            kept.tensors.iter().map(|tensor| tensor.object).chain(kept.sealed).collect();
        objects.sort_unstable();
        objects.dedup();
        if objects == memory.objects() { Ok(()) } else { Err(Error::StillDamaged(memory.content_hash)) }
    }

    /// Frees what the item's tensors hold on the device, now that their content is durable, and lets go of what is others'.
    fn release(&self, item: Item<'_>, mut outcome: Outcome, committed: &Committed) -> Outcome {
        for tensor in item.tensors {
            match (tensor.data, &self.gpu) {
                (TensorData::Device(allocation), Some(gpu)) => match gpu.free(allocation) {
                    Ok(bytes) => outcome.freed_bytes += bytes,
                    Err(error) => {
                        let (allocation, error) = (error.allocation, error.source);
                        outcome.still_held.push(StillHeld { tensor: tensor.name, allocation, error });
                    }
                },
                (TensorData::Borrowed(borrowed), _) => {
                    outcome.released_to_owner_bytes += borrowed.device().map_or(0, |_| borrowed.bytes());
                    if let Some(warning) = borrowed.let_go(&tensor.name) {
                        outcome.warning = Some(warning);
                    }
                }
                (TensorData::Host(Cow::Owned(bytes)), _) => outcome.freed_host_bytes += bytes.len() as u64,
                (TensorData::Device(_) | TensorData::Kept(_) | TensorData::Host(Cow::Borrowed(_)), _) => {}
            }
        }
        if let Err(warning) = self.record_freed(committed, outcome.freed_bytes) {
            outcome.warning = Some(warning);
        }
        self.testify(Event::Consolidated, Some(&outcome.content_hash), Some(outcome.released_bytes()));
        outcome
    }

    /// Counts what was freed. The memory is durable by now, so a failure is only worth a warning.
    pub(crate) fn record_freed(&self, committed: &Committed, bytes: u64) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        let recorded = self.store.record_freed(committed, bytes);
        recorded.map_err(|error| format!("the statistics do not count what was freed: {error}"))
    }
}

impl Plan<'_> {
    fn outcome(&self, stored: &NewMemory, committed: &Committed) -> Outcome {
        let stored_bytes: u64 = stored.objects().iter().map(|object| object.bytes).sum();
        Outcome {
            content_hash: self.content_hash,
            layer: self.classification.layer,
            kind: self.item.kind.clone(),
            new: committed.new,
            healed: committed.healed,
            classification: self.classification.clone(),
            bound: stored.bound.clone(),
            original_bytes: stored.original_bytes,
            stored_bytes,
            ratio: if stored.original_bytes == 0 {
                1.0
            } else {
                stored_bytes as f64 / stored.original_bytes as f64
            },
            max_abs_error: stored.max_abs_error,
            rel_l2_error: stored.rel_l2_error,
            tensors: self.item.tensors.len(),
            freed_bytes: 0,
            released_to_owner_bytes: 0,
            freed_host_bytes: 0,
            still_held: Vec::new(),
            warning: None,
        }
    }
}

impl Stored {
    /// What is there already, to be referred to once more.
    fn of(memory: Memory) -> Self {
        let tensor = |tensor: Tensor| NewTensor {
            name: tensor.name,
            dtype: tensor.dtype,
            shape: tensor.shape,
            object: tensor.object,
            original_bytes: tensor.original_bytes,
            max_abs_error: tensor.max_abs_error,
            rel_l2_error: tensor.rel_l2_error,
        };
        Self {
            tensors: memory.tensors.into_iter().map(tensor).collect(),
            sealed: memory.sealed,
            max_abs_error: memory.summary.max_abs_error,
            rel_l2_error: memory.summary.rel_l2_error,
        }
    }
}

fn content_hash(item: &Item<'_>, layer: Layer, policy: Policy, digests: &[blake3::Hash]) -> ContentHash {
    let tensors = item.tensors.iter().zip(digests).map(|(tensor, &bytes_hash)| TensorContent {
        name: &tensor.name,
        dtype: tensor.dtype.name(),
        shape: &tensor.shape,
        bytes_hash,
    });
    Content {
        layer: layer.as_str(),
        kind: &item.kind,
        bound: &policy.to_string(),
        signature: item.signature.as_deref().unwrap_or_default(),
        tensors: tensors.collect(),
    }
    .hash()
}
