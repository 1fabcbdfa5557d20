//! `bench compression`: the codec and the store on a real model and on smooth data, in turns with the peers.
//!
//! Every comparison alternates ours and the peers' passes; a first pass of each is thrown away, and a figure is the
//! median of the rest. The codecs work on one thread each, on tensors in memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::environment::Environment;
use super::report::{Goal, Report, Row, machine};
use super::series::{self, Series};
use super::worker::Worker;
use super::{Options, memory};
use crate::cargo::build;

/// From coarse to fine. zfp's accuracy mode rounds its tolerance down to a power of two, so these are all that differ.
const ZFP_TOLERANCES: [f64; 8] =
    [0.125, 0.0625, 0.03125, 0.015_625, 0.007_812_5, 0.003_906_25, 0.001_953_125, 0.000_976_562_5];
const SMOOTH_TOLERANCES: [f64; 4] = [1e-2, 1e-3, 1e-4, 1e-5];
const SMOOTH_FRAMES: usize = 200;

pub(super) fn measure(options: Options) -> Result<Report> {
    let environment = Environment::prepare()?;
    let programs = build(&["benches", "omnimind-cli"])?;
    let program =
        |name: &str| programs.get(name).cloned().with_context(|| format!("cargo built no program {name}"));
    let mut bench = Bench {
        ours: Worker::start("bench-compression", &mut Command::new(program("bench-compression")?))?,
        peers: Worker::start("peers.py", &mut environment.script("compression/peers.py"))?,
        omnimind: program("omnimind")?,
        model: environment.model.clone(),
        scratch: tempfile::tempdir_in(&environment.cache)?,
        passes: if options.quick { 3 } else { 7 },
        options,
        rows: Vec::new(),
    };
    for (subject, step) in Bench::STEPS {
        eprintln!("measuring {subject}");
        step(&mut bench).with_context(|| format!("measuring {subject}"))?;
    }
    let quick = if options.quick { " --quick" } else { "" };
    let command = format!("cargo xtask bench compression{quick}");
    Ok(Report { bench: "compression", page: "compression", machine: machine(), rows: bench.rows, command })
}

struct Bench {
    ours: Worker,
    peers: Worker,
    omnimind: PathBuf,
    model: PathBuf,
    scratch: TempDir,
    passes: usize,
    options: Options,
    rows: Vec<Row>,
}

type Step = fn(&mut Bench) -> Result<()>;

/// Who is asked.
#[derive(Clone, Copy)]
enum Side {
    Ours,
    Peers,
}

impl Bench {
    const STEPS: [(&str, Step); 7] = [
        ("loading", Self::load),
        ("lossy, against zfp", Self::lossy),
        ("exact, against zipnn, zstd, blosc2 and pcodec", Self::exact),
        ("smooth data, against zfp", Self::smooth),
        ("reactivating, against safetensors", Self::reactivate),
        ("sentence embeddings after the default policy", Self::embeddings),
        ("peak memory", Self::peak_memory),
    ];

    fn load(&mut self) -> Result<()> {
        let command = json!({"op": "load", "path": self.weights()});
        self.ours.ask(&command)?;
        self.peers.ask(&command).map(drop)
    }

    fn lossy(&mut self) -> Result<()> {
        let default = json!({"op": "pass", "policy": "default"});
        let ours = self.ours.ask(&default)?;
        let zfp = self.fair_zfp(&ours)?;
        let [ours, peer] = self.in_turns(&[(Side::Ours, default), (Side::Peers, zfp.command)])?;
        let size = ours.ratio();
        self.row(Row::ours("default policy, stored / original", "", size).goal(Goal::AtMost(0.245)));
        let worst = ours.of("worst_rel_l2_error");
        self.row(
            Row::ours("default policy, worst rel. L2 error of a lossy tensor", "", worst)
                .goal(Goal::AtMost(0.006)),
        );
        let (compress, decompress) = (ours.speed("compress_s"), ours.speed("decompress_s"));
        self.row(Row::ours("lossy compress, one thread", "GB/s", compress).goal(Goal::AtLeast(1.5)));
        self.row(Row::ours("lossy decompress, one thread", "GB/s", decompress).goal(Goal::AtLeast(3.0)));
        let at_hand = ours.speed("decompress_into_s");
        self.row(Row::ours("lossy decompress into memory at hand, one thread", "GB/s", at_hand));
        let name = zfp.name;
        let same = Goal::TimesPeerAtMost(1.0);
        let rows = [
            Row::ours("against zfp, stored / original", "", size).peer(&name, peer.ratio()).goal(same),
            Row::ours("against zfp, rel. L2 error", "", ours.of("rel_l2_error"))
                .peer(&name, peer.of("rel_l2_error"))
                .goal(same),
            Row::ours("against zfp, compress", "GB/s", compress)
                .peer(&name, peer.speed("compress_s"))
                .goal(Goal::TimesPeerAtLeast(4.0)),
            Row::ours("against zfp, decompress", "GB/s", decompress)
                .peer(&name, peer.speed("decompress_s"))
                .goal(Goal::TimesPeerAtLeast(8.0)),
        ];
        self.rows.extend(rows);
        Ok(())
    }

