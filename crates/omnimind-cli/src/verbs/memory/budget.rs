//! `memory budget`: what memory may be used, against what is.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use systemd_policy::budget::{Budget, Row};
use systemd_policy::{Error, observe};

use super::{Card, failure, roots, tell};
use crate::args;
use crate::failure::Failure;
use crate::output::{Align, BAD, DIM, GOOD, Paint, Percent, Table};
use crate::session::Session;

/// What is looked for where no file is named and nothing is set.
const USUAL_FILE: &str = "omnimind_parameters.json";

#[derive(Debug, Serialize)]
struct Answer {
    /// Where the targets are from; `None` if there are none.
    source: Option<String>,
    /// Whether all that can be seen are met; `None` if none can be seen.
    met: Option<bool>,
    rows: Vec<Row>,
    /// Which card was looked at, or why none.
    vram_source: String,
    lacks: Vec<String>,
}

pub(super) fn run(session: &Session, args: &args::Budget) -> Result<(), Failure> {
    let found = targets(session, args)?;
    let card = Card::of(session);
    let seen =
        observe(&roots(args.machine.recorded.as_deref()), &session.config().memory).map_err(failure)?;
    let rows = found.as_ref().map(|(budget, _)| budget.against(&seen, card.memory())).unwrap_or_default();
    if found.as_ref().is_some_and(|(budget, _)| budget.drop_caches.is_some()) {
        session
            .output
            .note("drop_caches is read and never done: the kernel drops caches when it needs the room");
    }
    let verdicts: Vec<bool> = rows.iter().filter_map(|row| row.met).collect();
    let met = (!verdicts.is_empty()).then(|| verdicts.iter().all(|met| *met));
    let source = found.map(|(_, source)| source);
    let answer = Answer { source, met, rows, vram_source: card.note, lacks: seen.lacks };
    if answer.source.is_some() {
        tell(session.output, &answer.lacks);
    }
    session.output.result(&answer, |out| print(out, &answer))?;
    if args.gate { gate(&answer) } else { Ok(()) }
}

/// The targets, and where they are from.
fn targets(session: &Session, args: &args::Budget) -> Result<Option<(Budget, String)>, Failure> {
    let usual = Path::new(USUAL_FILE);
    let file = match (&args.parameters, &session.config().memory.budget) {
        (Some(path), _) => path,
        (None, Some(budget)) => return Ok(Some((budget.clone(), "memory.budget".to_owned()))),
        (None, None) if usual.exists() => usual,
        (None, None) => return Ok(None),
    };
    let budget = Budget::read(file).map_err(|error| match error {
        Error::Config { .. } => Failure::Usage(format!("{file:?}: {error}")),
        other => Failure::Usage(format!("{other}; name a file of targets with --parameters")),
    })?;
    Ok(Some((budget, file.display().to_string())))
}

/// A gate that nothing could fail would be none.
fn gate(answer: &Answer) -> Result<(), Failure> {
    if answer.source.is_none() {
        return Err(Failure::Usage(format!(
            "--gate needs targets; set [memory.budget] in omnimind.toml, or give --parameters {USUAL_FILE}"
        )));
    }
    let missed = answer.rows.iter().filter(|row| row.met == Some(false));
    let missed: Vec<&str> = missed.map(|row| row.name.as_str()).collect();
    match answer.met {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::Partial(format!("targets are missed: {}", missed.join(", ")))),
        None => Err(Failure::Partial("no target can be seen, so none can be met".to_owned())),
    }
}

fn print(out: &mut dyn Write, answer: &Answer) -> io::Result<()> {
    let Some(source) = &answer.source else {
        return writeln!(
            out,
            "no targets are set; set [memory.budget] in omnimind.toml, or give --parameters {USUAL_FILE}"
        );
    };
    writeln!(out, "{} {source}", "targets from".paint(DIM))?;
    writeln!(out, "{} {}", "card".paint(DIM), answer.vram_source)?;
    writeln!(out)?;
    let mut table = Table::new([
        ("target", Align::Left),
        ("at most", Align::Right),
        ("now", Align::Right),
        ("", Align::Left),
    ]);
    for row in &answer.rows {
        let (verdict, style) = match row.met {
            Some(true) => ("met", GOOD),
            Some(false) => ("missed", BAD),
            None => ("cannot be seen", DIM),
        };
        let now = row.actual.map_or_else(|| "-".to_owned(), |actual| shown(actual, &row.unit));
        table.styled_row([row.name.clone(), shown(row.target, &row.unit), now, verdict.to_owned()], style);
    }
    table.write(out)
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "share" => Percent(value).to_string(),
        "MiB" => format!("{value:.1} MiB"),
        _ => format!("{value}"),
    }
}
