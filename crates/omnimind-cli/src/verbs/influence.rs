//! `influence`: whether a vector resembles what crashed.

use omnimind_memory::{Influence, InfluenceLevel};
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
    let consolidator = session.existing()?;
    if args.all {
        let answer = consolidator.influence_of_all(&query)?;
        let sum = Sum { sum: answer.sum, memories: answer.members };
        return session.output.result(&sum, |out| {
            writeln!(
                out,
                "{}: about {} of {} in all",
                "influence".paint(GOOD),
                sum.sum,
                count(sum.memories, "sealed memory")
            )
        });
    }
    let influence = consolidator.influence(&query)?;
    let answer = Answer { level: influence.level(), influence: &influence };
    session.output.result(&answer, |out| {
        match answer.level {
            InfluenceLevel::None => writeln!(out, "{}", "resembles nothing that crashed".paint(DIM))?,
            level => writeln!(out, "{}", format!("{} influence", in_words(level)).paint(WARN))?,
        }
        if !influence.felt.is_empty() {
            table(&influence).write(out)?;
        }
        writeln!(out, "{}", format!("{} asked about say nothing", influence.silent).paint(DIM))?;
        for unanswered in &influence.unanswered {
            writeln!(out, "  {}: not answered, {}", short(&unanswered.content_hash), unanswered.reason)?;
        }
        Ok(())
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
