//! `crash-test`: kills consolidating processes at random moments and looks at what is left.
//!
//! Several writers share a store and consolidate, forget and collect garbage; each says on stdout what has been
//! acknowledged to it. They are killed with SIGKILL. Then the store is opened again, and must hold, whole and within
//! their bounds, all memories that were acknowledged and none that is half-made. After ten kills the garbage is
//! collected, nothing may be left over, and a fresh store follows.
//!
//! - `item`: content that can be made again from a number.
//! - `writer`: the process that is killed.
//! - `witness`: what was acknowledged, and comparing it with a store.

mod item;
mod witness;
mod writer;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use lexopt::{Arg, Parser, ValueExt};
use serde::Serialize;

use item::Random;
use witness::Witness;
pub(crate) use writer::run as child;

/// The task that a writer runs as; not for people.
pub(crate) const CHILD: &str = "crash-writer";

const KILLS_PER_STORE: u64 = 10;
/// Long enough that kills hit everything from laying out a store to a store with hundreds of objects.
const LONGEST_LIFE: Duration = Duration::from_millis(200);

/// What a crash test did.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seed: u64,
    kills: u64,
    writers: u64,
    stores: u64,
    /// Memories that were acknowledged to a writer.
    acknowledged: u64,
    /// Memories that were durable although their writer died before it could say so.
    durable_unsaid: u64,
    /// Times that a memory was brought back and compared.
    compared: u64,
    forgotten: u64,
    /// Left over by the killed, and removed by `gc`.
    orphans_removed: u64,
}

/// Runs the test; an error is a finding.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
    let (mut kills, mut json) = (50, false);
    let mut summary = Summary { seed: now, writers: 2, ..Summary::default() };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("kills") => kills = args.value()?.parse()?,
            Arg::Long("writers") => summary.writers = args.value()?.parse()?,
            Arg::Long("seed") => summary.seed = args.value()?.parse()?,
            Arg::Long("json") => json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let mut random = Random(summary.seed);
    while summary.kills < kills {
        let folder = tempfile::Builder::new().prefix("omnimind-crash-").tempdir()?;
        let store = folder.path().join("store");
        if let Err(error) = one_store(&store, kills, &mut random, &mut summary) {
            let (seed, kept) = (summary.seed, folder.keep());
            let kill = summary.kills;
            return Err(error.context(format!(
                "after kill {kill}, seed {seed}; the store is kept in {}",
                kept.display()
            )));
        }
    }
    if json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        let Summary {
            seed, kills, writers, stores, acknowledged, durable_unsaid, compared, forgotten, ..
        } = summary;
        println!(
            "{kills} kills of {writers} writers over {stores} stores, seed {seed}: nothing lost, nothing half-made"
        );
        println!(
            "{acknowledged} memories acknowledged, {durable_unsaid} more durable before they were, {forgotten} forgotten"
        );
        println!(
            "{compared} comparisons with the originals, {} orphans collected, none left",
            summary.orphans_removed
        );
    }
    Ok(true)
}

/// A fresh store, some kills, and a last look.
fn one_store(store: &Path, kills: u64, random: &mut Random, summary: &mut Summary) -> Result<()> {
    let mut witness = Witness::default();
    for round in 0..KILLS_PER_STORE.min(kills - summary.kills) {
        let lives: Vec<Duration> =
            (0..summary.writers).map(|_| LONGEST_LIFE.mul_f64(random.unit())).collect();
        let mut writers = Vec::new();
        for (number, life) in lives.iter().enumerate() {
            let (store, seed) = (store.to_owned(), random.next());
            let run = writer::Run { number: number as u64, round, seed };
            writers.push((start(&store, &run)?, *life));
        }
        // Threads of their own: a pipe that nobody reads would stop its writer, and each dies at its own moment.
        let lives = writers.into_iter().map(|(child, life)| thread::spawn(move || kill_after(child, life)));
        for said in lives.collect::<Vec<_>>() {
            let said = said.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            witness.heard(&said)?;
        }
        summary.kills += 1;
        let seen = witness.examine(store)?;
        summary.compared += seen.compared;
        summary.durable_unsaid += seen.unsaid;
    }
    summary.acknowledged += witness.acknowledged();
    summary.forgotten += witness.forgotten();
    summary.orphans_removed += witness.examine_after_gc(store)?;
    summary.stores += 1;
    Ok(())
}

fn start(store: &Path, run: &writer::Run) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(CHILD).arg("--store").arg(store).args(run.arguments());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting a writer")
}

/// Lets a writer live for a while, kills it, and returns what it had said: whole lines only.
fn kill_after(mut child: Child, life: Duration) -> Result<Vec<String>> {
    let stdout = child.stdout.take().context("the writer has no stdout")?;
    let listener = thread::spawn(move || {
        let (mut lines, mut text) = (Vec::new(), String::new());
        let mut stdout = BufReader::new(stdout);
        while stdout.read_line(&mut text)? > 0 {
            if text.ends_with('\n') {
                lines.push(text.trim_end().to_owned());
            }
            text.clear();
        }
        std::io::Result::Ok(lines)
    });
    thread::sleep(life);
    let ended = child.try_wait()?;
    child.kill()?;
    child.wait()?;
    let said = listener.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    match ended {
        Some(status) => bail!("a writer ended by itself ({status}); its message is above"),
        None => Ok(said),
    }
}

fn is_number(text: &str) -> Result<u64> {
    let number = text.parse::<u64>();
    ensure!(number.is_ok(), "{text:?} is not the number of an item");
    Ok(number?)
}
