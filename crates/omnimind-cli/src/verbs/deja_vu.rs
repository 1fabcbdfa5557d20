//! `deja-vu`: what a vector reminds of.

use std::path::Path;

use omnimind_memory::{Consolidator, Familiarity, Layer, ProcessContext, QueryFilter};
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
    let (query, filter) = (query(&args.vector, args.row)?, filter(args)?);
    let consolidator = session.existing()?;
    let memories = consolidator.deja_vu_among(&filter, &args.context, &query, args.k)?;
    let familiar = memories.iter().any(|memory| memory.familiar);
    let answer = Answer { context: &args.context, deja_vu: familiar, memories: &memories };
    session.output.result(&answer, |out| {
        if memories.is_empty() {
            #[cfg(all(unix, feature = "homomorphic"))]
            let sealed_too = session.scores_from().is_some();
            #[cfg(not(all(unix, feature = "homomorphic")))]
            let sealed_too = false;
            let nothing = match (sealed_too, filter == QueryFilter::default()) {
                (true, _) => {
                    "nothing that is sealed is felt, and nothing else has a signature to compare with"
                }
                (false, true) => "nothing in this store has a signature to compare with",
                (false, false) => "nothing of what was asked for has a signature to compare with",
            };
            return writeln!(out, "{}", nothing.paint(DIM));
        }
        let verdict = if familiar { "déjà vu".paint(GOOD) } else { "nothing familiar".paint(DIM) };
        writeln!(out, "{verdict}")?;
        table(&memories).write(out)
    })?;
    session.tell_notices(&consolidator);
    compact_if_due(session, &consolidator);
    Ok(())
}

fn filter(args: &DejaVu) -> Result<QueryFilter, Failure> {
    let recallable = match args.layer {
        None => None,
        Some(Layer::Preconscious) => Some(true),
        Some(Layer::Unconscious) => Some(false),
        Some(Layer::Conscious) => {
            let reason =
                "--layer conscious: what is conscious is in VRAM and not in the store; choose another layer";
            return Err(Failure::Usage(reason.to_owned()));
        }
    };
    let context = args.traced_by.as_ref().map(|context| context.as_str().to_owned());
    Ok(QueryFilter { context, recallable, kind: args.kind.clone() })
}

/// The answer is out; now somebody has to make the next ones quick, and this process has nothing else to do. If it cannot, that is
/// no failure of what was asked.
fn compact_if_due(session: &Session, consolidator: &Consolidator) {
    if !session.config().index.auto_compact || !consolidator.is_compaction_due() {
        return;
    }
    session.output.note("the index is compacted now, so that the next searches are quick");
    let compacted = {
        let _progress = session.working("compacting the index");
        consolidator.compact_index()
    };
    if let Err(error) = compacted {
        session.output.note(format!("the index was not compacted: {error}"));
    }
    session.tell_notices(consolidator);
}

/// The vector in a file, or one of its rows.
pub(super) fn query(path: &Path, row: Option<usize>) -> Result<Vec<f32>, Failure> {
    let mut rows = read_vectors(path)?;
    let count = rows.len();
    match row {
        Some(row) if row < count => Ok(rows.swap_remove(row)),
        Some(row) => Err(Failure::Usage(format!("--row {row}: {path:?} has {count} rows, counted from 0"))),
        None if count == 1 => Ok(rows.swap_remove(0)),
        None => Err(Failure::Usage(format!("{path:?} has {count} rows; choose one with --row N"))),
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
            match memory.influence {
                None => format!("{:.3}", memory.similarity),
                Some(at_least) => format!("≥ {at_least:.2}"),
            },
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
