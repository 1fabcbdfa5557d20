//! `place`: where a piece of work should run, and why. Judges the cards there are, or one that is only described.

use gpu_probe::{CardState, Work, place};
use omnimind_memory::{Placement, PlacementConfig};
use serde::Serialize;

use crate::args;
use crate::failure::Failure;
use crate::output::{BOLD, DIM, Paint};
use crate::session::Session;

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
    thresholds: PlacementConfig,
}

pub(super) fn run(session: &Session, args: &args::Place) -> Result<(), Failure> {
    let (cards, source) = match args.vram_percent {
        Some(percent) => (vec![CardState::hypothetical(0, percent / 100.0)], "hypothetical"),
        None => cards(session)?,
    };
    let mut work = Work::new(args.task.clone(), (args.size_mb * 1e6) as u64);
    work.influence = influence(session, args)?;
    let thresholds = session.config().placement;
    let placement = place(&work, &cards, &thresholds);
    let answer = Answer { placement, inputs: Inputs { work, cards, source, thresholds } };
    session.output.result(&answer, |out| {
        writeln!(out, "{}", answer.placement.device.paint(BOLD))?;
        writeln!(out, "  {}", answer.placement.reason)?;
        if session.output.is_verbose() {
            let inputs = &answer.inputs;
            for card in &inputs.cards {
                let used = 100.0 * card.used_fraction;
                writeln!(
                    out,
                    "  {}",
                    format_args!("cuda:{} ({}) {used:.1} % in use", card.device, source).paint(DIM)
                )?;
            }
        }
        Ok(())
    })
}

/// The cards there are, and who holds them.
fn cards(session: &Session) -> Result<(Vec<CardState>, &'static str), Failure> {
    let (gpu, _) = session.gpu();
    let mut cards = Vec::new();
    for device in gpu.devices().map_err(Failure::from_gpu)? {
        let memory = gpu.memory(device.index).map_err(Failure::from_gpu)?;
        let own = std::process::id();
        // Not every driver tells who holds what.
        let others = gpu.processes(device.index).ok().map(|processes| {
            let others = processes.iter().filter(|process| process.pid != own);
            others.filter_map(|process| process.used_bytes).sum()
        });
        cards.push(CardState { others_bytes: others, ..CardState::new(device.index, &memory) });
    }
    Ok((cards, gpu.source()))
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
