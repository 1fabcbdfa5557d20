//! Those who are compared: one process for each, all of which understand the same commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::curve::{Curve, Point, Truth};
use super::super::environment::Environment;
use super::super::series::{Series, in_turns};
use super::super::worker::Worker;
use crate::cargo::build;

pub(super) const OURS: &str = "activation-index";
pub(super) const PEERS: [&str; 5] = ["hnswlib", "faiss", "usearch f16", "usearch bf16", "usearch i8"];
/// A peer in Rust, in the same program as ours. Too slow to be built more often than once.
pub(super) const HNSW_RS: &str = "hnsw_rs";
/// Ours, but for its graph, which that peer links: what linking takes, by the same codes.
pub(super) const LINKED_BY_HNSW_RS: &str = "hnsw_rs linking our codes";

const M: u32 = 16;
const EF_CONSTRUCTION: u32 = 200;
const THREADS: u32 = 2;
/// Rising by about a quarter of an octave.
const WIDTHS: [u32; 32] = [
    10, 12, 14, 17, 20, 24, 28, 34, 40, 48, 57, 68, 80, 96, 114, 136, 160, 192, 226, 270, 320, 380, 450, 540,
    640, 760, 900, 1080, 1280, 1520, 1810, 2150,
];
/// A width is worth timing from just below the first of these recalls to the first width that reaches the second.
const WORTH_TIMING: (f64, f64) = (0.94, 0.999);
/// Queries of an exact scan that are enough for its speed.
const SCANNED: u32 = 100;

/// How a search is to go about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Effort {
    Width(u32),
    /// As ours does it unless told otherwise.
    Calibrated,
    /// Ours, comparing with everything.
    Exact,
}

impl Effort {
    fn json(self) -> Value {
        match self {
            Self::Width(width) => json!({ "width": width }),
            Self::Calibrated => json!("calibrated"),
            Self::Exact => json!("exact"),
        }
    }
}

/// The vectors that are searched: the first `rows` of a data set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) folder: &'a Path,
    pub(super) rows: u32,
}

/// How much time is spent on measuring one thing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Care {
    /// Passes that the median is taken of.
    pub(super) rounds: usize,
    /// What one pass of searches lasts at least.
    pub(super) seconds: f64,
    /// Every so many of [`WIDTHS`].
    pub(super) step: usize,
}

/// Where the programs are, and room for files.
pub(super) struct Ground {
    pub(super) environment: Environment,
    program: PathBuf,
    scratch: TempDir,
}

impl Ground {
    pub(super) fn prepare() -> Result<Self> {
        let environment = Environment::prepare()?;
        let mut programs = build(&["benches"])?;
        let program = programs.remove("bench-index").context("cargo built no program bench-index")?;
        let scratch = tempfile::tempdir_in(&environment.cache)?;
        Ok(Self { environment, program, scratch })
    }

    /// A fresh process for one of those who are compared.
    pub(super) fn start(&self, name: &'static str) -> Result<Contender> {
        let mut command = match name {
            OURS | HNSW_RS | LINKED_BY_HNSW_RS => Command::new(&self.program),
            _ => self.environment.script("index/peers.py"),
        };
        let path = self.scratch.path().join(name.replace(' ', "-"));
        Ok(Contender { name, worker: Worker::start(name, &mut command)?, path })
    }

    pub(super) fn field(&self, names: &[&'static str]) -> Result<Vec<Contender>> {
        names.iter().map(|name| self.start(name)).collect()
    }
}

/// One of those who are compared.
pub(super) struct Contender {
    pub(super) name: &'static str,
    worker: Worker,
    /// Where it keeps what it saves.
    path: PathBuf,
}

impl Contender {
    /// Builds over `data` and saves, with room for `room` more.
    pub(super) fn build(&mut self, data: Data<'_>, room: u32) -> Result<Value> {
        let command = json!({
            "op": "build", "subject": self.name, "folder": data.folder, "rows": data.rows, "room": room,
            "m": M, "ef_construction": EF_CONSTRUCTION, "threads": THREADS, "path": self.path,
        });
        self.worker.ask(&command)
    }

    pub(super) fn truth(&mut self, data: Data<'_>) -> Result<Truth> {
        let answer = self.worker.ask(&json!({"op": "truth", "folder": data.folder, "rows": data.rows}))?;
        let (path, k) = (answer["path"].as_str(), answer["k"].as_u64());
        Truth::read(
            Path::new(path.context("the truth has no path")?),
            k.context("the truth has no k")? as usize,
        )
    }

    pub(super) fn insert(&mut self, folder: &Path, count: u32) -> Result<Value> {
        self.worker.ask(&json!({"op": "insert", "folder": folder, "count": count}))
    }

