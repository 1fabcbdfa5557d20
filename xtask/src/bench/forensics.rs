//! `bench forensics`: a log of 225 MB, read by the analyzer and by a Python script as people write them, in turns; what they find must
//! be the same. And the memory that a log of 5 GB takes, and what watching costs a suite of short tests (`suite`).
//!
//! What our program, `bench-forensics`, is asked:
//!
//! | op | asked with | answers | means |
//! |---|---|---|---|
//! | `make` | `folder` | `plain`, `gzip`, `zstd`, `bytes` | writes the log, as it is and packed |
//! | `analyze` | `path` | `seconds`, `findings` | finds everything in one of them |
//! | `read` | `path` | `seconds` | reads it from the page cache and looks at nothing |
//!
//! `bench-forensics stream BYTES` is a process of its own, and says how much memory it took at most.

mod suite;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Options;
use super::report::{Goal, Report, Row, machine};
use super::series::{Series, in_turns};
use super::worker::Worker;
use crate::cargo::{build_only, root};
use crate::python;

const OURS: &str = "oom-forensics";
const PEER: &str = "Python script";
const MIB: f64 = (1 << 20) as f64;

/// What is asked, again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Plain,
    Peer,
    ReadOnly,
    Gzip,
    Zstd,
}

const TURNS: [Turn; 5] = [Turn::Plain, Turn::Peer, Turn::ReadOnly, Turn::Gzip, Turn::Zstd];

pub(super) fn measure(options: Options) -> Result<Report> {
    let (passes, long_log_gb) = if options.quick { (3, 1.0) } else { (9, 5.0) };
    let mut programs = build_only(&["benches", "omnimind-cli"], &["bench-forensics", "omnimind"])?;
    let mut program = |name: &str| programs.remove(name).with_context(|| format!("cargo built no {name}"));
    let (program, omnimind) = (program("bench-forensics")?, program("omnimind")?);
    let mut ours = Worker::start(OURS, &mut Command::new(&program))?;
    let mut peer = Worker::start(PEER, &mut script()?)?;

    eprintln!("making the log");
    let scratch = tempfile::tempdir_in(python::cache()?)?;
    let logs = ours.ask(&json!({ "op": "make", "folder": scratch.path() }))?;
    let analyze = |log: &str| json!({ "op": "analyze", "path": logs[log] });
    let (found, peer_found) = (ours.ask(&analyze("plain"))?, peer.ask(&analyze("plain"))?);
    agree(&found["findings"], &peer_found["findings"])?;

    eprintln!("reading it in turns");
    let answers = in_turns(passes, &TURNS, |turn| match turn {
        Turn::Plain => ours.ask(&analyze("plain")),
        Turn::Peer => peer.ask(&analyze("plain")),
        Turn::ReadOnly => ours.ask(&json!({ "op": "read", "path": logs["plain"] })),
        Turn::Gzip => ours.ask(&analyze("gzip")),
        Turn::Zstd => ours.ask(&analyze("zstd")),
    })?;
    let bytes = logs["bytes"].as_f64().context("the log has no size")?;
    let mut rows = speeds(&answers, bytes);
    eprintln!("streaming a log of {long_log_gb} GB");
    rows.push(memory(&program, long_log_gb)?);
    eprintln!("running a suite of tests in turns");
    rows.extend(suite::rows(&omnimind, scratch.path(), passes)?);
    let quick = if options.quick { " --quick" } else { "" };
    let command = format!("cargo xtask bench forensics{quick}");
    Ok(Report { bench: "forensics", page: "forensics", machine: machine(), rows, command })
}

/// It needs no packages, and so no environment.
fn script() -> Result<Command> {
    let benches = root().join("benches");
    let mut command = Command::new(python::interpreter()?);
    command.arg(benches.join("forensics/peer.py"));
    command.env("PYTHONPATH", benches).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// A figure for work that was not done is worth nothing.
fn agree(ours: &Value, peer: &Value) -> Result<()> {
    let (ours, theirs) =
        (ours.as_object().context("we found nothing")?, peer.as_object().context("the peer found nothing")?);
    ensure!(ours.keys().eq(theirs.keys()), "the two sides do not answer the same questions");
    for (what, found) in ours {
        if theirs[what] != *found {
            bail!("they disagree about {what}: ours is {found}, the peer's {}", theirs[what]);
        }
    }
    Ok(())
}

fn speeds(answers: &[Series], bytes: f64) -> Vec<Row> {
    let seconds = |turn: Turn| {
        let answers = TURNS.iter().zip(answers).find(|(asked, _)| **asked == turn);
        answers.map_or(f64::NAN, |(_, series)| series.of("seconds"))
    };
    let speed = |turn: Turn| bytes / seconds(turn) / 1e9;
    let log = format!("a log of {:.0} MB", bytes / 1e6);
    vec![
        Row::ours(format!("{log}, one thread"), "GB/s", speed(Turn::Plain))
            .peer(PEER, speed(Turn::Peer))
            .goal(Goal::AtLeast(2.0)),
        Row::ours("how many times as fast as the script", "", seconds(Turn::Peer) / seconds(Turn::Plain))
            .goal(Goal::AtLeast(6.0)),
        Row::ours("the same file only read, and not looked at", "GB/s", speed(Turn::ReadOnly)),
        Row::ours("packed by gzip, unpacked bytes", "GB/s", speed(Turn::Gzip)),
        Row::ours("packed by zstd, unpacked bytes", "GB/s", speed(Turn::Zstd)),
    ]
}

/// The peak of a process that reads a long log.
fn memory(program: &Path, gb: f64) -> Result<Row> {
    let bytes = (gb * 1e9) as u64;
    let mut command = Command::new(program);
    command.arg("stream").arg(bytes.to_string()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("starting bench-forensics")?;
    ensure!(output.status.success(), "bench-forensics stream failed; its message is above");
    let answer: Value = serde_json::from_slice(&output.stdout).context("reading its answer")?;
    let peak = answer["peak_bytes"].as_f64().context("no peak was answered")?;
    Ok(Row::ours(format!("most memory in use, a log of {gb} GB"), "MiB", peak / MIB).goal(Goal::AtMost(32.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_made_of_the_turns_of_their_name() {
        let answers = TURNS.map(|turn| {
            Series::from(json!({ "seconds": match turn {
                Turn::Plain => 0.1,
                Turn::Peer => 2.0,
                Turn::ReadOnly => 0.05,
                Turn::Gzip => 0.5,
                Turn::Zstd => 0.25,
            } }))
        });
        let rows = speeds(&answers, 225e6);
        let figures: Vec<_> = rows.iter().map(|row| (row.ours.unwrap() * 100.0).round()).collect();
        assert_eq!(figures, [225.0, 2000.0, 450.0, 45.0, 90.0]);
        assert!(rows[0].met == Some(true) && rows[1].met == Some(true));
    }

    #[test]
    fn what_the_sides_disagree_about_is_said() {
        let ours = json!({ "ooms": 188, "by_file": { "a": 1 } });
        assert!(agree(&ours, &ours.clone()).is_ok());
        let error = agree(&ours, &json!({ "ooms": 187, "by_file": { "a": 1 } })).unwrap_err().to_string();
        assert_eq!(error, "they disagree about ooms: ours is 188, the peer's 187");
        assert!(agree(&ours, &json!({ "ooms": 188 })).is_err());
    }
}
