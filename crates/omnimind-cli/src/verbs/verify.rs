//! `verify`: reads everything in the store, and says what is damaged and whom it belongs to.

use omnimind_memory::{Error, VerifyReport};
use serde::Serialize;

use crate::args::Verify;
use crate::failure::Failure;
use crate::output::{Align, Bytes, GOOD, Paint, Table, count};
use crate::record::short;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    clean: bool,
    /// Whether damaged objects were set aside.
    repaired: bool,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

pub(super) fn run(session: &Session, args: &Verify) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let report = consolidator.store().verify(args.repair).map_err(Error::Store)?;
    let answer = Answer { clean: report.is_clean(), repaired: args.repair, report: &report };
    session.output.result(&answer, |out| {
        writeln!(
            out,
            "read {} in {} of {}",
            Bytes(report.object_bytes),
            count(report.objects, "object"),
            count(report.memories, "memory")
        )?;
        if report.unreferenced_objects > 0 {
            let objects = count(report.unreferenced_objects, "object");
            writeln!(out, "{objects} without a memory; `omnimind gc` removes such")?;
        }
        if report.recovered_objects > 0 {
            writeln!(
                out,
                "{} marked as damaged before, now whole",
                count(report.recovered_objects, "object")
            )?;
        }
        if report.is_clean() {
            return writeln!(out, "{}", "everything is as it was stored".paint(GOOD));
        }
        damage(&report).write(out)
    })?;
    if report.is_clean() {
        return Ok(());
    }
    Err(Failure::Damaged(summary(&report, args.repair)))
}

fn damage(report: &VerifyReport) -> Table {
    let mut table =
        Table::new([("damaged", Align::Left), ("belongs to", Align::Left), ("what is wrong", Align::Left)])
            .indented(2);
    for object in &report.damaged_objects {
        let owners: Vec<_> = object.memories.iter().map(short).collect();
        let owners = if owners.is_empty() { "no memory".to_owned() } else { owners.join(" ") };
        let moved =
            object.quarantined.as_ref().map(|place| format!(", moved to {place}")).unwrap_or_default();
        table.row([
            format!("object {}", short(&object.object)),
            owners,
            format!("{}{moved}", object.problem),
        ]);
    }
    for memory in &report.damaged_memories {
        let hash = short(&memory.content_hash);
        table.row([format!("memory {hash}"), hash, memory.reason.clone()]);
    }
    for error in &report.catalogue_errors {
        table.row(["catalogue".to_owned(), String::new(), error.clone()]);
    }
    table
}

fn summary(report: &VerifyReport, repaired: bool) -> String {
    let mut owners: Vec<_> =
        report.damaged_objects.iter().flat_map(|object| object.memories.iter().copied()).collect();
    owners.extend(report.damaged_memories.iter().map(|memory| memory.content_hash));
    owners.sort_unstable();
    owners.dedup();
    let next = if repaired {
        "consolidate them again to heal them, or `omnimind forget` them"
    } else {
        "`omnimind verify --repair` sets damaged objects aside; consolidating the same content again heals a memory"
    };
    let names: Vec<_> = owners.iter().map(short).collect();
    match names.len() {
        0 => format!("damage was found, but in no memory; {next}"),
        _ => format!("damage was found in memory {}; {next}", names.join(", ")),
    }
}
