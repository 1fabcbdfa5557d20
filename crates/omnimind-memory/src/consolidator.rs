//! The consolidator: which store, device, classifier, policy, keyholder and index belong together. What it does with
//! them is in the modules named after the verbs.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use activation_index::{CompactOptions, IndexConfig};
use encrypted_unconscious::Recipient;
use gpu_probe::{DeviceMemory, Sampler, Watermark, WatermarkConfig};
use memory_store::{Stats, Store};
use softhair_compress::{Codec, Policy};
use topic_classifier::{Classifier, ClassifierConfig};

use crate::{
    Compaction, Error, Result, follower::Source, idle::Idle, index::SharedIndex, kernels::Kernels,
    witness::Witness,
};

/// Consolidates instead of deleting: moves items out of VRAM into a durable store, finds them again, brings them back.
///
/// All methods take `&self` and may be called from many threads; many processes may use one store.
pub struct Consolidator {
    pub(crate) store: Store,
    pub(crate) gpu: Option<Arc<dyn DeviceMemory>>,
    pub(crate) device: u32,
    pub(crate) sampler: Option<Arc<Sampler>>,
    pub(crate) classifier: Classifier,
    pub(crate) codec: Codec,
    pub(crate) policy: Policy,
    pub(crate) keyholder: Option<Recipient>,
    pub(crate) watermark: Mutex<Watermark>,
    pub(crate) index: Arc<SharedIndex>,
    pub(crate) compaction: Compaction,
    pub(crate) idle: Idle,
    pub(crate) kernels: Kernels,
    pub(crate) uses_kernels: bool,
    pub(crate) witness: Witness,
    #[cfg(feature = "homomorphic")]
    pub(crate) unconscious: Option<crate::sealed_signatures::Unconscious>,
}

impl Consolidator {
    /// A consolidator is put together piece by piece; only the store is needed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The store, for everything that needs no composing: listing, showing, forgetting, verifying, collecting garbage.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Totals over everything consolidated so far, by all processes (R8).
    ///
    /// # Errors
    /// If the catalogue cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        Ok(self.store.stats()?)
    }
}

impl fmt::Debug for Consolidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consolidator")
            .field("store", &self.store)
            .field("gpu", &self.gpu.as_ref().map(|gpu| gpu.source()))
            .field("device", &self.device)
            .field("policy", &self.policy)
            .field("has_keyholder", &self.keyholder.is_some())
            .finish_non_exhaustive()
    }
}

/// Puts a [`Consolidator`] together.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Builder {
    dir: Option<PathBuf>,
    store: Option<Store>,
    gpu: Option<Arc<dyn DeviceMemory>>,
    device: u32,
    sampler: Option<Arc<Sampler>>,
    classifier: Option<Classifier>,
    policy: Policy,
    keyholder: Option<Recipient>,
    watermark: WatermarkConfig,
    index: IndexConfig,
    compaction: Compaction,
    compact_options: CompactOptions,
    without_kernels: bool,
    #[cfg(feature = "homomorphic")]
    scores_from: Option<Arc<dyn encrypted_unconscious::keyholder::Keyholder>>,
}

impl Builder {
    /// The directory of the store. It is made if it does not exist.
    pub fn store(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_path_buf());
        self
    }

    /// A store that is open already, instead of a directory: opened with other options, or over other parts.
    pub fn over(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// The GPU whose memory is watched and freed. Without one, items can only be in host memory.
    pub fn gpu(mut self, gpu: Arc<dyn DeviceMemory>) -> Self {
        self.gpu = Some(gpu);
        self
    }

    /// Index of the device that is watched, and to which memories are brought back; 0 if not said.
    pub fn device(mut self, device: u32) -> Self {
        self.device = device;
        self
    }

    /// What watches the cards, so that [`Consolidator::place`] knows where they are heading. Without one they are judged by how full
    /// they are now.
    pub fn sampler(mut self, sampler: Arc<Sampler>) -> Self {
        self.sampler = Some(sampler);
        self
    }

    /// What decides between Preconscious and Unconscious; a classifier with the default weights if not said.
    pub fn classifier(mut self, classifier: Classifier) -> Self {
        self.classifier = Some(classifier);
        self
    }

    /// The error bound for items that do not name their own; [`Policy::Default`] if not said.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The public key that traumatic items are sealed to. Without one they are handed back.
    pub fn keyholder(mut self, keyholder: Recipient) -> Self {
        self.keyholder = Some(keyholder);
        self
    }

    /// From which use of VRAM on to consolidate, and until which; 85 % and 75 % if not said.
    pub fn watermark(mut self, watermark: WatermarkConfig) -> Self {
        self.watermark = watermark;
        self
    }

    /// How similarity is measured, and from where on it is familiar; cosine above 0.5 if not said.
    pub fn index(mut self, index: IndexConfig) -> Self {
        self.index = index;
        self
    }

    /// Who makes new snapshots of the index; a thread in the background if not said.
    pub fn compaction(mut self, compaction: Compaction) -> Self {
        self.compaction = compaction;
        self
    }

    /// How snapshots of the index are made: with how many threads, and from how many signatures on they are searched by graph.
    /// All cores and 4,096 if not said.
    pub fn compact_options(mut self, options: CompactOptions) -> Self {
        self.compact_options = options;
        self
    }

    /// Leaves all computing to the processor, and takes nothing of the card. If not said, a card that can run kernels compresses,
    /// restores and hashes what it holds, and what that needs (64 MiB of it) is taken when the consolidator is built: when the card
    /// is full it would be too late. What is stored is the same, byte for byte.
    pub fn without_kernels(mut self) -> Self {
        self.without_kernels = true;
        self
    }

    /// Who is asked for scores of what is sealed: a process behind a socket, or this process itself. Without one, what is
    /// sealed has no influence.
    #[cfg(feature = "homomorphic")]
    pub fn scores_from(mut self, keyholder: Arc<dyn encrypted_unconscious::keyholder::Keyholder>) -> Self {
        self.scores_from = Some(keyholder);
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    /// Without a store, with a bound or an index threshold that means nothing, or if the store cannot be opened.
    pub fn build(self) -> Result<Consolidator> {
        self.policy.check().map_err(Error::Policy)?;
        let classifier = match self.classifier {
            Some(classifier) => classifier,
            None => Classifier::new(ClassifierConfig::default())?,
        };
        self.index.validate()?;
        let store = match (self.store, self.dir) {
            (Some(store), _) => store,
            (None, Some(dir)) => Store::open(dir)?,
            (None, None) => return Err(Error::NoStore),
        };
        let (kernels, uses_kernels) = (Kernels::default(), !self.without_kernels && self.gpu.is_some());
        if let Some(gpu) = self.gpu.as_deref().filter(|_| uses_kernels) {
            // Now, while there is room. A card that has none is as good.
            drop(kernels.of(gpu, self.device));
        }
        let source = Source { store: store.clone(), config: self.index, options: self.compact_options };
        Ok(Consolidator {
            index: Arc::new(SharedIndex::new(source)?),
            compaction: self.compaction,
            idle: Idle::new(),
            kernels,
            uses_kernels,
            witness: Witness::from_environment(),
            #[cfg(feature = "homomorphic")]
            unconscious: self.scores_from.map(crate::sealed_signatures::Unconscious::new),
            store,
            gpu: self.gpu,
            device: self.device,
            sampler: self.sampler,
            classifier,
            codec: Codec::new(),
            policy: self.policy,
            keyholder: self.keyholder,
            watermark: Mutex::new(Watermark::new(self.watermark)),
        })
    }
}
