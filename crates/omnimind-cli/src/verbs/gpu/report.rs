//! `gpu` for people, and its JSON: one block per card. What a card does not report is left out.

use std::io::{self, IsTerminal, Write};

use gpu_probe::{DeviceInfo, MemoryInfo, ProcessKind};
use ratatui::crossterm::terminal;
use serde::Serialize;

use super::card::{Card, Pieces, Process};
use crate::failure::Failure;
use crate::output::{Align, BOLD, Bytes, DIM, GOOD, Paint, Percent, Table, WARN};
use crate::session::Session;

/// Width of the bar.
const BAR: usize = 30;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    source: &'static str,
    note: &'a str,
    devices: &'a [Card],
}

pub(super) fn write(
    session: &Session,
    source: &'static str,
    note: &str,
    cards: &[Card],
) -> Result<(), Failure> {
    let enter = session.config().gpu.enter;
    session.output.result(&Answer { source, note, devices: cards }, |out| {
        writeln!(out, "{}", note.paint(DIM))?;
        for card in cards {
            writeln!(out)?;
            block(out, card, enter)?;
        }
        Ok(())
    })
}

fn block(out: &mut dyn Write, card: &Card, enter: f64) -> io::Result<()> {
    writeln!(out, "{}", format_args!("{} {}", card.info.index, card.info.name).paint(BOLD))?;
    if let Some(error) = &card.error {
        writeln!(out, "  {}", error.paint(WARN))?;
    }
    if let Some(memory) = &card.memory {
        let style = if card.consolidate { WARN } else { GOOD };
        writeln!(
            out,
            "  VRAM  {} {}  {} used, {} free of {}",
            bar(memory.used_fraction()).paint(style),
            Percent(memory.used_fraction()),
            Bytes(memory.used_bytes),
            Bytes(memory.free_bytes),
            Bytes(memory.total_bytes)
        )?;
        let verdict = if card.consolidate { "consolidate now" } else { "room enough" };
        writeln!(out, "        {}; consolidating begins above {}", verdict.paint(style), Percent(enter))?;
    }
    let fact = |(name, text): (&str, String), out: &mut dyn Write| {
        writeln!(out, "  {}  {text}", format!("{name:<4}").paint(DIM))
    };
    for one in facts(&card.info) {
        fact(one, out)?;
    }
    if let Some(mig) = card.info.mig.as_ref().filter(|mig| mig.enabled) {
        for instance in &mig.instances {
            let profile = instance.profile.as_deref().unwrap_or("instance");
            let used = instance.memory.map_or_else(String::new, |memory| format!("  {}", of_total(&memory)));
            let uuid = instance.uuid.as_ref().map_or_else(String::new, |uuid| format!("  {uuid}"));
            writeln!(out, "        {} {profile}{used}{uuid}", instance.index)?;
        }
    }
    for one in pieces(card) {
        fact(one, out)?;
    }
    match card.processes.as_deref() {
        Some([]) | None => Ok(()),
        Some(processes) => table(processes).write(out),
    }
}

