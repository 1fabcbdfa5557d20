//! `index`: the index that `deja-vu` searches: how much it holds, its next snapshot, and whether it is right.

use std::path::PathBuf;

use omnimind_memory::{ColumnStats, CompactReport, Consolidator, IndexCheck, IndexStats};
use serde::Serialize;

use crate::args::IndexVerb;
use crate::failure::Failure;
use crate::output::{Align, Bytes, DIM, GOOD, Paint, Table, WARN, count};
use crate::record::short;
use crate::session::Session;

/// Hashes that are shown of many; JSON has all.
const SHOWN: usize = 5;

#[derive(Debug, Serialize)]
struct Holds {
    /// Where it is kept.
    dir: Option<PathBuf>,
    /// Whether so much is new that compacting is worth its while.
    compaction_due: bool,
    #[serde(flatten)]
    stats: IndexStats,
}

#[derive(Debug, Serialize)]
struct Compacted {
    dir: Option<PathBuf>,
    #[serde(flatten)]
    report: CompactReport,
}

#[derive(Debug, Serialize)]
struct Verified {
    clean: bool,
    /// Whether it was built anew.
    repaired: bool,
    dir: Option<PathBuf>,
    #[serde(flatten)]
    check: IndexCheck,
}

pub(super) fn run(session: &Session, verb: &IndexVerb) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let done = match verb {
        IndexVerb::Stats => stats(session, &consolidator),
        IndexVerb::Compact => compact(session, &consolidator),
        IndexVerb::Verify { repair } => verify(session, &consolidator, *repair),
    };
    session.tell_notices(&consolidator);
    done
}

fn stats(session: &Session, consolidator: &Consolidator) -> Result<(), Failure> {
    let stats = consolidator.index_stats()?;
    let holds =
        Holds { dir: consolidator.index_dir(), compaction_due: consolidator.is_compaction_due(), stats };
    session.output.result(&holds, |out| {
        let stats = &holds.stats;
        writeln!(
            out,
            "{}, {} of them with a signature; {} of {}",
            count(stats.memories as u64, "memory"),
            stats.signatures,
            count(stats.activation_traces as u64, "trace"),
            count(stats.contexts as u64, "context")
        )?;
        let (fresh, forgotten) = (stats.fresh, stats.forgotten);
        match stats.snapshot_bytes {
            0 => writeln!(out, "no snapshot yet")?,
            bytes => {
                writeln!(out, "snapshot of {}; since then {fresh} new, {forgotten} forgotten", Bytes(bytes))?;
            }
        }
        if !stats.columns.is_empty() {
            columns(&stats.columns).write(out)?;
        }
        writeln!(out, "{}", format!("products are computed with {}", stats.kernel).paint(DIM))?;
        if holds.compaction_due {
            writeln!(
                out,
                "{}",
                "so much is new that `omnimind index compact` is worth its while".paint(WARN)
            )?;
        }
        Ok(())
    })
}

fn columns(columns: &[ColumnStats]) -> Table {
    let mut table = Table::new([
        ("dimension", Align::Right),
        ("signatures", Align::Right),
        ("new", Align::Right),
        ("searched by", Align::Left),
    ])
    .indented(2);
    for column in columns {
        let searched = match &column.graph {
            None => "an exact scan".to_owned(),
            Some(graph) => {
                format!("a graph; a search compares about {:.0} of {}", graph.compared, graph.rows)
            }
        };
        table.row([
            column.dimension.to_string(),
            column.signatures.to_string(),
            column.fresh.to_string(),
            searched,
        ]);
    }
    table
}

fn compact(session: &Session, consolidator: &Consolidator) -> Result<(), Failure> {
    let report = {
        let _progress = session.working("compacting the index");
        consolidator.compact_index()?
    };
    let compacted = Compacted { dir: consolidator.index_dir(), report };
    session.output.result(&compacted, |out| {
        let report = &compacted.report;
        writeln!(
            out,
            "compacted {} in {:.1} s: {} new, {} dropped; {} before, {} now",
            count(report.memories as u64, "memory"),
            report.total.as_secs_f64(),
            report.merged,
            report.dropped,
            Bytes(report.bytes_before),
            Bytes(report.bytes)
        )
    })
}

fn verify(session: &Session, consolidator: &Consolidator, repair: bool) -> Result<(), Failure> {
    let check = consolidator.verify_index()?;
    let clean = check.is_clean();
    let repaired = repair && !clean;
    if repaired {
        let _progress = session.working("building the index anew");
        consolidator.rebuild_index()?;
    }
    let verified = Verified { clean, repaired, dir: consolidator.index_dir(), check };
    session.output.result(&verified, |out| {
        let check = &verified.check;
        if check.damage.is_none() {
            let compared = count(check.memories as u64, "memory");
            match check.snapshot_bytes {
                0 => writeln!(out, "compared {compared} with the store; no snapshot yet")?,
                bytes => writeln!(
                    out,
                    "read a snapshot of {} and compared {compared} with the store",
                    Bytes(bytes)
                )?,
            }
        }
        if clean {
            return writeln!(out, "{}", "the index holds what the store holds".paint(GOOD));
        }
        findings(check).write(out)
    })?;
    if clean {
        return Ok(());
    }
    let next = if repaired {
        "it has been built anew from the store"
    } else {
        "`omnimind index verify --repair` builds it anew from the store, which is not affected"
    };
    Err(Failure::Damaged(format!("the index is not what it should be; {next}")))
}

fn findings(check: &IndexCheck) -> Table {
    let mut table = Table::new([("what is wrong", Align::Left), ("where", Align::Left)]).indented(2);
    if let Some(damage) = &check.damage {
        table.row(["the snapshot is damaged".to_owned(), damage.clone()]);
    }
    let found = [
        ("not in the index", &check.missing),
        ("not in the store", &check.unknown),
        ("with another trace", &check.other_traces),
    ];
    for (what, hashes) in found.into_iter().filter(|(_, hashes)| !hashes.is_empty()) {
        let mut names: Vec<_> = hashes.iter().take(SHOWN).map(short).collect();
        if hashes.len() > SHOWN {
            names.push("…".to_owned());
        }
        table.row([format!("{} {what}", count(hashes.len() as u64, "memory")), names.join(" ")]);
    }
    if check.different > 0 {
        let memories = count(check.different as u64, "memory");
        table.row([format!("{memories} with another signature, type, age or layer"), String::new()]);
    }
    table
}
