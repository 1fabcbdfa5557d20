//! The kernels on a card against what the card's memory and its bus allow, and against what people do today: copy the tensor to the
//! host.
//!
//! - [`rows`]: figures, with what was wanted of them.
//! - `data`: tensors like weights, made quickly.
//! - `recording`: what a pipeline gives to a card, to be given again without the pipeline.
//! - `bus`: the recorded work and plain copies, timed.
//! - `whole`: frames in memory, and the way through a store, timed.
//!
//! Everything is measured through [`DeviceMemory`], so that the bench itself is tested where there is no card.

mod bus;
mod data;
mod recording;
pub mod rows;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use gpu_probe::{Allocation, DeviceMemory, KernelSetup, Recorder};
use omnimind_memory::{DType, Policy};
use softhair_compress::device::{DeviceCodec, LANE_SCRATCH_BYTES, LANE_STAGING_BYTES, LANES, PTX};

use data::Weights;
use recording::Recording;
use rows::{Goal, Peers, Row, Rows};

/// What to measure, and how often.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of the float32 tensor; those of 16 bits take half of them. Whole rows are made of it.
    pub bytes: u64,
    /// Rounds of which the median is taken.
    pub rounds: usize,
    /// Bytes that are compared with the processor's frame, from the first on.
    pub compared_bytes: u64,
    /// Scratch on the card for each lane.
    pub scratch_bytes: u64,
    /// Pinned memory for each lane, in everyday use.
    pub staging_bytes: usize,
    /// Pinned memory for each lane that takes its share of the compressed tensor.
    pub wide_staging_bytes: usize,
    /// Where stores are made and removed.
    pub stores: PathBuf,
    /// What peers reached in the same run.
    pub peers: Peers,
}

impl Default for Options {
    /// As large as it takes for rates to settle: 4 GiB.
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            rounds: 9,
            compared_bytes: 64 << 20,
            scratch_bytes: LANE_SCRATCH_BYTES,
            staging_bytes: LANE_STAGING_BYTES,
            wide_staging_bytes: 450 << 20,
            stores: std::env::temp_dir(),
            peers: Peers::default(),
        }
    }
}

impl Options {
    fn setup(&self, staging_bytes: usize) -> KernelSetup<'static> {
        KernelSetup { ptx: PTX, lanes: LANES, scratch_bytes: self.scratch_bytes, staging_bytes }
    }
}

/// Measures everything on the first card. A part that fails does not hold the others up.
pub fn measure(gpu: &Arc<dyn DeviceMemory>, options: &Options, rows: &mut Rows) {
    rows.part("making the queue", |rows| making_the_queue(gpu, options, rows));
    rows.part("a sample", |rows| a_sample(gpu, options, rows));
    rows.part("float32", |rows| {
        let tensor = Tensor::on(&**gpu, DType::F32, options.bytes)?;
        rows.part("float32, kernels and the bus", |rows| bus::measure(&tensor, options, true, rows));
        rows.part("float32, whole frames", |rows| whole::frames(&tensor, options, rows));
        tensor.free()
    });
    for dtype in [DType::F16, DType::BF16] {
        rows.part(dtype.name(), |rows| {
            let tensor = Tensor::on(&**gpu, dtype, options.bytes / 2)?;
            bus::measure(&tensor, options, false, rows)?;
            tensor.free()
        });
    }
    rows.part("through a store", |rows| whole::through_a_store(gpu, options, rows));
}

/// A tensor on a card, with room to restore it beside it.
struct Tensor<'g> {
    gpu: &'g dyn DeviceMemory,
    dtype: DType,
    shape: [usize; 2],
    weights: Weights,
    original: Allocation,
    restored: Allocation,
}

impl<'g> Tensor<'g> {
    fn on(gpu: &'g dyn DeviceMemory, dtype: DType, bytes: u64) -> Result<Self> {
        let weights = Weights::new(dtype, bytes);
        let (original, restored) = (gpu.allocate(0, weights.bytes)?, gpu.allocate(0, weights.bytes)?);
        for (at, piece) in weights.pieces() {
            gpu.write(&original, at, piece)?;
        }
        let shape = [(weights.bytes / dtype.size_bytes() as u64) as usize / data::COLUMNS, data::COLUMNS];
        Ok(Self { gpu, dtype, shape, weights, original, restored })
    }

    fn bytes(&self) -> u64 {
        self.weights.bytes
    }

    /// A codec on a queue that notes what passes, once it is told to.
    fn codec(&self, options: &Options, staging_bytes: usize) -> Result<DeviceCodec<Recording>> {
        let mut queue = self.gpu.kernels(0, &options.setup(staging_bytes))?;
        queue.join()?;
        Ok(DeviceCodec::new(Recording::new(queue))?)
    }

    fn free(self) -> Result<()> {
        for held in [self.original, self.restored] {
            self.gpu.free(held).map_err(|failed| failed.source)?;
        }
        Ok(())
    }
}

fn making_the_queue(gpu: &Arc<dyn DeviceMemory>, options: &Options, rows: &mut Rows) -> Result<()> {
    // The context is made by the first question.
    let before = gpu.memory(0)?.used_bytes;
    let (queue, took) = timed(|| gpu.kernels(0, &options.setup(options.staging_bytes)));
    let queue = queue?;
    rows.push(Row::new(
        "making the queue: compiling the kernels and taking all memory",
        "s",
        took.as_secs_f64(),
    ));
    let scratch: u64 = (0..queue.lanes()).map(|lane| queue.scratch(lane).bytes).sum();
    rows.push(Row::new("scratch on the card", "MiB", mib(scratch)).goal(Goal::AtMost(64.0)));
    let taken = gpu.memory(0)?.used_bytes.saturating_sub(before);
    rows.push(Row::new("all that making the queue took of the card", "MiB", mib(taken)));
    drop(queue);
    let (queue, took) = timed(|| gpu.kernels(0, &options.setup(options.staging_bytes)));
    drop(queue?);
    rows.push(Row::new("making a second queue", "s", took.as_secs_f64()));
    Ok(())
}

fn a_sample(gpu: &Arc<dyn DeviceMemory>, options: &Options, rows: &mut Rows) -> Result<()> {
    let recorder = Recorder::new(gpu.clone(), 600)?;
    let sample = median(100 * options.rounds, || Ok(timed(|| recorder.sample()).1))?;
    rows.push(Row::new("a sample of memory", "ms", 1e3 * sample.as_secs_f64()).goal(Goal::AtMost(1.0)));
    let closer = median(10 * options.rounds, || Ok(timed(|| recorder.look_closer()).1))?;
    rows.push(Row::new("a closer look, with processes and sensors", "ms", 1e3 * closer.as_secs_f64()));
    Ok(())
}

/// The default bound, which everything here is measured at.
const POLICY: Policy = Policy::Default;

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let done = work();
    (done, begin.elapsed())
}

/// The median of so many rounds, after one that does not count.
fn median(rounds: usize, mut once: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    once()?;
    let mut took = (0..rounds).map(|_| once()).collect::<Result<Vec<_>>>()?;
    took.sort();
    took.get(took.len() / 2).copied().context("no rounds were asked for")
}

/// Bytes of a second, in GB.
fn gb_per_s(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e9
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What went wrong when two things should have been the same.
fn differ(what: &str) -> anyhow::Error {
    anyhow!("{what} differ")
}