/// What the card reports of itself besides its memory, by name.
pub(super) fn facts(info: &DeviceInfo) -> Vec<(&'static str, String)> {
    let load = join([
        info.utilisation_percent.map(|load| format!("{load} %")),
        info.temperature_celsius.map(|heat| format!("{heat} °C")),
        power(info),
        info.processor_clock_mhz.map(|clock| format!("{clock} MHz")),
        info.memory_clock_mhz.map(|clock| format!("memory {clock} MHz")),
    ]);
    let errors = info.uncorrected_ecc_errors.filter(|&errors| errors > 0);
    let mig = info.mig.as_ref().filter(|mig| mig.enabled).map(|mig| match mig.instances.len() {
        0 => "on; no instance that this user may see".to_owned(),
        1 => "1 instance".to_owned(),
        count => format!("{count} instances"),
    });
    let facts = [
        ("load", load),
        ("PCIe", pcie(info)),
        ("ECC", errors.map(|errors| format!("{errors} errors that could not be corrected"))),
        ("MIG", mig),
    ];
    facts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

pub(super) fn power(info: &DeviceInfo) -> Option<String> {
    let watts = |milliwatts: u32| format!("{:.0}", f64::from(milliwatts) / 1000.0);
    Some(match (info.power_milliwatts.map(watts), info.power_limit_milliwatts.map(watts)) {
        (Some(now), Some(limit)) => format!("{now} of {limit} W"),
        (Some(now), None) => format!("{now} W"),
        (None, Some(limit)) => format!("at most {limit} W"),
        (None, None) => return None,
    })
}

pub(super) fn pcie(info: &DeviceInfo) -> Option<String> {
    let rate = |rate: Option<u64>, word| rate.map(|rate| format!("{}/s {word}", Bytes(rate)));
    join([
        info.pcie_generation.map(|generation| match info.pcie_lanes {
            Some(lanes) => format!("gen {generation} x{lanes}"),
            None => format!("gen {generation}"),
        }),
        rate(info.pcie_sent_bytes_per_second, "sent"),
        rate(info.pcie_received_bytes_per_second, "received"),
    ])
}

fn join<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How the free memory lies, and what this process holds without using it; only where there is something to say.
pub(super) fn pieces(card: &Card) -> Vec<(&'static str, String)> {
    let Some(Pieces { fragmentation, reserved_but_unallocated_bytes, .. }) = card.fragmentation else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if let (Some(largest), Some(blocks @ 2..)) = (fragmentation.largest_free_bytes, fragmentation.free_blocks)
    {
        lines.push(("free", format!("in {blocks} pieces, the largest of {}", Bytes(largest))));
    }
    if let Some(reserved) = fragmentation.reserved_bytes.filter(|&reserved| reserved > 0) {
        let idle = reserved_but_unallocated_bytes.unwrap_or(0);
        lines
            .push(("own", format!("{} held by this process, {} of it unused", Bytes(reserved), Bytes(idle))));
    }
    lines
}

pub(super) fn of_total(memory: &MemoryInfo) -> String {
    format!("{} of {}", Bytes(memory.used_bytes), Bytes(memory.total_bytes))
}

fn bar(used: f64) -> String {
    let full = (used * BAR as f64).round() as usize;
    let full = if used > 0.0 { full.clamp(1, BAR) } else { 0 };
    "█".repeat(full) + &"░".repeat(BAR - full)
}

fn table(processes: &[Process]) -> Table {
    let mut table = Table::new([
        ("pid", Align::Right),
        ("holds", Align::Right),
        ("share", Align::Right),
        ("process", Align::Left),
        ("started as", Align::Left),
    ])
    .indented(2);
    // On a terminal a row is a line.
    let before = 33 + processes.iter().map(|one| name(one).chars().count()).max().unwrap_or(0);
    let room = if io::stdout().is_terminal() {
        terminal::size()
            .map_or(usize::MAX, |(columns, _)| usize::from(columns).saturating_sub(before).max(10))
    } else {
        usize::MAX
    };
    for one in processes {
        table.row([
            one.of.pid.to_string(),
            one.of.used_bytes.map_or_else(String::new, |bytes| Bytes(bytes).to_string()),
            one.used_fraction.map_or_else(String::new, |share| Percent(share).to_string()),
            name(one),
            one.of.command_line.as_deref().map_or_else(String::new, |line| cut(line, room)),
        ]);
    }
    table
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Its name without folders, and whether it draws.
pub(super) fn name(one: &Process) -> String {
    let name = one.of.name.as_deref().unwrap_or("(not told)");
    let name = name.rsplit('/').next().unwrap_or(name);
    match one.of.kind {
        Some(ProcessKind::Graphics) => format!("{name} (draws)"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_cut_where_it_would_not_fit() {
        assert_eq!(cut("python train.py", 10), "python tr…");
        assert_eq!(cut("módulo", 6), "módulo");
        assert_eq!(cut("abc", 0), "…");
    }

    #[test]
    fn a_bar_is_as_full_as_the_card_and_never_empty_where_something_is_held() {
        assert_eq!(bar(0.0), "░".repeat(BAR));
        assert_eq!(bar(0.001).chars().filter(|&part| part == '█').count(), 1);
        assert_eq!(bar(1.0), "█".repeat(BAR));
    }
}
