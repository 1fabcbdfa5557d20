//! `stats`: what was consolidated, and what it saved, in all and by layer.

use omnimind_memory::Stats;

use crate::failure::Failure;
use crate::output::{Align, BOLD, Bytes, Paint, Percent, Table, WARN, count};
use crate::session::Session;

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let stats = session.existing()?.stats()?;
    session.output.result(&stats, |out| {
        table(&stats).write(out)?;
        if stats.damaged > 0 {
            let damaged = format!("{} damaged; `omnimind verify` says which", count(stats.damaged, "memory"));
            writeln!(out, "{}", damaged.paint(WARN))?;
        }
        Ok(())
    })
}

/// Layers as rows, their sum last.
pub(crate) fn table(stats: &Stats) -> Table {
    let mut table = Table::new([
        ("layer", Align::Left),
        ("memories", Align::Right),
        ("original", Align::Right),
        ("stored", Align::Right),
        ("kept", Align::Right),
        ("VRAM freed", Align::Right),
        ("traces", Align::Right),
    ]);
    let row = |name: &str, memories: u64, original: u64, stored: u64, kept: f64, freed: u64, traces: u64| {
        [
            name.to_owned(),
            memories.to_string(),
            Bytes(original).to_string(),
            Bytes(stored).to_string(),
            Percent(kept).to_string(),
            Bytes(freed).to_string(),
            traces.to_string(),
        ]
    };
    for (name, layer) in &stats.layers {
        table.row(row(
            name.as_str(),
            layer.total_consolidated,
            layer.total_original_bytes,
            layer.total_compressed_bytes,
            layer.average_compression,
            layer.freed_bytes,
            layer.activation_traces,
        ));
    }
    let all = row(
        "all",
        stats.total_consolidated,
        stats.total_original_bytes,
        stats.total_compressed_bytes,
        stats.average_compression,
        stats.freed_bytes,
        stats.activation_traces,
    );
    table.styled_row(all, BOLD);
    table
}
