//! `bench monitor`: what it costs to look at a machine and a service of 300 processes, against the same report with psutil, in turns;
//! and what the daemon costs while it looks every second (`daemon`), and keeps of a day.
//!
//! What our program, `bench-monitor`, is asked:
//!
//! | op | asked with | answers | means |
//! |---|---|---|---|
//! | `start` | `processes`, `folder` | `pids` | starts processes that sleep; the rest lives in the folder |
//! | `sample` | `looks`, `swapped` | `cpu_s` | CPU time of one look: observe, decide, remember, report |
//!
//! `monitor/peer.py` answers `sample` with `pids`, `with_swap` and `looks` in the same way. psutil has a process's swap only by
//! reading all its mappings, so it is also asked without.
//!
//! `bench-monitor day` is a process of its own: it goes through a day of rounds of a machine that is made up, and says how much
//! memory it took.

mod daemon;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Options;
use super::report::{Goal, Report, Row, machine};
use super::series::{Series, in_turns};
use super::worker::Worker;
use crate::cargo::{build_only, root};
use crate::python;

const OURS: &str = "systemd-policy";
const PEER: &str = "psutil";
const PROCESSES: usize = 300;
const MIB: f64 = (1 << 20) as f64;

/// What is asked, again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Ours { swapped: bool },
    Peer { with_swap: bool },
}

const TURNS: [Turn; 4] = [
    Turn::Ours { swapped: false },
    Turn::Ours { swapped: true },
    Turn::Peer { with_swap: true },
    Turn::Peer { with_swap: false },
];

pub(super) fn measure(options: Options) -> Result<Report> {
    let (passes, looks, watched) = if options.quick { (3, 20, 10) } else { (9, 100, 60) };
    let mut programs = build_only(&["benches", "omnimind-cli"], &["bench-monitor", "omnimind"])?;
    let mut program = |name: &str| programs.remove(name).with_context(|| format!("cargo built no {name}"));
    let (program, omnimind) = (program("bench-monitor")?, program("omnimind")?);
    let scratch = tempfile::tempdir()?;
    let mut ours = Worker::start(OURS, &mut Command::new(&program))?;
    let mut peer = Worker::start(PEER, &mut script()?)?;

    eprintln!("starting {PROCESSES} processes");
    let started = ours.ask(&json!({ "op": "start", "processes": PROCESSES, "folder": scratch.path() }))?;
    let pids = &started["pids"];
    eprintln!("looking at them in turns");
    let answers = in_turns(passes, &TURNS, |turn| match *turn {
        Turn::Ours { swapped } => ours.ask(&json!({ "op": "sample", "looks": looks, "swapped": swapped })),
        Turn::Peer { with_swap } => {
            // A look of the peer takes so much longer that a few give the same precision.
            let question =
                json!({ "op": "sample", "pids": pids, "with_swap": with_swap, "looks": looks / 10 });
            let answer = peer.ask(&question)?;
            ensure!(answer["seen"]["processes"] == PROCESSES, "the peer did not see all processes: {answer}");
            Ok(answer)
        }
    })?;
    let mut rows = costs(&answers);
    // As the daemon mostly finds it.
    ours.ask(&json!({ "op": "sample", "looks": 1, "swapped": false }))?;
    eprintln!("watching the daemon for {watched} s");
    rows.extend(daemon::rows(&omnimind, scratch.path(), PROCESSES, Duration::from_secs(watched))?);
    eprintln!("going through a day");
    rows.extend(day(&program)?);
    let quick = if options.quick { " --quick" } else { "" };
    let command = format!("cargo xtask bench monitor{quick}");
    Ok(Report { bench: "monitor", page: "monitor", machine: machine(), rows, command })
}

fn script() -> Result<Command> {
    let benches = root().join("benches");
    let environment = python::cache()?.join("monitor");
    let interpreter =
        python::environment(&environment, &benches.join("monitor/requirements.txt"), "20 MB, seconds")?;
    let mut command = Command::new(interpreter);
    command.arg(benches.join("monitor/peer.py"));
    command.env("PYTHONPATH", benches).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

fn costs(answers: &[Series]) -> Vec<Row> {
    let milliseconds = |turn: Turn| {
        let asked = TURNS.iter().zip(answers).find(|(asked, _)| **asked == turn);
        asked.map_or(f64::NAN, |(_, series)| series.of("cpu_s") * 1e3)
    };
    let [ours, swapped] = [false, true].map(|swapped| milliseconds(Turn::Ours { swapped }));
    let [all, without_swap] = [true, false].map(|with_swap| milliseconds(Turn::Peer { with_swap }));
    vec![
        Row::ours(format!("CPU time of one look at {PROCESSES} processes"), "ms", ours)
            .peer(PEER, all)
            .goal(Goal::AtMost(5.0)),
        Row::ours("how many times as light as psutil", "", all / ours).goal(Goal::AtLeast(10.0)),
        Row::ours("the same where psutil leaves out the swap of processes", "", without_swap / ours),
        Row::ours("CPU time where part of the service is in swap", "ms", swapped)
            .peer(PEER, all)
            .goal(Goal::AtMost(5.0)),
        Row::ours("how many times as light as psutil then", "", all / swapped).goal(Goal::AtLeast(10.0)),
    ]
}

/// What a day of rounds leaves in a process.
fn day(program: &Path) -> Result<[Row; 2]> {
    let output = Command::new(program).arg("day").stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.context("starting bench-monitor")?;
    ensure!(output.status.success(), "bench-monitor day failed; its message is above");
    let answer: Value = serde_json::from_slice(&output.stdout).context("reading its answer")?;
    let mib = |field: &str| answer[field].as_f64().map_or(f64::NAN, |bytes| bytes / MIB);
    let growth = mib("after_day_bytes") - mib("after_hour_bytes");
    Ok([
        Row::ours("most memory in use over 86,400 rounds", "MiB", mib("peak_bytes")).goal(Goal::AtMost(12.0)),
        Row::ours("growth of it from round 3,600 to the last", "MiB", growth).goal(Goal::AtMost(0.1)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_made_of_the_turns_of_their_name() {
        let answers = TURNS.map(|turn| {
            Series::from(match turn {
                Turn::Ours { swapped: false } => json!({ "cpu_s": 0.002 }),
                Turn::Ours { swapped: true } => json!({ "cpu_s": 0.004 }),
                Turn::Peer { with_swap: true } => json!({ "cpu_s": 0.05 }),
                Turn::Peer { with_swap: false } => json!({ "cpu_s": 0.01 }),
            })
        });
        let figures: Vec<_> = costs(&answers).iter().map(|row| row.ours.unwrap().round()).collect();
        assert_eq!(figures, [2.0, 25.0, 5.0, 4.0, 13.0]);
    }
}
