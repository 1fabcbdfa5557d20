//! `bench unconscious`: the influence of memories that nobody here can read, against `TenSEAL`.
//!
//! Both sides encrypt the same signatures, real sentence embeddings, and answer the same queries, each in a
//! process of its own that is asked in turns. `TenSEAL`'s takes far fewer memories, since it needs
//! milliseconds where ours needs microseconds; its times are of one memory and do not depend on how many
//! there are.
//!
//! What our program, `bench-unconscious`, is asked, and the fields that it answers with; all times are in
//! seconds, those named `memory_s` of one memory. It lives as long as the bench, and the first round of
//! everything but `prepare` and `accuracy` warms up.
//!
//! | op | asked with | answers | means |
//! |---|---|---|---|
//! | `prepare` | `folder`, `memories`, `path` | `stored_bytes` | encrypts the first `memories` of a data set, keeps them under `path` as a store would, and starts a keyholder that has opened their keys; bytes of one memory on disk |
//! | `encrypt` | | `memory_s` | encrypts every signature again, not kept |
//! | `influence` | `queries` | `memory_s` | of every memory with each of the first `queries`, keys open; decrypted |
//! | `first_answer` | | `memory_s` | of every memory with one query, by a keyholder that has just started: opens tickets |
//! | `accuracy` | `queries` | `largest_error` | the most that a score, before it is rounded, is off from the true dot product |
//! | `total` | `memories` | `total_s` | the total influence of so many memories on one query (the signatures over again where there are fewer); making their sums is not in it |
//! | `add` | | `memory_s` | adds one memory to the sums |
//! | `round_trip` | `memories`, `times` | `median_s` | asks a keyholder through its socket for the influence of so many, `times` over; the median |
//!
//! `unconscious/tenseal_peer.py` says what the peer answers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Options;
use super::environment::Environment;
use super::report::{Goal, Report, Row, machine};
use super::series::{Series, in_turns};
use super::worker::Worker;
use crate::cargo::{build, root};

const OURS: &str = "encrypted-unconscious";
const TENSEAL: &str = "TenSEAL";
const MEMORIES: u32 = 1_000;
const PEER_MEMORIES: u32 = 20;
/// A total of so many is compared with that of one.
const MANY: u32 = 100_000;

/// What one of the sides is asked, again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Question {
    Ours(Ask),
    Peer(Ask),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ask {
    Encrypt,
    Influence,
    FirstAnswer,
    /// From stored bytes; asked of the peer, which has no ticket to open.
    Open,
    Add,
    Total(u32),
    RoundTrip(u32),
}

/// Neighbours in time are questions to different sides, where both are asked the same.
fn questions(many: u32) -> Vec<Question> {
    use Question::{Ours, Peer};
    vec![
        Ours(Ask::Encrypt),
        Peer(Ask::Encrypt),
        Ours(Ask::Influence),
        Peer(Ask::Influence),
        Ours(Ask::FirstAnswer),
        Peer(Ask::Open),
        Ours(Ask::Add),
        Peer(Ask::Add),
        Ours(Ask::Total(1)),
        Ours(Ask::Total(many)),
        Peer(Ask::Total(1)),
        Peer(Ask::Total(PEER_MEMORIES)),
        Ours(Ask::RoundTrip(1)),
        Ours(Ask::RoundTrip(100)),
    ]
}

impl Ask {
    fn json(self, queries: u32, times: u32) -> Value {
        match self {
            Self::Encrypt => json!({ "op": "encrypt" }),
            Self::Influence => json!({ "op": "influence", "queries": queries }),
            Self::FirstAnswer => json!({ "op": "first_answer" }),
            Self::Open => json!({ "op": "open" }),
            Self::Add => json!({ "op": "add" }),
            Self::Total(memories) => json!({ "op": "total", "memories": memories }),
            Self::RoundTrip(memories) => json!({ "op": "round_trip", "memories": memories, "times": times }),
        }
    }
}

