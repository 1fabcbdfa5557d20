//! How fast a log of 225 MB is read, in one thread: from memory, and from a file.
//!
//! `cargo run --release -p oom-forensics --features generate --example speed -- [FILE]`. Without a file one is made in the
//! system's folder for temporary files. The best of several rounds counts, because others use the machine, too.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::time::Instant;

use oom_forensics::generate::{Plan, write};
use oom_forensics::{Analyzer, Config, Report};

const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given = std::env::args_os().nth(1).map(std::path::PathBuf::from);
    let path = given.clone().unwrap_or_else(|| std::env::temp_dir().join("oom-forensics-speed.log"));
    if given.is_none() {
        let mut out = BufWriter::new(File::create(&path)?);
        write(&Plan::full(), &mut out)?;
        out.flush()?;
    }
    let log = fs::read(&path)?;
    let report = analyzed(&log[..])?;
    println!("{} bytes, {} lines", report.logs[0].bytes, report.logs[0].lines);
    println!("{} tests, {} out of memory", report.tests_run, report.oom_total);
    let memory = best(|| analyzed(&log[..]))?;
    println!("from memory          {:.2} GB/s", log.len() as f64 / memory / 1e9);
    let file = best(|| analyzed(File::open(&path)?))?;
    println!("from the page cache  {:.2} GB/s", log.len() as f64 / file / 1e9);
    if given.is_none() {
        fs::remove_file(&path)?;
    }
    Ok(())
}

type Outcome = Result<Report, Box<dyn std::error::Error>>;

fn analyzed(log: impl std::io::Read) -> Outcome {
    let mut analyzer = Analyzer::new(Config::standard()?);
    analyzer.read("log", log)?;
    Ok(analyzer.finish())
}

/// The seconds of the quickest round.
fn best(mut round: impl FnMut() -> Outcome) -> Result<f64, Box<dyn std::error::Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        round()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}
