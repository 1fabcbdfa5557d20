//! `deja-vu`: what a vector reminds of.

use omnimind_memory::{Familiarity, ProcessContext};
use serde::Serialize;

use crate::args::DejaVu;
use crate::failure::Failure;
use crate::output::{Align, DIM, GOOD, Paint, Table, age};
use crate::record::short;
use crate::session::Session;
use crate::tensor_file::read_vectors;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    context: &'a ProcessContext,
    /// Whether anything is familiar.
    deja_vu: bool,
    memories: &'a [Familiarity],
}

pub(super) fn run(session: &Session, args: &DejaVu) -> Result<(), Failure> {
    let query = query(args)?;
    let consolidator = session.existing()?;
    let memories = consolidator.deja_vu(&args.context, &query, args.k)?;
    let familiar = memories.iter().any(|memory| memory.familiar);
    let answer = Answer { context: &args.context, deja_vu: familiar, memories: &memories };
    session.output.result(&answer, |out| {
        if memories.is_empty() {
            return writeln!(out, "{}", "nothing in this store has a signature to compare with".paint(DIM));
        }
        let verdict = if familiar { "déjà vu".paint(GOOD) } else { "nothing familiar".paint(DIM) };
        writeln!(out, "{verdict}")?;
        table(&memories).write(out)
    })
}

fn query(args: &DejaVu) -> Result<Vec<f32>, Failure> {
    let mut rows = read_vectors(&args.vector)?;
    let count = rows.len();
    match args.row {
        Some(row) if row < count => Ok(rows.swap_remove(row)),
        Some(row) => {
            Err(Failure::Usage(format!("--row {row}: {:?} has {count} rows, counted from 0", args.vector)))
        }
        None if count == 1 => Ok(rows.swap_remove(0)),
        None => Err(Failure::Usage(format!("{:?} has {count} rows; choose one with --row N", args.vector))),
    }
}

/// The answers, the familiar ones in colour.
pub(crate) fn table(memories: &[Familiarity]) -> Table {
    let mut table = Table::new([
        ("similarity", Align::Right),
        ("memory", Align::Left),
        ("type", Align::Left),
        ("age", Align::Right),
        ("", Align::Left),
    ])
    .indented(2);
    for memory in memories {
        let standing = match (&memory.reason_if_not, memory.in_trace) {
            (Some(reason), _) => reason.clone(),
            (None, true) => "may be recalled".to_owned(),
            (None, false) => "may be recalled; this context is not in its trace yet".to_owned(),
        };
        let cells = [
            format!("{:.3}", memory.similarity),
            short(&memory.content_hash),
            memory.kind.clone(),
            age(memory.age),
            standing,
        ];
        if memory.familiar {
            table.row(cells);
        } else {
            table.styled_row(cells, DIM);
        }
    }
    table
}
