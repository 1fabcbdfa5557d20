//! `memory report`: the machine, the configured services, and what should be done.

use std::io::{self, Write};
use std::path::Path;

use systemd_policy::report::SystemReport;
use systemd_policy::{Action, Config, Recommendation, Report, decide};

use super::state::State;
use super::{look_twice, tell};
use crate::failure::Failure;
use crate::output::{Align, BAD, Bytes, GOOD, Paint, Percent, Table, WARN, printable, wrapped};
use crate::session::Session;

pub(super) fn run(session: &Session, recorded: Option<&Path>) -> Result<(), Failure> {
    let config = &session.config().memory;
    let (now, history) = look_twice(session, recorded)?;
    // Reading what stands needs no rights; what cannot be read is as if nothing stood.
    let standing = State::of_system().standing(now.at).unwrap_or_default();
    let recommendations = decide(&now, &history, &standing, config);
    let report = Report::of(&now, &recommendations, config);
    tell(session.output, &report.lacks);
    session.output.result(&report, |out| print(out, &report, config))
}

fn print(out: &mut dyn Write, report: &Report, config: &Config) -> io::Result<()> {
    machine(out, &report.system, config)?;
    writeln!(out)?;
    services(out, report, config)?;
    writeln!(out)?;
    if report.recommendations.is_empty() {
        return writeln!(out, "nothing to do");
    }
    let (advice, deeds): (Vec<_>, Vec<_>) =
        report.recommendations.iter().partition(|one| one.action == Action::Advise);
    if !deeds.is_empty() {
        writeln!(out, "to do (`omnimind memory apply` does it)")?;
        for recommendation in deeds {
            recommended(out, recommendation)?;
        }
    }
    self::advice(out, &advice)
}

fn machine(out: &mut dyn Write, system: &SystemReport, config: &Config) -> io::Result<()> {
    let ram = system.ram_percent / 1e2;
    let style = match ram {
        _ if ram >= config.ram_critical => BAD,
        _ if ram >= config.ram_high => WARN,
        _ => GOOD,
    };
    writeln!(
        out,
        "RAM       {}  {} of {} in use, {} available",
        format!("{:>7}", Percent(ram)).paint(style),
        Bytes(system.ram_used_bytes),
        Bytes(system.ram_total_bytes),
        Bytes(system.ram_available_bytes),
    )?;
    if system.swap_total_bytes == 0 {
        writeln!(out, "swap         none")?;
    } else {
        let swap = system.swap_percent / 1e2;
        writeln!(
            out,
            "swap      {}  {} of {} in use",
            format!("{:>7}", Percent(swap)).paint(if swap >= config.swap_high { WARN } else { GOOD }),
            Bytes(system.swap_used_bytes),
            Bytes(system.swap_total_bytes),
        )?;
    }
    if let Some(vram) = system.vram {
        writeln!(
            out,
            "VRAM      {}  {} of {} in use",
            format!("{:>7}", Percent(vram.share())).paint(if vram.share() >= config.vram_high {
                WARN
            } else {
                GOOD
            }),
            Bytes(vram.used_bytes),
            Bytes(vram.total_bytes),
        )?;
    }
    match system.pressure {
        Some(pressure) => {
            let some = pressure.some_avg10 / 1e2;
            let high = pressure.some_avg10 >= config.pressure_high_percent;
            writeln!(
                out,
                "pressure  {}  of the last 10 s something waited for memory; {} of the last 5 min",
                format!("{:>7}", Percent(some)).paint(if high { WARN } else { GOOD }),
                Percent(pressure.some_avg300 / 1e2),
            )
        }
        None => writeln!(out, "pressure  unknown"),
    }
}

fn services(out: &mut dyn Write, report: &Report, config: &Config) -> io::Result<()> {
    let absent = config.services.keys().filter(|name| !report.services.contains_key(*name));
    let absent: Vec<&str> = absent.map(String::as_str).collect();
    if !report.services.is_empty() {
        let mut table = Table::new([
            ("service", Align::Left),
            ("priority", Align::Left),
            ("process", Align::Right),
            ("in RAM", Align::Right),
            ("in swap", Align::Right),
            ("to stay in RAM", Align::Right),
        ]);
        for (name, service) in &report.services {
            table.row([
                name.clone(),
                format!("{:?}", service.priority).to_lowercase(),
                service.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                Bytes(service.rss_bytes).to_string(),
                Bytes(service.swap_bytes).to_string(),
                Bytes(service.critical_bytes).to_string(),
            ]);
        }
        table.write(out)?;
    }
    match absent.as_slice() {
        [] if report.services.is_empty() => writeln!(out, "no service is configured: see [memory.services]"),
        [] => Ok(()),
        absent => wrapped(out, 0, &format!("not seen running: {}", absent.join(", "))),
    }
}

/// One thing to do, with its reason below it.
fn recommended(out: &mut dyn Write, what: &Recommendation) -> io::Result<()> {
    let (service, deed) = (printable(&what.service), in_words(what.action));
    if what.action == Action::Lift {
        writeln!(out, "  {service}: {deed}")?;
    } else {
        writeln!(out, "  {service}: {deed}, {}", Bytes(what.bytes))?;
    }
    wrapped(out, 4, &what.reason)
}

/// What is for people to do.
pub(super) fn advice(out: &mut dyn Write, all: &[&Recommendation]) -> io::Result<()> {
    if !all.is_empty() {
        writeln!(out, "advice, which is for you to follow")?;
    }
    for one in all {
        let service = if one.service.is_empty() { String::new() } else { format!("{}: ", one.service) };
        wrapped(out, 2, &format!("{service}{}", one.reason))?;
    }
    Ok(())
}

pub(super) fn in_words(action: Action) -> &'static str {
    match action {
        Action::KeepOutOfSwap => "keep it out of swap",
        Action::Protect => "reclaim it last",
        Action::BringBack => "bring it back from swap",
        Action::AskToRelease => "ask it to release RAM",
        Action::AskToReleaseVram => "ask it to release VRAM",
        Action::Reclaim => "reclaim memory of it",
        Action::Limit => "let it grow no further",
        Action::Lift => "take back what was set",
        Action::Advise => "advice",
    }
}
