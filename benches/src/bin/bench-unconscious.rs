//! Answers measuring commands, one JSON object per line on stdin and stdout, in turns with the peer: what sealed memories cost that
//! influence without being read. With `keyholder DIR`, it is the keyholder in a process of its own that it asks.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use benches::vectors::{DataSet, Vectors};
use encrypted_unconscious::keyholder::{
    Allowance, Answer, Custody, CustodyConfig, Keyholder, LocalKeyholder, RemoteKeyholder, Server,
    ServerOptions,
};
use encrypted_unconscious::{
    EncryptedSignature, Identity, OpenedSignature, Query, Sealer, SignatureSum, influence,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Command {
    Prepare { folder: PathBuf, memories: usize, path: PathBuf },
    Encrypt,
    Influence { queries: usize },
    FirstAnswer,
    Accuracy { queries: usize },
    Total { memories: usize },
    Add,
    RoundTrip { memories: usize, times: usize },
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("keyholder") {
        return keyholder(Path::new(&arguments.next().context("a directory")?));
    }
    let mut bench = None;
    benches::serve(|command| match command {
        Command::Prepare { folder, memories, path } => {
            let prepared = bench.insert(Bench::prepare(&folder, memories, &path)?);
            prepared.stored_bytes()
        }
        command => bench.as_mut().context("nothing was prepared")?.run(&command),
    })
}

/// What is measured about.
struct Bench {
    path: PathBuf,
    sealer: Sealer,
    signatures: Vectors,
    queries: Vectors,
    encrypted: Vec<EncryptedSignature>,
    opened: Vec<OpenedSignature>,
    sums: HashMap<usize, SignatureSum>,
    asked: usize,
    starts: usize,
    keyholder: Process,
}

impl Bench {
    fn prepare(folder: &Path, memories: usize, path: &Path) -> Result<Self> {
        let data = DataSet::open(folder)?;
        let (signatures, queries) = (data.database(0..memories)?, data.queries()?);
        std::fs::create_dir_all(path)?;
        let identity = Identity::generate();
        identity.write_new(path.join("key"))?;
        let sealer = Sealer::new(identity.recipient());
        let encrypted = signatures
            .iter()
            .enumerate()
            .map(|(name, signature)| Ok(sealer.encrypt_signature(content_hash(name), signature)?))
            .collect::<Result<Vec<_>>>()?;
        for (name, signature) in encrypted.iter().enumerate() {
            std::fs::write(path.join(format!("memory-{name}")), signature.to_bytes())?;
        }
        let opened = encrypted
            .iter()
            .map(|signature| Ok(identity.open_signature(signature)?))
            .collect::<Result<_>>()?;
        let keyholder = Process::start(path)?;
        let path = path.to_owned();
        Ok(Self {
            path,
            sealer,
            signatures,
            queries,
            encrypted,
            opened,
            sums: HashMap::new(),
            asked: 0,
            starts: 0,
            keyholder,
        })
    }

    fn stored_bytes(&self) -> Result<Value> {
        let mut bytes = 0;
        for name in 0..self.encrypted.len() {
            bytes += std::fs::metadata(self.path.join(format!("memory-{name}")))?.len();
        }
        Ok(json!({ "stored_bytes": bytes as f64 / self.encrypted.len() as f64 }))
    }

    fn run(&mut self, command: &Command) -> Result<Value> {
        match *command {
            Command::Prepare { .. } => self.stored_bytes(),
            Command::Encrypt => self.encrypt(),
            Command::Influence { queries } => self.influence(queries),
            Command::FirstAnswer => self.first_answer(),
            Command::Accuracy { queries } => self.accuracy(queries),
            Command::Total { memories } => self.total(memories),
            Command::Add => self.add(),
            Command::RoundTrip { memories, times } => self.round_trip(memories, times),
        }
    }

    fn encrypt(&self) -> Result<Value> {
        let begin = Instant::now();
        for (name, signature) in self.signatures.iter().enumerate() {
            black_box(self.sealer.encrypt_signature(content_hash(name), signature)?);
        }
        Ok(json!({ "memory_s": begin.elapsed().as_secs_f64() / self.signatures.len() as f64 }))
    }

    fn influence(&self, queries: usize) -> Result<Value> {
        let begin = Instant::now();
        for query in self.queries.iter().take(queries) {
            black_box(influence::scores(&Query::new(query)?, &self.opened)?);
        }
        Ok(json!({ "memory_s": begin.elapsed().as_secs_f64() / (queries * self.opened.len()) as f64 }))
    }

    fn first_answer(&mut self) -> Result<Value> {
        self.starts += 1;
        let state = self.path.join(format!("state-{}", self.starts));
        let keyholder = LocalKeyholder::of(Custody::open(&state, keys(&self.path)?, config())?);
        let query = self.next_query()?;
        let begin = Instant::now();
        answered(&keyholder.influence(&query, &self.encrypted)?)?;
        Ok(json!({ "memory_s": begin.elapsed().as_secs_f64() / self.encrypted.len() as f64 }))
    }

    fn accuracy(&self, queries: usize) -> Result<Value> {
        let mut largest_error = 0f64;
        for query in self.queries.iter().take(queries) {
            let scores = influence::scores(&Query::new(query)?, &self.opened)?;
            for (score, signature) in scores.iter().zip(self.signatures.iter()) {
                let exact: f64 =
                    query.iter().zip(signature).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                largest_error = largest_error.max((score.value() - exact).abs());
            }
        }
        Ok(json!({ "largest_error": largest_error }))
    }

    fn total(&mut self, memories: usize) -> Result<Value> {
        if !self.sums.contains_key(&memories) {
            let sum = self.sum(memories)?;
            self.sums.insert(memories, sum);
        }
        let query = self.next_query()?;
        let sum = &self.sums[&memories];
        let times = 100;
        let begin = Instant::now();
        for _ in 0..times {
            black_box(sum.score(black_box(&query))?);
        }
        Ok(json!({ "total_s": begin.elapsed().as_secs_f64() / f64::from(times) }))
    }

    /// A memory is a member once, so those that repeat a signature are encrypted anew, under names of their own.
    fn sum(&self, memories: usize) -> Result<SignatureSum> {
        let identity = Identity::generate();
        let sealer = Sealer::new(identity.recipient());
        let dimension = self.opened.first().context("no memories")?.dimension();
        let mut sum = SignatureSum::new(dimension);
        let signatures: Vec<_> = self.signatures.iter().collect();
        for name in 0..memories {
            let signature =
                sealer.encrypt_signature(content_hash(name), signatures[name % signatures.len()])?;
            sum.add(&identity.open_signature(&signature)?)?;
        }
        Ok(sum)
    }

    fn add(&self) -> Result<Value> {
        let mut sum = SignatureSum::new(self.opened.first().context("no memories")?.dimension());
        let begin = Instant::now();
        for signature in &self.opened {
            sum.add(signature)?;
        }
        black_box(&sum);
        Ok(json!({ "memory_s": begin.elapsed().as_secs_f64() / self.opened.len() as f64 }))
    }

    fn round_trip(&mut self, memories: usize, times: usize) -> Result<Value> {
        ensure!(memories <= self.encrypted.len(), "{} memories were prepared", self.encrypted.len());
        let mut seconds = Vec::with_capacity(times);
        for round in 0..times {
            // What was asked before would be remembered, and not computed.
            let query = self.next_query()?;
            let first = (round * 7) % (self.encrypted.len() - memories + 1);
            let asked = &self.encrypted[first..first + memories];
            let begin = Instant::now();
            let answers = self.keyholder.remote.influence(&query, asked)?;
            seconds.push(begin.elapsed().as_secs_f64());
            answered(&answers)?;
        }
        seconds.sort_by(f64::total_cmp);
        Ok(json!({ "median_s": seconds[times / 2] }))
    }

    /// A query that was not asked before.
    fn next_query(&mut self) -> Result<Query> {
        self.asked += 1;
        let vectors: Vec<_> = self.queries.iter().collect();
        let mut query = vectors[self.asked % vectors.len()].to_vec();
        let coordinate = self.asked / vectors.len() % query.len();
        query[coordinate] += 0.01 * (1 + self.asked / vectors.len()) as f32;
        Ok(Query::new(&query)?)
    }
}

fn content_hash(name: usize) -> [u8; 32] {
    *blake3::hash(&(name as u64).to_le_bytes()).as_bytes()
}

/// A refusal is quick; it must not be measured.
fn answered(answers: &[Answer]) -> Result<()> {
    ensure!(answers.iter().all(|answer| matches!(answer, Answer::AtLeast(_))), "a question was refused");
    Ok(())
}

fn keys(path: &Path) -> Result<Vec<Identity>> {
    Ok(vec![Identity::load(path.join("key"))?])
}

/// Budgets that no round of the bench comes to the end of. Nothing else is different from the default.
fn config() -> CustodyConfig {
    let mut config = CustodyConfig::default();
    let unlimited = Allowance { capacity: 1_000_000_000, per_day: 1_000_000 };
    (config.budget.memory, config.budget.caller) = (unlimited, unlimited);
    config
}

/// The keyholder in a process of its own.
struct Process {
    child: Child,
    remote: RemoteKeyholder,
}

impl Process {
    fn start(path: &Path) -> Result<Self> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let mut child = command.arg("keyholder").arg(path).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the keyholder did not start");
        let remote = RemoteKeyholder::new(path.join("socket"));
        Ok(Self { child, remote })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn keyholder(path: &Path) -> Result<()> {
    let custody = Arc::new(Custody::open(&path.join("state"), keys(path)?, config())?);
    let server = Server::bind(&path.join("socket"), custody, ServerOptions::default())?;
    println!("ready");
    server.serve()?;
    Ok(())
}