pub(super) fn measure(options: Options) -> Result<Report> {
    let (rounds, many) = if options.quick { (2, MANY / 10) } else { (5, MANY) };
    let (queries, times) = if options.quick { (2, 51) } else { (10, 501) };
    let ground = Ground::prepare()?;
    let mut ours = Worker::start(OURS, &mut Command::new(&ground.program))?;
    let mut peer = Worker::start(TENSEAL, &mut ground.environment.script("unconscious/tenseal_peer.py"))?;

    eprintln!("encrypting");
    let path = ground.scratch.path().join("ours");
    let prepare = |memories: u32, path: &Path| json!({"op": "prepare", "folder": ground.folder, "memories": memories, "path": path});
    let stored = ours.ask(&prepare(MEMORIES, &path))?;
    let peer_stored = peer.ask(&prepare(PEER_MEMORIES, Path::new("")))?;
    let accuracy = json!({"op": "accuracy", "queries": queries});
    let (accuracy, peer_accuracy) = (ours.ask(&accuracy)?, peer.ask(&accuracy)?);

    eprintln!("asking in turns");
    let asked = questions(many);
    let answers = in_turns(rounds, &asked, |question| match *question {
        Question::Ours(ask) => ours.ask(&ask.json(queries, times)),
        Question::Peer(ask) => peer.ask(&ask.json(1, times)),
    })?;
    let found = Found { asked, answers, many };
    let mut rows = found.influence();
    rows.push(
        Row::ours("bytes on disk of one memory", "bytes", number(&stored, "stored_bytes")?)
            .peer(TENSEAL, number(&peer_stored, "stored_bytes")?)
            .goal(Goal::AtMost(6500.0)),
    );
    rows.push(found.encryption());
    rows.push(
        Row::ours(
            "largest difference of score and true dot product, before rounding",
            "",
            number(&accuracy, "largest_error")?,
        )
        .peer(TENSEAL, number(&peer_accuracy, "largest_error")?)
        .goal(Goal::AtMost(1e-3)),
    );
    rows.extend(found.totals());
    rows.extend(found.round_trips());
    let quick = if options.quick { " --quick" } else { "" };
    let command = format!("cargo xtask bench unconscious{quick}");
    Ok(Report { bench: "unconscious", page: "unconscious", machine: machine(), rows, command })
}

/// Where the programs are, what they are asked about, and room for files.
struct Ground {
    environment: Environment,
    program: PathBuf,
    folder: PathBuf,
    scratch: TempDir,
}

impl Ground {
    fn prepare() -> Result<Self> {
        let environment = Environment::prepare()?;
        let mut programs = build(&["benches"])?;
        let program =
            programs.remove("bench-unconscious").context("cargo built no program bench-unconscious")?;
        let mut script = environment.script("unconscious/signatures.py");
        let folder = environment.data_set(script.arg(root().join("tests/data/sentence-embeddings.npy")))?;
        let scratch = tempfile::tempdir_in(&environment.cache)?;
        Ok(Self { environment, program, folder, scratch })
    }
}

/// What was answered, in the order of what was asked.
struct Found {
    asked: Vec<Question>,
    answers: Vec<Series>,
    many: u32,
}

impl Found {
    /// The median of a field; NaN where it was not answered.
    fn of(&self, question: Question, field: &str) -> f64 {
        let answers = self.asked.iter().zip(&self.answers).find(|(asked, _)| **asked == question);
        answers.map_or(f64::NAN, |(_, series)| series.of(field))
    }

    fn ours(&self, ask: Ask, field: &str) -> f64 {
        self.of(Question::Ours(ask), field)
    }

    fn peer(&self, ask: Ask, field: &str) -> f64 {
        self.of(Question::Peer(ask), field)
    }

    fn influence(&self) -> Vec<Row> {
        let ours = self.ours(Ask::Influence, "memory_s");
        let dot = self.peer(Ask::Influence, "dot_s");
        let metric = format!("influence of one of {} memories, keys open", thousands(MEMORIES));
        vec![
            Row::ours(metric, "µs", 1e6 * ours)
                .peer(format!("{TENSEAL}, dot and decrypt"), 1e6 * self.peer(Ask::Influence, "memory_s"))
                .goal(Goal::AtMost(20.0)),
            Row::ours("how many times as fast as TenSEAL's dot alone", "", dot / ours)
                .goal(Goal::AtLeast(500.0)),
            Row::ours(
                "first answer after the keyholder starts, of one memory",
                "µs",
                1e6 * self.ours(Ask::FirstAnswer, "memory_s"),
            )
            .peer(
                format!("{TENSEAL}, reading, dot and decrypt"),
                1e6 * (self.peer(Ask::Open, "memory_s") + self.peer(Ask::Influence, "memory_s")),
            ),
        ]
    }

