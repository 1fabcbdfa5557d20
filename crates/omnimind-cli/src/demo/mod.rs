//! The whole idea in one minute, on real weights: fill VRAM, consolidate, find again, bring back, refuse what is
//! sealed, and feel it all the same. Every figure is measured in the run that prints it. Nothing is left behind unless it is asked for.

mod check;
mod crowd;
mod data;
mod report;
mod stage;
mod wave;

use std::fs;
use std::path::{Path, PathBuf};
#[cfg(all(unix, feature = "homomorphic"))]
use std::sync::Arc;

use encrypted_unconscious::Identity;
#[cfg(all(unix, feature = "homomorphic"))]
use encrypted_unconscious::keyholder::{CustodyConfig, LocalKeyholder};
use gpu_probe::DeviceMemory;
use omnimind_memory::{
    Consolidator, ContentHash, Error, Familiarity, NamedTensor, ProcessContext, TensorData,
};
use tempfile::TempDir;

use crate::args::Demo;
use crate::failure::Failure;
use crate::output::Progress;
use crate::session::Session;
use crate::tensor_file::WriteMode;
use crate::verbs::reactivate;
use check::Comparison;
use crowd::Group;
use data::Data;
use report::{GroupReport, Report, Teller};
use stage::Stage;

/// Plays the demo.
pub(crate) fn run(session: &Session, args: &Demo) -> Result<(), Failure> {
    let data = Data::load(args.data.as_deref())?;
    let place = Place::new(args.keep.as_deref())?;
    let loaded = crowd::bytes(&data);
    let stage = Stage::set(session, loaded, args.simulated)?;
    let consolidator = consolidator(session, &stage, &place)?;
    let mut report = Report::new(&stage, &place);
    let teller = Teller::new(session.output);

    let (remembered, later) = data.kindred_sentences();
    let crowd = crowd::load(&stage, &data, remembered)?;
    report.pressure_before = Some(consolidator.should_consolidate()?);
    teller.crowded(&report, &stage, loaded)?;

    let mut sealed = None;
    let mut kept = None;
    let progress = session.output.progress(crowd.groups.iter().map(|group| group.items.len()).sum());
    for group in crowd.groups {
        progress.begin(group.title.clone());
        let told = consolidate(&consolidator, group, &progress)?;
        kept = kept.or(told.first);
        sealed = told.sealed.or(sealed);
        report.groups.push(told.report);
    }
    drop(progress);
    report.pressure_after = Some(consolidator.should_consolidate()?);
    teller.consolidated(&report)?;

    let me = ProcessContext::new("demo")?;
    let query = data.sentences.get(later).map(Vec::as_slice).unwrap_or_default();
    report.deja_vu = consolidator.deja_vu(&me, query, 3)?;
    teller.remembered(&report.deja_vu, later)?;

    let found = found(&report.deja_vu, kept)?;
    report.comparison = Some(bring_back(&consolidator, &stage, &data, &found, &me)?);
    if let Some(path) = place.kept_file() {
        keep_file(&consolidator, &found, &me, &path)?;
    }
    teller.brought_back(&report, &found)?;

    report.refusal = sealed.map(|hash| refusal(&consolidator, &hash, &me)).transpose()?;
    teller.refused(&report)?;

    #[cfg(all(unix, feature = "homomorphic"))]
    {
        let alike = data.nearest_to(crowd.crashed_as);
        let ask = |row: usize| consolidator.influence(data.sentences.get(row).map_or(&[], Vec::as_slice));
        report.influence = Some(ask(alike)?);
        report.influence_elsewhere = Some(ask(later)?);
        teller.felt(&report, alike, later)?;
    }

    release(stage.gpu.as_ref(), crowd.in_use)?;
    report.stats = Some(consolidator.stats()?);
    teller.ended(&report)
}

/// Where the store and the key of the demo are.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    /// Removed at the end, whatever happens.
    temporary: Option<TempDir>,
}

impl Place {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        let io = |what: String| {
            move |source| Failure::Io {
                what,
                source,
                next: "choose another directory with --keep, or set TMPDIR",
            }
        };
        let Some(dir) = keep else {
            let temporary = tempfile::Builder::new()
                .prefix("omnimind-demo-")
                .tempdir()
                .map_err(io("a temporary directory".to_owned()))?;
            return Ok(Self { dir: temporary.path().to_owned(), temporary: Some(temporary) });
        };
        fs::create_dir_all(dir).map_err(io(format!("{dir:?}")))?;
        if fs::read_dir(dir).map_err(io(format!("{dir:?}")))?.next().is_some() {
            return Err(Failure::Usage(format!("--keep {dir:?}: is not empty; name a new directory")));
        }
        Ok(Self { dir: dir.to_owned(), temporary: None })
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("keyholder.key")
    }

    #[cfg(all(unix, feature = "homomorphic"))]
    fn state(&self) -> PathBuf {
        self.dir.join("keyholder.state")
    }

    fn kept_file(&self) -> Option<PathBuf> {
        self.temporary.is_none().then(|| self.dir.join("brought-back.safetensors"))
    }
}

