//! Answers measuring commands, one JSON object per line on stdin and stdout, in turns with the peers. Ours, and
//! `hnsw_rs`, which is a peer in Rust.

use std::path::PathBuf;
use std::time::Instant;

use activation_index::LinkedBy;
use anyhow::{Context, Result, bail};
use benches::index::hnsw::HnswRs;
use benches::index::ours::{self, Ours};
use benches::index::{Building, Effort, Search, lookups, search};
use benches::vectors::{DataSet, Vectors};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Command {
    /// Builds over the first vectors of a data set, and saves.
    Build {
        subject: Subject,
        folder: PathBuf,
        rows: usize,
        path: PathBuf,
        #[serde(flatten)]
        building: Building,
    },
    /// Searches with every query, or the first few, again and again.
    Search {
        effort: Effort,
        min_s: f64,
        #[serde(default)]
        answers: bool,
        queries: Option<usize>,
    },
    /// Inserts the vectors that follow, one by one.
    Insert { folder: PathBuf, count: usize },
    /// Opens what was saved, several times.
    Open { path: PathBuf, times: usize },
    /// The memory that a fresh process needs to answer from what was saved.
    Resident { folder: PathBuf, path: PathBuf, width: u32 },
    /// Looks up who may recall what.
    Lookups { traces: usize, path: PathBuf },
}

#[derive(Deserialize)]
enum Subject {
    #[serde(rename = "activation-index")]
    Ours,
    /// Ours, but for its graph, which `hnsw_rs` links.
    #[serde(rename = "hnsw_rs linking our codes")]
    LinkedByHnswRs,
    #[serde(rename = "hnsw_rs")]
    HnswRs,
}

#[derive(Default)]
enum Index {
    #[default]
    None,
    Ours(Box<Ours>),
    HnswRs(HnswRs),
}

#[derive(Default)]
struct State {
    index: Index,
    queries: Vectors,
}

fn main() -> Result<()> {
    let mut state = State::default();
    benches::serve(|command| state.run(command))
}

impl State {
    fn run(&mut self, command: Command) -> Result<Value> {
        match command {
            Command::Build { subject, folder, rows, path, building } => {
                self.index = Index::None;
                let data = DataSet::open(&folder)?;
                self.queries = data.queries()?;
                let vectors = data.database(0..rows)?;
                match subject {
                    Subject::Ours | Subject::LinkedByHnswRs => {
                        let linked_by =
                            if let Subject::Ours = subject { LinkedBy::Us } else { LinkedBy::HnswRs };
                        let (index, built) = Ours::build(&vectors, building, linked_by, &path)?;
                        self.index = Index::Ours(Box::new(index));
                        Ok(serde_json::to_value(built)?)
                    }
                    Subject::HnswRs => {
                        let start = Instant::now();
                        self.index = Index::HnswRs(HnswRs::build(&vectors, building)?);
                        Ok(json!({ "build_s": start.elapsed().as_secs_f64() }))
                    }
                }
            }
            Command::Search { effort, min_s, answers, queries } => {
                let first = queries.map(|count| self.queries.first(count));
                let queries = first.as_ref().unwrap_or(&self.queries);
                match &self.index {
                    Index::None => bail!("build first"),
                    Index::Ours(index) => answer(&**index, queries, effort, min_s, answers),
                    Index::HnswRs(index) => answer(index, queries, effort, min_s, answers),
                }
            }
            Command::Insert { folder, count } => {
                let Index::Ours(index) = &mut self.index else { bail!("build ours first") };
                Ok(serde_json::to_value(index.insert(&DataSet::open(&folder)?, count)?)?)
            }
            Command::Open { path, times } => {
                let query = self.queries.iter().next().context("build first")?;
                Ok(serde_json::to_value(ours::open(&path, query, times)?)?)
            }
            Command::Resident { folder, path, width } => {
                Ok(json!({ "bytes": ours::resident(&DataSet::open(&folder)?, &path, width)? }))
            }
            Command::Lookups { traces, path } => Ok(serde_json::to_value(lookups::measure(traces, &path)?)?),
        }
    }
}

fn answer(
    index: &impl Search,
    queries: &Vectors,
    effort: Effort,
    min_s: f64,
    answers: bool,
) -> Result<Value> {
    Ok(serde_json::to_value(search(index, queries, effort, min_s, answers)?)?)
}