    /// The coarsest, and so the fastest, setting of zfp that is neither smaller nor more exact than ours; if there is
    /// none, the one nearest in size, and the rows show in what it is better.
    fn fair_zfp(&mut self, ours: &Value) -> Result<Zfp> {
        let number = |answer: &Value, field: &str| answer[field].as_f64().unwrap_or(f64::NAN);
        let mut nearest = (f64::INFINITY, None);
        for tolerance in ZFP_TOLERANCES {
            let command = json!({"op": "zfp", "tolerance": tolerance});
            let answer = self.peers.ask(&command)?;
            let zfp = Zfp { name: format!("zfp, tolerance {tolerance:.4}"), command };
            let no_better = |field: &str| number(&answer, field) >= number(ours, field);
            if no_better("stored_bytes") && no_better("rel_l2_error") {
                return Ok(zfp);
            }
            let distance = (number(&answer, "stored_bytes") - number(ours, "stored_bytes")).abs();
            if distance < nearest.0 {
                nearest = (distance, Some(zfp));
            }
        }
        nearest.1.context("no setting of zfp was tried")
    }

    fn exact(&mut self) -> Result<()> {
        let peers = ["zipnn", "zstd", "blosc2", "pcodec"];
        let peer = |name: &str| (Side::Peers, json!({"op": "exact", "peer": name}));
        let ours = (Side::Ours, json!({"op": "pass", "policy": "exact"}));
        let turns = [ours, peer(peers[0]), peer(peers[1]), peer(peers[2]), peer(peers[3])];
        let [ours, zipnn, rest @ ..] = self.in_turns(&turns)?;
        let original = ours.of("original_bytes");
        let peer_figures = |peer: &Series| {
            let speed = |field| original / 1e9 / peer.of(field);
            [peer.of("stored_bytes") / original, speed("compress_s"), speed("decompress_s")]
        };
        let metrics = [
            ("exact, stored / original", "", ours.ratio(), Goal::TimesPeerAtMost(1.0)),
            ("exact compress, one thread", "GB/s", ours.speed("compress_s"), Goal::TimesPeerAtLeast(1.0)),
            ("exact decompress, one thread", "GB/s", ours.speed("decompress_s"), Goal::TimesPeerAtLeast(1.0)),
        ];
        for ((metric, unit, figure, goal), peer) in metrics.into_iter().zip(peer_figures(&zipnn)) {
            self.row(Row::ours(metric, unit, figure).peer("zipnn", peer).goal(goal));
        }
        for (name, series) in ["zstd 3", "blosc2 shuffle + zstd 1", "pcodec"].into_iter().zip(&rest) {
            for ((metric, unit, figure, _), peer) in metrics.into_iter().zip(peer_figures(series)) {
                self.row(Row::ours(metric, unit, figure).peer(name, peer));
            }
        }
        Ok(())
    }

    fn smooth(&mut self) -> Result<()> {
        let out = [self.scratch("real.f32"), self.scratch("imaginary.f32")];
        let made = self.ours.ask(&json!({"op": "planes", "frames": SMOOTH_FRAMES, "out": out}))?;
        self.peers.ask(&json!({"op": "planes", "paths": out, "shape": made["shape"]}))?;
        for tolerance in SMOOTH_TOLERANCES {
            let zfp = json!({"op": "smooth", "tolerance": tolerance});
            let maxima = self.peers.ask(&zfp)?["max_abs_errors"].clone();
            let ours = json!({"op": "smooth", "max_abs_errors": maxima});
            let [ours, peer] = self.in_turns(&[(Side::Ours, ours), (Side::Peers, zfp)])?;
            let original = ours.of("original_bytes");
            let name = format!("zfp 3-D, tolerance {tolerance:e}");
            let metric =
                format!("wave packet at max. error {:.2e}, stored / original", peer.of("max_abs_error"));
            let stored = peer.of("stored_bytes") / original;
            self.row(
                Row::ours(metric, "", ours.ratio()).peer(&name, stored).goal(Goal::TimesPeerAtMost(1.0)),
            );
            for (what, field) in [("compress", "compress_s"), ("decompress", "decompress_s")] {
                let metric = format!("wave packet, {what}, one thread");
                let peer = original / 1e9 / peer.of(field);
                self.row(Row::ours(metric, "GB/s", ours.speed(field)).peer(&name, peer));
            }
        }
        Ok(())
    }