fn consolidator(session: &Session, stage: &Stage, place: &Place) -> Result<Consolidator, Failure> {
    let identity = Identity::generate();
    identity.write_pair(place.key()).map_err(Failure::from_keyholder)?;
    let builder = session.builder()?.store(place.store()).gpu(stage.gpu.clone()).device(stage.device);
    let builder = builder.keyholder(identity.recipient());
    #[cfg(all(unix, feature = "homomorphic"))]
    let builder = {
        let keyholder = LocalKeyholder::open(&place.state(), vec![identity], CustodyConfig::default());
        builder.scores_from(Arc::new(keyholder.map_err(Failure::from_custody)?))
    };
    Ok(builder.build()?)
}

struct Told {
    report: GroupReport,
    /// The first memory of the group that may be recalled.
    first: Option<ContentHash>,
    sealed: Option<ContentHash>,
}

fn consolidate(consolidator: &Consolidator, group: Group, progress: &Progress) -> Result<Told, Failure> {
    let stored_before = consolidator.stats()?.total_compressed_bytes;
    let mut report = GroupReport::new(group.title);
    let (mut first, mut sealed) = (None, None);
    for (context, item) in group.items {
        let mut answer = consolidator.consolidate(vec![item], &context);
        if let Some(failed) = answer.failed.pop() {
            return Err(failed.error.into());
        }
        for outcome in answer.outcomes {
            let hash = outcome.content_hash;
            let may_be_recalled = outcome.layer.is_recallable();
            if may_be_recalled && first.is_none() {
                first = Some(hash);
                report.families = families(consolidator, &hash, &context)?;
            }
            sealed = sealed.or((!may_be_recalled).then_some(hash));
            report.add(&outcome);
        }
        progress.step();
    }
    report.stored_bytes = consolidator.stats()?.total_compressed_bytes.saturating_sub(stored_before);
    Ok(Told { report, first, sealed })
}

/// How the lossy tensors of a memory were coded, from their frames.
fn families(
    consolidator: &Consolidator,
    hash: &ContentHash,
    context: &ProcessContext,
) -> Result<Vec<&'static str>, Failure> {
    let mut families = Vec::new();
    consolidator.reactivate_each(hash, context, |tensor| {
        let family = tensor.header().family.name();
        if !families.contains(&family) {
            families.push(family);
        }
        Ok(())
    })?;
    families.sort_unstable();
    families.reverse();
    Ok(families)
}

/// The memory that the déjà vu points to, or, should nothing be familiar, the one that it should point to.
fn found(memories: &[Familiarity], kept: Option<ContentHash>) -> Result<ContentHash, Failure> {
    let familiar = memories.iter().find(|memory| memory.familiar && memory.recallable);
    let found = familiar.map(|memory| memory.content_hash).or(kept);
    found.ok_or_else(|| Failure::NotFound("nothing was consolidated that could be found again".to_owned()))
}

/// Into VRAM, and out again to be compared with the original.
fn bring_back(
    consolidator: &Consolidator,
    stage: &Stage,
    data: &Data,
    hash: &ContentHash,
    context: &ProcessContext,
) -> Result<Comparison, Failure> {
    let back = consolidator.reactivate_on_device(hash, context)?;
    let mut comparison = Comparison::default();
    for tensor in &back.tensors {
        let bytes = stage.download(&tensor.allocation)?;
        let original = data.weights.iter().find(|original| original.name == tensor.name);
        original.and_then(|original| comparison.add(original, tensor.dtype, &bytes)).ok_or_else(|| {
            Failure::Damaged(format!("tensor {:?} is not what was consolidated", tensor.name))
        })?;
    }
    release(stage.gpu.as_ref(), back.tensors.into_iter().map(NamedTensor::from).collect())?;
    Ok(comparison)
}

fn keep_file(
    consolidator: &Consolidator,
    hash: &ContentHash,
    context: &ProcessContext,
    path: &Path,
) -> Result<(), Failure> {
    let memory = consolidator.store().manifest(hash).map_err(Error::Store)?;
    reactivate::write_memory(consolidator, &memory, context, path, WriteMode::CreateNew).map(drop)
}

/// What the one who lived it is told.
fn refusal(
    consolidator: &Consolidator,
    hash: &ContentHash,
    context: &ProcessContext,
) -> Result<String, Failure> {
    match consolidator.reactivate(hash, context) {
        Err(error @ Error::Sealed { .. }) => Ok(error.to_string()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Failure::Partial("what was sealed could be read: this must never happen".to_owned())),
    }
}

fn release(gpu: &dyn DeviceMemory, tensors: Vec<NamedTensor<'_>>) -> Result<(), Failure> {
    for tensor in tensors {
        if let TensorData::Device(allocation) = tensor.data {
            gpu.free(allocation).map_err(|error| Failure::from_gpu(error.source))?;
        }
    }
    Ok(())
}
