//! What a verb works with: the settings, the place where answers go, and the consolidator made of them.

use std::path::Path;
use std::sync::Arc;

#[cfg(all(unix, feature = "homomorphic"))]
use encrypted_unconscious::keyholder::RemoteKeyholder;
use gpu_probe::{DeviceMemory, SimulatedGpu, WatermarkConfig, detect};
use memory_store::Error as StoreError;
use omnimind_memory::{Builder, Compaction, Consolidator, ContentHash, Error, Recipient};
use topic_classifier::Classifier;

use crate::config::{Config, Effective, GpuSource};
use crate::failure::Failure;
use crate::output::{Output, Progress};

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) settings: Effective,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) fn new(settings: Effective, output: Output) -> Self {
        Self { settings, output }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.settings.config
    }

    /// A consolidator over a store that must exist: a mistyped path must not look like an empty store.
    pub(crate) fn existing(&self) -> Result<Consolidator, Failure> {
        self.expect_store()?;
        self.consolidator()
    }

    /// The same for a verb that can do nothing without whoever is asked for scores.
    #[cfg(feature = "homomorphic")]
    pub(crate) fn existing_with_scores(&self) -> Result<Consolidator, Failure> {
        self.expect_store()?;
        let builder = self.builder_with_store()?;
        #[cfg(unix)]
        let builder = builder.scores_from(Arc::new(RemoteKeyholder::new(&self.config().unconscious.socket)));
        Ok(builder.build()?)
    }

    fn expect_store(&self) -> Result<(), Failure> {
        let dir = &self.config().store.dir;
        if dir.exists() {
            return Ok(());
        }
        Err(Failure::NotFound(format!(
            "there is no store at {dir:?}; `omnimind consolidate FILE --context NAME` makes one, --store names another"
        )))
    }

    /// A consolidator without a GPU, over a store that is made if there is none.
    pub(crate) fn consolidator(&self) -> Result<Consolidator, Failure> {
        let builder = self.builder_with_store()?;
        #[cfg(all(unix, feature = "homomorphic"))]
        let builder = match self.scores_from() {
            Some(keyholder) => builder.scores_from(Arc::new(keyholder)),
            None => builder,
        };
        Ok(builder.build()?)
    }

    fn builder_with_store(&self) -> Result<Builder, Failure> {
        let builder = self.builder()?.store(&self.config().store.dir);
        Ok(match self.keyholder()? {
            Some(recipient) => builder.keyholder(recipient),
            None => builder,
        })
    }

    /// Everything that the settings say about a consolidator but the store and the keyholder.
    pub(crate) fn builder(&self) -> Result<Builder, Failure> {
        let config = self.config();
        let watermark =
            WatermarkConfig::new(config.gpu.enter, config.gpu.leave).map_err(Failure::from_gpu)?;
        Ok(Consolidator::builder()
            .classifier(Classifier::new(config.classifier).map_err(Error::Classifier)?)
            .policy(config.compression.bound)
            .index(config.index.index)
            // A process that answers once and ends would never finish what it does in the background.
            .compaction(Compaction::OnRequest)
            .device(config.gpu.device)
            .watermark(watermark))
    }

    /// The public key to seal for, if there is one. Only the file in the usual place may be missing.
    fn keyholder(&self) -> Result<Option<Recipient>, Failure> {
        let keyholder = &self.config().unconscious.keyholder;
        let refuse = |reason: String| {
            Failure::Usage(format!(
                "unconscious.keyholder: {reason}; give a public key (age1…) or the .pub file that `omnimind keyholder \
                 init` made"
            ))
        };
        if keyholder.starts_with("age1") {
            return keyholder.parse().map(Some).map_err(|error| refuse(format!("{error}")));
        }
        if !Path::new(keyholder).exists() && self.is_default("unconscious.keyholder") {
            return Ok(None);
        }
        Recipient::load(keyholder).map(Some).map_err(|error| refuse(error.to_string()))
    }

    /// Who is asked for scores. In the usual place nobody need be there.
    #[cfg(all(unix, feature = "homomorphic"))]
    pub(crate) fn scores_from(&self) -> Option<RemoteKeyholder> {
        let socket = &self.config().unconscious.socket;
        let expected = socket.exists() || !self.is_default("unconscious.socket");
        expected.then(|| RemoteKeyholder::new(socket))
    }

    /// Says what happened on the way that is no error.
    pub(crate) fn tell_notices(&self, consolidator: &Consolidator) {
        for notice in consolidator.notices() {
            self.output.note(notice);
        }
    }

    /// Shows that something takes its time, until it is dropped.
    pub(crate) fn working(&self, on: &str) -> Progress {
        let progress = self.output.progress(1);
        progress.begin(on);
        progress
    }

    fn is_default(&self, key: &str) -> bool {
        self.settings.settings.iter().any(|setting| setting.key == key && setting.origin == "default")
    }

    /// The GPU that the settings ask for, and a line about it.
    pub(crate) fn gpu(&self) -> (Arc<dyn DeviceMemory>, String) {
        match self.config().gpu.source {
            GpuSource::Simulated => {
                let gpu = SimulatedGpu::new(self.config().gpu.simulated_bytes);
                (Arc::new(gpu), "simulated, because gpu.source says so".to_owned())
            }
            GpuSource::Auto => {
                let found = detect();
                (found.probe, found.note)
            }
        }
    }
}

/// The memory that a hash, or the beginning of one, stands for.
pub(crate) fn resolve(consolidator: &Consolidator, hash: &str) -> Result<ContentHash, Failure> {
    consolidator.store().resolve_prefix(hash).map_err(|error| {
        if error.is_not_found() || error.is_damage() {
            return Error::Store(error).into();
        }
        match error {
            // What was typed cannot name one memory, whatever the store holds.
            malformed @ (StoreError::InvalidHash { .. } | StoreError::AmbiguousPrefix { .. }) => {
                Failure::Usage(malformed.to_string())
            }
            other => Error::Store(other).into(),
        }
    })
}
