//! The analyzer of logs over a log made to order: how fast, how much memory, and what it finds in a form that a peer can have, too.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use oom_forensics::generate::{Plan, write};
use oom_forensics::{Analyzer, Cause, Config, Report};
use serde_json::{Map, Value, json};

/// A log as it is, and packed.
#[derive(Debug)]
pub struct Logs {
    /// As it is.
    pub plain: PathBuf,
    /// By gzip, as `logrotate` does it.
    pub gzip: PathBuf,
    /// By zstd at its default level.
    pub zstd: PathBuf,
    /// What the log has, in bytes, unpacked.
    pub bytes: u64,
}

/// Makes the log of 225 MB in a folder.
///
/// # Errors
/// If it cannot be written.
pub fn make(folder: &Path) -> Result<Logs> {
    let [plain, gzip, zstd] = ["log", "log.gz", "log.zst"].map(|name| folder.join(name));
    let mut out = BufWriter::new(File::create(&plain)?);
    let bytes = write(&Plan::full(), &mut out)?.bytes;
    out.flush()?;
    let mut packed = flate2::write::GzEncoder::new(File::create(&gzip)?, flate2::Compression::default());
    io::copy(&mut File::open(&plain)?, &mut packed)?;
    packed.finish()?;
    zstd::stream::copy_encode(File::open(&plain)?, File::create(&zstd)?, 0)?;
    Ok(Logs { plain, gzip, zstd, bytes })
}

/// What is in a log, and the seconds that it took to find out, from opening the file on.
///
/// # Errors
/// If it cannot be read.
pub fn analyzed(path: &Path) -> Result<(f64, Report)> {
    let start = Instant::now();
    let mut analyzer = Analyzer::new(Config::standard()?);
    analyzer.read("log", File::open(path)?)?;
    let report = analyzer.finish();
    Ok((start.elapsed().as_secs_f64(), report))
}

/// The seconds that it takes to read a file and to look at nothing: nobody who reads it is faster.
///
/// # Errors
/// If it cannot be read.
pub fn read_only(path: &Path) -> Result<f64> {
    let mut buffer = vec![0; 256 << 10];
    let start = Instant::now();
    let mut file = File::open(path)?;
    while file.read(&mut buffer)? > 0 {}
    Ok(start.elapsed().as_secs_f64())
}

/// What both sides are to agree on.
#[must_use]
pub fn findings(report: &Report) -> Value {
    let counts = |counts: &mut dyn Iterator<Item = (String, u64)>| -> Value {
        counts
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name, json!(count)))
            .collect::<Map<_, _>>()
            .into()
    };
    let name = |cause: Cause| json!(cause).as_str().unwrap_or_default().to_owned();
    json!({
        "lines": report.logs.iter().map(|log| log.lines).sum::<u64>(),
        "tests": [report.tests_run, report.passed, report.failed, report.errors, report.skipped],
        "ooms": report.oom_total,
        "first_ooms": report.first_ooms.iter().map(|oom| json!([oom.test, oom.at.line])).collect::<Vec<_>>(),
        "by_file": counts(&mut report.by_file.iter().map(|it| (it.file.clone().unwrap_or_default(), it.ooms))),
        "by_cause": counts(&mut report.by_cause.iter().map(|it| (name(it.cause), it.ooms))),
        "by_size": counts(&mut report.by_size.iter().map(|it| (it.from_bytes.to_string(), it.ooms))),
        "known": counts(&mut report.patterns.iter().map(|it| (it.name.clone(), it.count))),
    })
}

/// Analyzes a log of so many bytes that is nowhere but in its writer's hands, and answers with the peak of this process's memory,
/// in bytes.
///
/// # Errors
/// If the kernel does not say what the peak was.
pub fn peak_bytes_over(bytes: u64) -> Result<Value> {
    let full = Plan::full();
    let times = bytes.div_ceil(full.bytes);
    let mut fed = Fed(Analyzer::new(Config::standard()?));
    let expected = write(&Plan { lines: full.lines * times, bytes, ..full }, &mut fed)?;
    let report = fed.0.finish();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    anyhow::ensure!(
        report.logs[0].bytes == expected.bytes && report.oom_total == full.ooms,
        "not all was read"
    );
    Ok(json!({ "bytes": expected.bytes, "peak_bytes": kib * 1024 }))
}

/// A log that goes nowhere else.
struct Fed(Analyzer);

impl Write for Fed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
