//! A server as there are several on one card, for the group "mcp". It makes tensors, one after another, and keeps what the card
//! lets it keep; what it does not use now leaves when somebody needs the room.
//!
//! `mcp-server STORE SERVER TENSORS BYTES`: says `ready` with its first tensor on the card, waits for a line, makes the others, and says
//! in JSON what came of it.

use std::{convert::Infallible, env, error::Error, process::ExitCode};

use end_to_end::{context, groups::activations};
use omnimind_memory::{
    Consolidator, DType, DeviceMemory, IdleId, Item, NamedTensor, Outcome, Policy, ProcessContext, Ran,
    Taken, detect,
};
use serde_json::json;

type Failure = Box<dyn Error>;

struct Server {
    gpu: std::sync::Arc<dyn DeviceMemory>,
    consolidator: Consolidator,
    context: ProcessContext,
    number: u64,
    bytes: u64,
    /// What it keeps: in the registry of idle items, or by name.
    kept: Vec<Kept>,
    rescued: u64,
    on_cpu: u64,
    attempts: usize,
}

enum Kept {
    Idle(IdleId),
    Stored(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [store, number, tensors, bytes] = arguments else { return Err("wrong arguments".into()) };
    let (number, tensors, bytes): (u64, u64, u64) = (number.parse()?, tensors.parse()?, bytes.parse()?);
    let found = detect();
    eprintln!("{}", found.note);
    let consolidator = Consolidator::builder().store(store).gpu(found.probe.clone()).build()?;
    let mut server = Server {
        gpu: found.probe,
        consolidator,
        context: context(&format!("server {number}")),
        number,
        bytes,
        kept: Vec::new(),
        rescued: 0,
        on_cpu: 0,
        attempts: 0,
    };
    server.makes(0)?;
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    for tensor in 1..tensors {
        server.makes(tensor)?;
    }
    println!("{}", server.ends()?);
    Ok(())
}

impl Server {
    /// One tensor: on the card, if room can be made there; else by the processor, and straight into the store.
    fn makes(&mut self, tensor: u64) -> Result<(), Failure> {
        let contents = activations(1000 * self.number + tensor, self.bytes as usize / 4);
        let (gpu, bytes) = (&self.gpu, self.bytes);
        let rescued = self.consolidator.with_rescue(|| gpu.allocate(0, bytes), || Ok::<_, Infallible>(()));
        self.attempts += rescued.attempts;
        self.rescued += rescued.relief.released_bytes();
        let kept = match rescued.value? {
            Ran::OnDevice(allocation) => {
                gpu.write(&allocation, 0, &contents)?;
                let tensor = NamedTensor::device("state", DType::F32, [contents.len() / 4], allocation);
                let idle = self.consolidator.idle(item(tensor), &self.context);
                Kept::Idle(idle.map_err(|failed| failed.error)?)
            }
            Ran::OnCpu(()) => {
                self.on_cpu += 1;
                let tensor = NamedTensor::host("state", DType::F32, [contents.len() / 4], contents);
                Kept::Stored(self.stores(item(tensor))?.content_hash.to_string())
            }
        };
        self.kept.push(kept);
        Ok(())
    }

    fn stores(&self, item: Item<'static>) -> Result<Outcome, Failure> {
        let mut done = self.consolidator.consolidate(vec![item], &self.context);
        match (done.outcomes.pop(), done.failed.pop()) {
            (Some(outcome), _) if outcome.still_held.is_empty() => Ok(outcome),
            (Some(outcome), _) => Err(outcome.still_held[0].message().into()),
            (None, failed) => {
                Err(failed.map_or_else(|| "nothing came of it".into(), |failed| failed.error.into()))
            }
        }
    }

    /// Where everything is that it made, and what it took.
    fn ends(mut self) -> Result<serde_json::Value, Failure> {
        let mut names = Vec::new();
        for kept in std::mem::take(&mut self.kept) {
            names.push(match kept {
                Kept::Stored(name) => name,
                Kept::Idle(id) => match self.consolidator.take(id) {
                    Taken::Item(item) => self.stores(item)?.content_hash.to_string(),
                    Taken::Consolidated(hash) => hash.to_string(),
                    Taken::Unknown => return Err(format!("{id} is lost").into()),
                },
            });
        }
        let held = self.gpu.fragmentation(0)?.allocated_bytes;
        Ok(json!({
            "memories": names,
            "rescued_bytes": self.rescued,
            "attempts": self.attempts,
            "on_cpu": self.on_cpu,
            "held_bytes": held,
        }))
    }
}

fn item(tensor: NamedTensor<'static>) -> Item<'static> {
    let mut item = Item::new("state of a server", vec![tensor]);
    item.policy = Some(Policy::Exact);
    item
}
