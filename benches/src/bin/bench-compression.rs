//! Answers measuring commands, one JSON object per line on stdin and stdout, in turns with the peers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use benches::{large_file, model::Model, planes::Planes, recall::Recall};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use softhair_compress::Policy;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Command {
    /// Keeps a model in memory for the commands that follow.
    Load { path: PathBuf },
    /// One pass of the codec over the model, on one thread.
    Pass { policy: String },
    /// Writes the model as it is after a pass of the codec.
    WriteRestored { policy: String, out: PathBuf },
    /// Computes the smooth data and writes it for the peers.
    Planes { frames: usize, out: [PathBuf; 2] },
    /// One pass of the codec over the smooth data, on one thread.
    Smooth { max_abs_errors: Vec<f64> },
    /// Consolidates the model into a store for `reactivate`.
    Consolidate { store: PathBuf },
    /// Brings the whole model back and reads every byte of it; on all threads if `threads` is 0.
    Reactivate { threads: usize },
    /// Writes a safetensors file.
    LargeFile { path: PathBuf, bytes: u64 },
}

#[derive(Default)]
struct State {
    model: Model,
    planes: Planes,
    recall: Option<Recall>,
}

fn main() -> Result<()> {
    let mut state = State::default();
    benches::serve(|command| state.run(command))
}

impl State {
    fn run(&mut self, command: Command) -> Result<Value> {
        match command {
            Command::Load { path } => {
                self.model = Model::load(&path)?;
                let bytes: usize = self.model.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
                Ok(json!({ "tensors": self.model.tensors.len(), "original_bytes": bytes }))
            }
            Command::Pass { policy } => {
                let policy: Policy = policy.parse()?;
                on_threads(1, || self.model.pass(policy))
            }
            Command::WriteRestored { policy, out } => {
                answer(self.model.write_restored(policy.parse()?, &out)?)
            }
            Command::Planes { frames, out: [real, imaginary] } => {
                self.planes = Planes::make(frames, [&real, &imaginary])?;
                Ok(json!({ "shape": self.planes.shape() }))
            }
            Command::Smooth { max_abs_errors } => on_threads(1, || self.planes.pass(&max_abs_errors)),
            Command::Consolidate { store } => {
                let recall = Recall::prepare(&self.model, &store)?;
                let stored = recall.stored_bytes();
                self.recall = Some(recall);
                Ok(json!({ "stored_bytes": stored }))
            }
            Command::Reactivate { threads } => {
                let recall = self.recall.as_ref().context("consolidate first")?;
                on_threads(threads, || recall.reactivate())
            }
            Command::LargeFile { path, bytes } => Ok(json!({ "bytes": large_file::write(&path, bytes)? })),
        }
    }
}

fn on_threads<T: Serialize + Send>(threads: usize, call: impl FnOnce() -> Result<T> + Send) -> Result<Value> {
    answer(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(call)?)
}

fn answer(value: impl Serialize) -> Result<Value> {
    Ok(serde_json::to_value(value)?)
}