    fn reactivate(&mut self) -> Result<()> {
        self.ours.ask(&json!({"op": "consolidate", "store": self.scratch("store")}))?;
        let ours = |threads: usize| (Side::Ours, json!({"op": "reactivate", "threads": threads}));
        let peer = (Side::Peers, json!({"op": "load_and_touch", "path": self.weights()}));
        let [all, one, peer] = self.in_turns(&[ours(0), ours(1), peer])?;
        let name = "safetensors load_file + read";
        let milliseconds = |series: &Series| 1e3 * series.of("seconds");
        let row = |metric: &str, ours: &Series| {
            Row::ours(metric, "ms", milliseconds(ours)).peer(name, milliseconds(&peer))
        };
        let rows = [
            row("reactivate the model from a warm page cache", &all).goal(Goal::TimesPeerAtMost(1.5)),
            row("the same on one thread", &one),
        ];
        self.rows.extend(rows);
        Ok(())
    }

    fn embeddings(&mut self) -> Result<()> {
        let restored = PathBuf::from(self.scratch("restored"));
        copy_folder(&self.model, &restored)?;
        let out = restored.join("model.safetensors");
        self.ours.ask(&json!({"op": "write_restored", "policy": "default", "out": out}))?;
        let count = if self.options.quick { 200 } else { 1000 };
        let command = json!({"op": "cosine", "original": self.model, "restored": restored, "count": count});
        let answer = self.peers.ask(&command)?;
        let figure = |field: &str| answer[field].as_f64().unwrap_or(f64::NAN);
        let metric =
            |which: &str| format!("cosine of {count} sentence embeddings with the original's, {which}");
        self.row(Row::ours(metric("mean"), "", figure("mean")).goal(Goal::AtLeast(0.99985)));
        self.row(Row::ours(metric("min"), "", figure("min")));
        Ok(())
    }

    fn peak_memory(&mut self) -> Result<()> {
        let bytes: u64 = if self.options.quick { 500_000_000 } else { 2_000_000_000 };
        let file = self.scratch("large.safetensors");
        self.ours.ask(&json!({"op": "large_file", "path": file, "bytes": bytes}))?;
        let store = self.scratch("large-store");
        let omnimind = |verb: &str| {
            let mut command = Command::new(&self.omnimind);
            command.args([verb, "--quiet", "--store", &store]);
            command
        };
        let consolidated = memory::watch(omnimind("consolidate").arg(&file).args(["--context", "bench"]))?;
        let list = omnimind("list").arg("--json").output()?;
        let list: Value =
            serde_json::from_slice(&list.stdout).context("reading what omnimind list --json says")?;
        let hash = find_hash(&list).context("omnimind list --json names no content_hash")?;
        std::fs::remove_file(&file)?;
        let out = self.scratch("back.safetensors");
        let reactivated =
            memory::watch(omnimind("reactivate").args([&hash, "--context", "bench", "-o", &out]))?;
        std::fs::remove_file(&out)?;
        std::fs::remove_dir_all(&store)?;
        let size = bytes as f64 / 1e9;
        for (verb, need) in [("consolidate", consolidated), ("reactivate", reactivated)] {
            let metric = format!("peak RssAnon, omnimind {verb}, {size} GB file");
            self.row(Row::ours(metric, "MB", need.peak_anon_bytes as f64 / 1e6).goal(Goal::AtMost(300.0)));
            self.row(Row::ours(format!("omnimind {verb}, {size} GB file, all threads"), "s", need.seconds));
        }
        Ok(())
    }

    /// Asks each in turn.
    fn in_turns<const N: usize>(&mut self, turns: &[(Side, Value); N]) -> Result<[Series; N]> {
        let series = series::in_turns(self.passes, turns, |(side, command)| match side {
            Side::Ours => self.ours.ask(command),
            Side::Peers => self.peers.ask(command),
        });
        series?.try_into().ok().context("a series is missing")
    }

    fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    fn weights(&self) -> PathBuf {
        self.model.join("model.safetensors")
    }

    fn scratch(&self, name: &str) -> String {
        self.scratch.path().join(name).to_string_lossy().into_owned()
    }
}

struct Zfp {
    name: String,
    command: Value,
}

/// What passes of the codec say.
impl Series {
    fn ratio(&self) -> f64 {
        self.of("stored_bytes") / self.of("original_bytes")
    }

    fn speed(&self, seconds: &str) -> f64 {
        self.of("original_bytes") / 1e9 / self.of(seconds)
    }
}

fn find_hash(value: &Value) -> Option<String> {
    match value {
        Value::Array(values) => values.iter().find_map(find_hash),
        Value::Object(fields) => match fields.get("content_hash") {
            Some(Value::String(hash)) => Some(hash.clone()),
            _ => fields.values().find_map(find_hash),
        },
        _ => None,
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if entry.file_name() != "model.safetensors" {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
