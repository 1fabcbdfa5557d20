//! The process that is killed: consolidates, forgets and collects garbage without end, and says what was acknowledged.
//! Its stdout is a pipe and every line one write, so that a line is there as soon as it is said.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lexopt::{Arg, Parser, ValueExt};
use omnimind_memory::{Consolidator, ContentHash, ProcessContext};

use super::item::{Random, make};

/// The context under which everything is stored and recalled.
pub(super) const CONTEXT: &str = "crash-test";

const SHARED_ITEMS: u64 = 40;

/// What a writer writes.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Which of the writers.
    pub(super) number: u64,
    /// How many kills the store has seen: every life has items of its own.
    pub(super) round: u64,
    /// In which order.
    pub(super) seed: u64,
}

impl Run {
    pub(super) fn arguments(&self) -> [String; 6] {
        let [number, round, seed] = [self.number, self.round, self.seed].map(|value| value.to_string());
        ["--number".into(), number, "--round".into(), round, "--seed".into(), seed]
    }

    /// Numbers of the items that only this writer in this life stores, and may forget.
    fn own(&self, at: u64) -> u64 {
        1_000_000 * (1 + self.round) + 10_000 * self.number + at
    }
}

/// Writes until it is killed.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let (mut store, mut run) = (PathBuf::new(), Run::default());
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("store") => store = args.value()?.into(),
            Arg::Long("number") => run.number = args.value()?.parse()?,
            Arg::Long("round") => run.round = args.value()?.parse()?,
            Arg::Long("seed") => run.seed = args.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let consolidator = Consolidator::builder().store(&store).build()?;
    let context = ProcessContext::new(CONTEXT)?;
    let mut random = Random(run.seed);
    for at in 0.. {
        // Shared items are stored by all writers, often at once.
        let numbers = match random.below(10) {
            0..=3 => vec![random.below(SHARED_ITEMS)],
            4..=7 => vec![run.own(3 * at)],
            8 => vec![run.own(3 * at), run.own(3 * at + 1), run.own(3 * at + 2)],
            _ => {
                consolidator.store().gc()?;
                continue;
            }
        };
        let hashes = consolidate(&consolidator, &context, &numbers)?;
        if let ([number], [hash], true) =
            (&numbers[..], &hashes[..], numbers[0] >= SHARED_ITEMS && at % 4 == 0)
        {
            println!("forgetting {number}");
            consolidator.store().forget(hash)?;
            println!("forgotten {number}");
        }
    }
    Ok(true)
}

fn consolidate(
    consolidator: &Consolidator,
    context: &ProcessContext,
    numbers: &[u64],
) -> Result<Vec<ContentHash>> {
    let items = numbers.iter().map(|number| make(*number)).collect();
    let mut consolidated = consolidator.consolidate(items, context);
    if let Some(failed) = consolidated.failed.pop() {
        return Err(failed.error).context("consolidating");
    }
    for (outcome, number) in consolidated.outcomes.iter().zip(numbers) {
        println!("acknowledged {number} {}", outcome.content_hash);
    }
    Ok(consolidated.outcomes.iter().map(|outcome| outcome.content_hash).collect())
}
