//! `influence`: whether a vector resembles what crashed.

use encrypted_unconscious::InfluenceError;
use encrypted_unconscious::keyholder::{KeyholderError, Refusal};
use omnimind_memory::{Consolidator, Error, Influence, InfluenceLevel};
use serde::Serialize;

use super::deja_vu::query;
use crate::args;
use crate::failure::Failure;
use crate::output::{Align, DIM, GOOD, Paint, Table, WARN, age, count};
use crate::record::short;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// The strongest that was felt.
    level: InfluenceLevel,
    #[serde(flatten)]
    influence: &'a Influence,
}

#[derive(Debug, Serialize)]
struct Sum {
    /// The sum of the cosines, rounded.
    sum: f64,
    /// Over how many memories.
    memories: u64,
}

pub(super) fn run(session: &Session, args: &args::Influence) -> Result<(), Failure> {
    let query = query(&args.vector, args.row)?;
    let consolidator = session.existing_with_scores()?;
    if args.all { all(session, &consolidator, &query) } else { each(session, &consolidator, &query) }
}

fn each(session: &Session, consolidator: &Consolidator, query: &[f32]) -> Result<(), Failure> {
    let influence = consolidator.influence(query)?;
    let answer = Answer { level: influence.level(), influence: &influence };
    let (silent, unanswered) = (influence.silent as u64, influence.unanswered.len() as u64);
    session.output.result(&answer, |out| {
        match (answer.level, silent, unanswered) {
            (InfluenceLevel::None, 0, 0) => writeln!(
                out,
                "{}",
                "nothing sealed in this store has a signature to compare with".paint(DIM)
            )?,
            (InfluenceLevel::None, _, 0) => writeln!(out, "{}", "resembles nothing that crashed".paint(DIM))?,
            (InfluenceLevel::None, 0, _) => writeln!(out, "{}", "nothing is said".paint(WARN))?,
            (InfluenceLevel::None, ..) => {
                writeln!(out, "{}", "resembles nothing of what is answered about".paint(WARN))?;
            }
            (level, ..) => writeln!(out, "{}", format!("{} influence", in_words(level)).paint(WARN))?,
        }
        if !influence.felt.is_empty() {
            table(&influence).write(out)?;
        }
        if silent > 0 {
            let text = format!("  {} asked about without resemblance", count(silent, "sealed memory"));
            writeln!(out, "{}", text.paint(DIM))?;
        }
        for unanswered in &influence.unanswered {
            writeln!(out, "  {}: not answered, {}", short(&unanswered.content_hash), unanswered.reason)?;
        }
        Ok(())
    })?;
    if silent == 0 && influence.felt.is_empty() && unanswered > 0 {
        // A script must not take this for an answer.
        let text = "the keyholder says nothing about any of the sealed memories that it was asked about";
        return Err(Failure::Unanswered(text.to_owned()));
    }
    Ok(())
}

fn all(session: &Session, consolidator: &Consolidator, query: &[f32]) -> Result<(), Failure> {
    let answer = consolidator.influence_of_all(query).map_err(|error| match error {
        Error::Keyholder(KeyholderError::Question(InfluenceError::Nothing)) => Failure::NotFound(format!(
            "nothing sealed in this store has a signature of {} dimensions, so there is no sum; ask with a vector of the \
             model that the signatures are from",
            query.len()
        )),
        Error::Keyholder(KeyholderError::Refused(refusal @ Refusal::OverBudget { .. })) => {
            Failure::Unanswered(format!("the keyholder says no sum over all that is sealed: {refusal}"))
        }
        error => error.into(),
    })?;
    let sum = Sum { sum: answer.sum, memories: answer.members };
    session.output.result(&sum, |out| {
        writeln!(
            out,
            "{}: about {} of {} in all",
            "influence".paint(GOOD),
            sum.sum,
            count(sum.memories, "sealed memory")
        )
    })
}

fn in_words(level: InfluenceLevel) -> &'static str {
    match level {
        InfluenceLevel::None => "no",
        InfluenceLevel::Faint => "faint",
        InfluenceLevel::Clear => "clear",
        InfluenceLevel::Strong => "strong",
    }
}

fn table(influence: &Influence) -> Table {
    let mut table = Table::new([
        ("at least", Align::Right),
        ("memory", Align::Left),
        ("type", Align::Left),
        ("age", Align::Right),
    ])
    .indented(2);
    for felt in &influence.felt {
        table.row([
            format!("{:.2}", felt.at_least),
            short(&felt.content_hash),
            felt.kind.clone(),
            age(felt.age),
        ]);
    }
    table
}
