//! `memory swap`: who holds swap, and how much.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use systemd_policy::Roots;
use systemd_policy::swap::{Holder, Swap};

use super::{failure, tell};
use crate::failure::Failure;
use crate::output::{Align, Bytes, Percent, Table, printable, timestamp};
use crate::session::Session;

/// Rows, unless everything is asked for.
const MOST_ROWS: usize = 20;

pub(super) fn run(session: &Session, roots: &Roots) -> Result<(), Failure> {
    let swap = Swap::observe(roots).map_err(failure)?;
    if swap.total_bytes > 0 {
        tell(session.output, &swap.lacks);
    }
    let rows = if session.output.is_verbose() { usize::MAX } else { MOST_ROWS };
    session.output.result(&swap, |out| print(out, &swap, rows))
}

fn print(out: &mut dyn Write, swap: &Swap, rows: usize) -> io::Result<()> {
    if swap.total_bytes == 0 {
        return writeln!(out, "there is no swap");
    }
    let (used, total) = (Bytes(swap.used_bytes), Bytes(swap.total_bytes));
    let share = Percent(swap.used_bytes as f64 / swap.total_bytes as f64);
    writeln!(out, "{used} of {total} of swap are in use, {share}")?;
    if swap.zswapped_bytes > 0 {
        writeln!(out, "{} of it are compressed in RAM (zswap)", Bytes(swap.zswapped_bytes))?;
    }
    if swap.used_bytes == 0 {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new([
        ("process", Align::Right),
        ("name", Align::Left),
        ("swap", Align::Right),
        ("share", Align::Right),
        ("unit", Align::Left),
        ("started", Align::Left),
    ]);
    for holder in swap.holders.iter().take(rows) {
        table.row(row(holder));
    }
    let rest = |name: &str, bytes: u64| {
        let share = Percent(bytes as f64 / swap.used_bytes as f64).to_string();
        ["-".to_owned(), name.to_owned(), Bytes(bytes).to_string(), share]
    };
    if swap.rest.cached_bytes > 0 {
        table.row(rest("(read back, place kept)", swap.rest.cached_bytes));
    }
    if swap.rest.shared_or_unseen_bytes > 0 {
        table.row(rest("(shared memory, tmpfs, not seen)", swap.rest.shared_or_unseen_bytes));
    }
    table.write(out)?;
    let more = swap.holders.len().saturating_sub(rows);
    if more > 0 { writeln!(out, "and {more} more; --verbose shows all") } else { Ok(()) }
}

fn row(holder: &Holder) -> [String; 6] {
    let started = holder
        .started_unix_s
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .map_or_else(|| "-".to_owned(), timestamp);
    [
        holder.pid.to_string(),
        printable(&holder.name),
        Bytes(holder.swap_bytes).to_string(),
        Percent(holder.share).to_string(),
        holder.unit.as_deref().map_or_else(|| "-".to_owned(), printable),
        started,
    ]
}
