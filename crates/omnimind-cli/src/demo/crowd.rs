//! What fills the VRAM: the things that a crowded test run leaves lying about, as groups of items to consolidate.

use omnimind_memory::{Item, NamedTensor, Policy, ProcessContext, Signals};

use super::data::{Data, HostTensor};
use super::stage::Stage;
use super::wave;
use crate::failure::Failure;

const COPIES: usize = 24;
const VERSIONS: usize = 16;
const HISTORIES: usize = 3;
/// What the history's user needs: amplitudes are at most 1.
const HISTORY_BOUND: Policy = Policy::MaxAbs(1e-4);
const CRASH: &str = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity \
                     of 3.81 GiB of which 12.94 MiB is free.";

/// Items of one sort, each with the context that it belongs to.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) items: Vec<(ProcessContext, Item<'static>)>,
}

#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) groups: Vec<Group>,
    /// In use, so it stays where it is.
    pub(super) in_use: Vec<NamedTensor<'static>>,
    /// The sentence under which the one that crashed is sealed.
    #[cfg(all(unix, feature = "homomorphic"))]
    pub(super) crashed_as: usize,
}

/// Bytes that [`load`] takes.
pub(super) fn bytes(data: &Data) -> u64 {
    let of = |tensors: &[HostTensor]| tensors.iter().map(|tensor| tensor.bytes.len() as u64).sum::<u64>();
    let models = (COPIES + VERSIONS + 2) as u64 * of(&data.weights);
    let history = 2 * (wave::STEPS * 256 * 256 * 4) as u64;
    models + of(std::slice::from_ref(&data.embeddings)) + HISTORIES as u64 * history
}

/// Fills the VRAM. `remembered` is the sentence under which the real model is stored.
pub(super) fn load(stage: &Stage, data: &Data, remembered: usize) -> Result<Crowd, Failure> {
    let sentence = |at: usize| data.sentences.get(at % data.sentences.len()).cloned();
    let item = |kind: &str, tensors: &[HostTensor], signature: usize| {
        let mut item = Item::new(kind, stage.upload(tensors)?);
        item.signature = sentence(signature);
        Ok::<_, Failure>(item)
    };
    let mut copies = Vec::new();
    for test in 1..=COPIES {
        copies
            .push((context(&format!("tests/encoder-{test:02}"))?, item("model", &data.weights, remembered)?));
    }
    let mut versions = Vec::new();
    for version in 1..=VERSIONS {
        let weights = data.fine_tuned(version as u64);
        versions.push((context("tests/fine-tuning")?, item("model", &weights, remembered + 7 * version)?));
    }
    let embeddings = item("embeddings", std::slice::from_ref(&data.embeddings), remembered + 211)?;
    let mut histories = Vec::new();
    for run in 0..HISTORIES {
        let mut history = item("activation", &wave::history(0.7 * run as f32), remembered + 307 + run)?;
        history.policy = Some(HISTORY_BOUND);
        histories.push((context("tests/physics")?, history));
    }
    let crashed_as = (remembered + 401) % data.sentences.len();
    let mut crashed = item("agent", &data.fine_tuned(4711), crashed_as)?;
    crashed.signals =
        Signals { severity: Some("critical".to_owned()), text: Some(CRASH.to_owned()), ..Signals::default() };
    let group = |title: String, items| Group { title, items };
    let groups = vec![
        group(format!("{COPIES} × the same model"), copies),
        group(format!("{VERSIONS} × fine-tuned"), versions),
        group("2000 sentence embeddings".to_owned(), vec![(context("tests/search")?, embeddings)]),
        group(format!("{HISTORIES} × wave history"), histories),
        group("agent that crashed".to_owned(), vec![(context("tests/agents")?, crashed)]),
    ];
    Ok(Crowd {
        groups,
        in_use: stage.upload(&data.weights)?,
        #[cfg(all(unix, feature = "homomorphic"))]
        crashed_as,
    })
}

fn context(name: &str) -> Result<ProcessContext, Failure> {
    Ok(ProcessContext::new(name)?)
}