    /// What a fresh process needs in memory to answer every query from what this one has saved.
    pub(super) fn resident(&self, ground: &Ground, folder: &Path) -> Result<Value> {
        let command = json!({
            "op": "resident", "subject": self.name, "folder": folder, "path": self.path, "width": 100,
        });
        ground.start(self.name)?.worker.ask(&command)
    }

    /// Opens what it has saved, several times.
    pub(super) fn open(&mut self, times: u32) -> Result<Value> {
        self.worker.ask(&json!({"op": "open", "path": self.path, "times": times}))
    }

    pub(super) fn lookups(&mut self, traces: u32) -> Result<Value> {
        self.worker
            .ask(&json!({"op": "lookups", "traces": traces, "path": self.path.with_extension("traces")}))
    }

    fn recall(&mut self, effort: Effort, truth: &Truth) -> Result<f64> {
        let command = json!({"op": "search", "effort": effort.json(), "min_s": 0.0, "answers": true});
        truth.recall(&self.worker.ask(&command)?["answers"])
    }

    fn time(&mut self, effort: Effort, seconds: f64) -> Result<Value> {
        let mut command = json!({"op": "search", "effort": effort.json(), "min_s": seconds});
        if effort == Effort::Exact {
            command["queries"] = json!(SCANNED);
        }
        self.worker.ask(&command)
    }

    /// The widths that are worth timing, and what they recall.
    fn worthwhile(&mut self, truth: &Truth, step: usize) -> Result<Vec<(Effort, f64)>> {
        let mut found: Vec<(Effort, f64)> = Vec::new();
        for &width in WIDTHS.iter().step_by(step) {
            let effort = Effort::Width(width);
            let recall = self.recall(effort, truth)?;
            found.push((effort, recall));
            // Where vectors in few bits hold a peer back, it is of no use to double the width again and again.
            let earlier = found.len().checked_sub(1 + 4usize.div_ceil(step)).map(|i| found[i].1);
            if recall >= WORTH_TIMING.1 || earlier.is_some_and(|earlier| recall - earlier < 0.001) {
                break;
            }
        }
        let first = found.iter().position(|&(_, recall)| recall >= WORTH_TIMING.0).unwrap_or(found.len());
        found.drain(..first.saturating_sub(1));
        Ok(found)
    }
}

/// What a sweep found.
pub(super) struct Sweep {
    /// Of each contender, in their order.
    pub(super) curves: Vec<Curve>,
    /// Of ours, as it searches unless told otherwise.
    pub(super) calibrated: Point,
    /// Of ours, comparing with everything.
    pub(super) exact: Point,
}

/// Searches with every index built, at every width that is worth it, in turns.
pub(super) fn sweep(field: &mut [Contender], truth: &Truth, care: Care) -> Result<Sweep> {
    let mut settings = Vec::new();
    for (who, contender) in field.iter_mut().enumerate() {
        let mut worthwhile = contender.worthwhile(truth, care.step)?;
        if contender.name == OURS {
            for effort in [Effort::Calibrated, Effort::Exact] {
                worthwhile.push((effort, contender.recall(effort, truth)?));
            }
        }
        settings.extend(worthwhile.into_iter().enumerate().map(|(rank, setting)| (rank, who, setting)));
    }
    // Neighbours in time are settings of different indexes.
    settings.sort_by_key(|&(rank, who, _)| (rank, who));
    let ask = |&(_, who, (effort, _)): &(usize, usize, (Effort, f64))| field[who].time(effort, care.seconds);
    let series = in_turns(care.rounds, &settings, ask)?;

    let point = |effort: Effort, recall: f64, series: &Series| {
        let width = match effort {
            Effort::Width(width) => Some(width),
            Effort::Calibrated | Effort::Exact => None,
        };
        Point { width, recall, queries_per_s: 1.0 / series.of("query_s") }
    };
    let measured: Vec<(usize, Effort, Point)> = settings
        .iter()
        .zip(&series)
        .map(|(&(_, who, (effort, recall)), series)| (who, effort, point(effort, recall, series)))
        .collect();
    let of_ours = |wanted: Effort| {
        let found = measured.iter().find(|(_, effort, _)| *effort == wanted).map(|&(_, _, point)| point);
        found.context("ours was not among those compared")
    };
    let curve = |(who, contender): (usize, &Contender)| {
        let points = measured.iter().filter(|(by, _, point)| *by == who && point.width.is_some());
        Curve { name: contender.name.to_owned(), points: points.map(|&(_, _, point)| point).collect() }
    };
    let (calibrated, exact) = (of_ours(Effort::Calibrated)?, of_ours(Effort::Exact)?);
    Ok(Sweep { curves: field.iter().enumerate().map(curve).collect(), calibrated, exact })
}
