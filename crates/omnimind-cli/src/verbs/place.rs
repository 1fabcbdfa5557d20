//! `place`: where a piece of work should run, and why. Judges the cards there are, or one that is only described.

use std::thread;
use std::time::Duration;

use gpu_probe::{CardState, Recorder, Sampler, SamplerConfig, Work, place};
use omnimind_memory::{Placement, PlacementConfig};
use serde::Serialize;

use crate::args;
use crate::failure::Failure;
use crate::output::{BOLD, DIM, Paint, Percent};
use crate::session::Session;

use super::gpu::AHEAD;

/// How often the cards are looked at while they are watched, and how often closer.
const WATCH_EVERY: Duration = Duration::from_millis(100);
const WATCH_DETAILS_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    placement: Placement,
    inputs: Inputs,
}

/// Everything that the decision was made of.
#[derive(Debug, Serialize)]
struct Inputs {
    #[serde(flatten)]
    work: Work,
    cards: Vec<CardState>,
    /// Where the cards come from: `cuda`, `simulated`, `none`, or `hypothetical`.
    source: &'static str,
    /// How long the cards were watched before.
    watched_seconds: Option<f64>,
    thresholds: PlacementConfig,
}

pub(super) fn run(session: &Session, args: &args::Place) -> Result<(), Failure> {
    let Seen { cards, source, watched } = look(session, args)?;
    let mut work = Work::new(args.task.clone(), (args.size_mb * 1e6) as u64);
    work.influence = influence(session, args)?;
    let thresholds = session.config().placement;
    let placement = place(&work, &cards, &thresholds);
    let watched_seconds = watched.map(|watched| watched.as_secs_f64());
    let answer = Answer { placement, inputs: Inputs { work, cards, source, watched_seconds, thresholds } };
    session.output.result(&answer, |out| {
        writeln!(out, "{}", answer.placement.device.paint(BOLD))?;
        writeln!(out, "  {}", answer.placement.reason)?;
        for line in said(&answer) {
            writeln!(out, "  {}", line.paint(DIM))?;
        }
        Ok(())
    })
}

/// The rule and the inputs in words.
fn said(answer: &Answer) -> Vec<String> {
    let inputs = &answer.inputs;
    let mut work =
        vec![format!("{} work", inputs.work.kind), format!("{:.0} MB", megabytes(inputs.work.bytes))];
    if inputs.work.influence > 0.0 {
        work.push(format!("resembles what crashed by at least {:.2}", inputs.work.influence));
    }
    let cards = inputs.cards.iter().map(|card| {
        let mut facts = vec![format!("{} in use", Percent(card.used_fraction))];
        facts.extend(card.free_bytes.map(|free| format!("{:.0} MB free", megabytes(free))));
        let soon = card.forecast_fraction;
        facts.extend(soon.map(|soon| format!("{} expected in {} s", Percent(soon), AHEAD.as_secs())));
        format!("       cuda:{} ({}) {}", card.device, inputs.source, facts.join(", "))
    });
    let rule = format!("rule   {}", answer.placement.rule.name());
    [rule, format!("inputs {}", work.join(", "))].into_iter().chain(cards).collect()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What is known of the cards, and of how.
struct Seen {
    cards: Vec<CardState>,
    source: &'static str,
    watched: Option<Duration>,
}

/// The cards there are, who holds them, and, if they are watched first, where that is heading.
fn look(session: &Session, args: &args::Place) -> Result<Seen, Failure> {
    if let Some(percent) = args.vram_percent {
        let cards = vec![CardState::hypothetical(0, percent / 100.0)];
        return Ok(Seen { cards, source: "hypothetical", watched: None });
    }
    let (gpu, _) = super::gpu::cards(session, args.simulated, args.watch_seconds.is_some());
    let source = gpu.source();
    let config = SamplerConfig {
        every: WATCH_EVERY,
        details_every: WATCH_DETAILS_EVERY,
        capacity: args.watch_seconds.map_or(1, |watched| (watched.as_secs_f64() * 10.0) as usize + 2),
    };
    let cards = match args.watch_seconds {
        None => {
            let recorder = Recorder::new(gpu, config.capacity).map_err(Failure::from_gpu)?;
            recorder.sample();
            cards(session, &recorder)
        }
        Some(watched) => {
            let sampler = Sampler::start(gpu, config).map_err(Failure::from_gpu)?;
            // Without a card there is nothing to wait for.
            if !sampler.recorder().devices().is_empty() {
                let _waiting = session.working("watching the cards");
                thread::sleep(watched);
                sampler.recorder().look_closer();
            }
            cards(session, sampler.recorder())
        }
    };
    Ok(Seen { cards, source, watched: args.watch_seconds })
}

/// A card that does not answer is left out, and told so.
fn cards(session: &Session, recorder: &Recorder) -> Vec<CardState> {
    let mut cards = Vec::new();
    for info in recorder.devices() {
        let history = recorder.history(info.index);
        let reading = match history.last().map(|sample| &sample.seen) {
            Some(Ok(reading)) => reading,
            Some(Err(reason)) => {
                session.output.note(format!("cuda:{} is left out: {reason}", info.index));
                continue;
            }
            None => continue,
        };
        let card = CardState::new(info.index, &reading.memory).heading(recorder, AHEAD);
        cards.push(CardState { others_bytes: reading.others_bytes, ..card });
    }
    cards
}

/// How much the work resembles what crashed, if that was asked.
#[cfg(feature = "homomorphic")]
fn influence(session: &Session, args: &args::Place) -> Result<f32, Failure> {
    let Some(vector) = &args.vector else { return Ok(0.0) };
    let query = super::deja_vu::query(vector, args.row)?;
    let influence = session.existing()?.influence(&query)?;
    if let Some(unanswered) = influence.unanswered.first() {
        session.output.note(format!(
            "{} sealed memories do not take part: {}",
            influence.unanswered.len(),
            unanswered.reason
        ));
    }
    Ok(influence.felt.first().map_or(0.0, |felt| felt.at_least))
}

#[cfg(not(feature = "homomorphic"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
fn influence(_: &Session, _: &args::Place) -> Result<f32, Failure> {
    Ok(0.0)
}
