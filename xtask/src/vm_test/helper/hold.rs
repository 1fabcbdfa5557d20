//! `hold`: a service that holds models, as one that depends on `omnimind-memory` does: the first is in use, the others lie idle and
//! leave for the store when the monitor asks. They come back when a file appears, and what came back is compared.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use end_to_end::weights::{Kind, elements, rel_l2_of};
use omnimind_memory::{Consolidator, DType, Item, Model, NamedTensor, ProcessContext, TensorData};

/// Of each model: one matrix, because what has one dimension comes back bit for bit.
const SHAPE: [usize; 2] = [3 << 10, 1 << 10];
/// The bound with which weights are stored unless told otherwise.
const MOST_REL_L2_ERROR: f64 = 0.006;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Holds so many models of 12 MiB, listens at the socket, and keeps a store in the directory. When the file `SOCKET.back` appears,
/// all come back once, and it is removed.
pub(super) fn run(models: usize, socket: &Path, store: &Path) -> Result<()> {
    ensure!(models >= 2, "one is in use, and one should lie idle");
    let consolidator = Arc::new(Consolidator::builder().store(store).build()?);
    let context = ProcessContext::new("vm-test")?;
    let held: Vec<Model> = (0..models as u64)
        .map(|seed| {
            let weights = NamedTensor::host("weights", DType::F32, SHAPE, bytes(seed));
            let model = consolidator.model(Item::new("model", vec![weights]), &context);
            model.map_err(|failed| anyhow!("model {seed} is not taken: {}", failed.error))
        })
        .collect::<Result<_>>()?;
    let used = held[0].lease()?;
    let listening = consolidator.release_on_request(socket)?;
    println!("{models} models are here; of the one in use {}", used.protection().statement);
    super::ready().context("telling systemd that the models are here")?;
    let back = PathBuf::from(format!("{}.back", socket.display()));
    loop {
        std::io::stdout().flush()?;
        thread::sleep(LOOK_EVERY);
        if let Some(trouble) = listening.trouble() {
            bail!("it does not listen any more: {trouble}");
        }
        if back.exists() {
            fs::remove_file(&back)?;
            let errors: Vec<f64> = held.iter().zip(0..).map(come_back).collect::<Result<_>>()?;
            let largest = errors.iter().copied().fold(0.0, f64::max);
            ensure!(largest <= MOST_REL_L2_ERROR, "the largest relative error is {largest}");
            let lost = errors.iter().filter(|error| **error > 0.0).count();
            println!("all {models} models are whole, {lost} of them by way of the store");
        }
    }
}

/// How far a model is from what it was, as a relative L2 error; 0 if it never left.
fn come_back((model, seed): (&Model, u64)) -> Result<f64> {
    let lease = model.lease()?;
    let TensorData::Host(now) = &lease.item().tensors[0].data else { bail!("it is not in host memory") };
    let was = bytes(seed);
    ensure!(now.len() == was.len(), "{} bytes came back of {}", now.len(), was.len());
    Ok(rel_l2_of(DType::F32, &was, now))
}

/// Those of another model for each seed.
fn bytes(seed: u64) -> Vec<u8> {
    elements(DType::F32, Kind::Normal, SHAPE.iter().product(), seed)
}