    fn encryption(&self) -> Row {
        Row::ours("encrypt one signature", "ms", 1e3 * self.ours(Ask::Encrypt, "memory_s"))
            .peer(TENSEAL, 1e3 * self.peer(Ask::Encrypt, "memory_s"))
            .goal(Goal::AtMost(0.15))
    }

    fn totals(&self) -> Vec<Row> {
        let one = self.ours(Ask::Total(1), "total_s");
        let peer_times =
            self.peer(Ask::Total(PEER_MEMORIES), "total_s") / self.peer(Ask::Total(1), "total_s");
        let metric = format!("total influence of {} memories, in times of that of one", thousands(self.many));
        vec![
            Row::ours(metric, "", self.ours(Ask::Total(self.many), "total_s") / one)
                .peer(format!("{TENSEAL}, {PEER_MEMORIES} memories, dot by dot"), peer_times)
                .goal(Goal::AtMost(2.0)),
            Row::ours("total influence of one memory", "µs", 1e6 * one)
                .peer(TENSEAL, 1e6 * self.peer(Ask::Total(1), "total_s")),
            Row::ours("add one memory to the sums", "µs", 1e6 * self.ours(Ask::Add, "memory_s"))
                .peer(TENSEAL, 1e6 * self.peer(Ask::Add, "memory_s")),
        ]
    }

    fn round_trips(&self) -> Vec<Row> {
        let row = |memories: u32, metric: &str| {
            Row::ours(metric, "ms", 1e3 * self.ours(Ask::RoundTrip(memories), "median_s"))
        };
        vec![
            row(1, "ask through the socket, one memory, median").goal(Goal::AtMost(0.3)),
            row(100, "ask through the socket, 100 memories, median"),
        ]
    }
}

fn number(answer: &Value, field: &str) -> Result<f64> {
    answer[field].as_f64().with_context(|| format!("no {field} was answered"))
}

/// As people write it; of whole thousands.
fn thousands(number: u32) -> String {
    format!("{},{:03}", number / 1_000, number % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let asked = questions(MANY);
        let answers = asked.iter().map(|question| {
            Series::from(match question {
                Question::Ours(Ask::Total(memories)) => {
                    json!({"total_s": 1e-3 + 1e-9 * f64::from(*memories)})
                }
                Question::Peer(Ask::Total(memories)) => json!({"total_s": 0.03 * f64::from(*memories)}),
                Question::Peer(Ask::Influence) => json!({"memory_s": 0.031, "dot_s": 0.03}),
                Question::Peer(_) => json!({"memory_s": 0.005}),
                Question::Ours(Ask::RoundTrip(_)) => json!({"median_s": 2e-4}),
                Question::Ours(_) => json!({"memory_s": 1e-5}),
            })
        });
        Found { answers: answers.collect(), asked, many: MANY }
    }

    #[test]
    fn every_row_finds_the_figures_it_is_made_of() {
        let found = found();
        let rows =
            [found.influence(), vec![found.encryption()], found.totals(), found.round_trips()].concat();
        for row in &rows {
            assert!(row.ours.is_some_and(f64::is_finite), "{row:?}");
            assert!(row.peer.is_none_or(f64::is_finite), "{row:?}");
            assert_ne!(row.met, Some(false), "{row:?}");
        }
    }

    #[test]
    fn the_speed_up_is_over_the_peer_s_dot_without_decryption() {
        let rows = found().influence();
        assert!((rows[1].ours.unwrap() - 3_000.0).abs() < 1e-6 && rows[1].met == Some(true));
        assert!((rows[0].peer.unwrap() - 31_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_total_is_judged_by_its_growth() {
        let rows = found().totals();
        assert!(rows[0].ours.unwrap() < 1.2 && rows[0].peer.unwrap() > 19.0);
    }
}
