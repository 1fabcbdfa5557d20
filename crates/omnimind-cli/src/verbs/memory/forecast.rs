//! `memory forecast`: watches for a while, and says when memory will be exhausted.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use systemd_policy::forecast::{Forecast, Outlook};
use systemd_policy::history::Sample;
use systemd_policy::{Config, History, Observer, Snapshot};

use super::{Card, failure, roots, tell};
use crate::args;
use crate::failure::Failure;
use crate::output::{Align, Bytes, Table, age};
use crate::session::Session;

/// Looks that are kept at most; of longer times the last.
const MOST_LOOKS: u128 = 100_000;

#[derive(Debug, Serialize)]
struct Answer {
    looks: usize,
    /// Between the first look and the last, in seconds.
    seen_s: f64,
    /// The last look.
    now: Sample,
    forecast: Forecast,
    /// Which card was looked at, or why none.
    vram_source: String,
    lacks: Vec<String>,
}

pub(super) fn run(session: &Session, args: &args::Forecast) -> Result<(), Failure> {
    let rounds = args.time.as_millis() / args.every.as_millis().max(1);
    if !(4..MOST_LOOKS).contains(&rounds) {
        return Err(Failure::Usage(format!(
            "--for {} with --every {} is {} looks, and a forecast needs 5 to {MOST_LOOKS}; watch longer or look more or less often",
            humantime::format_duration(args.time),
            humantime::format_duration(args.every),
            rounds + 1,
        )));
    }
    let card = Card::of(session);
    // Only the machine is looked at.
    let config = Config { services: [].into(), ..session.config().memory.clone() };
    let mut observer = Observer::new(roots(args.machine.recorded.as_deref()));
    let mut history = History::new(usize::try_from(rounds).unwrap_or_default() + 1);
    let watching = session.working("watching memory");
    let mut lacks = Vec::new();
    for round in 0..=rounds {
        if round > 0 {
            thread::sleep(args.every);
        }
        let seen = Snapshot { vram: card.memory(), ..observer.observe(&config).map_err(failure)? };
        history.record(&seen);
        lacks = seen.lacks;
    }
    drop(watching);
    let first = history.samples().next().map_or(Duration::ZERO, |sample| sample.at);
    let now = history.samples().next_back().copied().unwrap_or_default();
    let answer = Answer {
        looks: history.samples().len(),
        seen_s: now.at.saturating_sub(first).as_secs_f64(),
        now,
        forecast: Forecast::of(history.samples()),
        vram_source: card.note,
        lacks,
    };
    // Most of it is about services, which are not looked at.
    if session.output.is_verbose() {
        tell(session.output, &answer.lacks);
    }
    session.output.result(&answer, |out| print(out, &answer))
}

fn print(out: &mut dyn Write, answer: &Answer) -> io::Result<()> {
    writeln!(out, "{} looks in {:.1} s", answer.looks, answer.seen_s)?;
    writeln!(out)?;
    let Answer { now, forecast, .. } = answer;
    let mut table = Table::new([
        ("", Align::Left),
        ("in use", Align::Right),
        ("of", Align::Right),
        ("growth", Align::Right),
        ("exhausted", Align::Left),
    ]);
    let vram = now.vram.unwrap_or_default();
    for (name, (used, total), outlook) in [
        ("RAM", (now.ram_used_bytes, now.ram_total_bytes), &forecast.ram),
        ("swap", (now.swap_used_bytes, now.swap_total_bytes), &forecast.swap),
        ("VRAM", (vram.used_bytes, vram.total_bytes), &forecast.vram),
    ] {
        let (growth, end) = in_words(outlook, answer.seen_s);
        let amount = |bytes| if total == 0 { "-".to_owned() } else { Bytes(bytes).to_string() };
        table.row([name.to_owned(), amount(used), amount(total), growth, end]);
    }
    table.write(out)?;
    if now.vram.is_none() {
        writeln!(out, "\n{}", answer.vram_source)?;
    }
    Ok(())
}

/// Growth, and when it ends.
fn in_words(outlook: &Outlook, seen_s: f64) -> (String, String) {
    let nothing = || "-".to_owned();
    match outlook {
        Outlook::Absent => (nothing(), "there is none".to_owned()),
        Outlook::TooLittleSeen { samples, span_s } => {
            (nothing(), format!("too little seen: {samples} looks in {span_s:.1} s"))
        }
        Outlook::NotGrowing { bytes_per_s } => {
            (speed(*bytes_per_s), "not growing by more than it varies".to_owned())
        }
        Outlook::Growing { bytes_per_s, exhausted: None } => {
            let seen = age(seconds(20.0 * seen_s));
            (speed(*bytes_per_s), format!("not within {seen}, and further ahead nothing can be said"))
        }
        Outlook::Growing { bytes_per_s, exhausted: Some(end) } => {
            let [earliest, likely, latest] =
                [end.earliest_s, end.likely_s, end.latest_s].map(|time| age(seconds(time)));
            let text = format!("in about {likely}: {earliest} at the earliest, {latest} at the latest");
            (speed(*bytes_per_s), text)
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn speed(bytes_per_s: f64) -> String {
    let sign = if bytes_per_s < 0.0 { "-" } else { "+" };
    format!("{sign}{}/s", Bytes(bytes_per_s.abs() as u64))
}

#[cfg(test)]
mod tests {
    use systemd_policy::forecast::Exhaustion;

    use super::*;

    #[test]
    fn what_is_not_known_is_said_to_be_so() {
        let said = |outlook| in_words(&outlook, 10.0).1;
        assert_eq!(said(Outlook::Absent), "there is none");
        assert!(said(Outlook::TooLittleSeen { samples: 3, span_s: 2.0 }).contains("3 looks in 2.0 s"));
        assert!(said(Outlook::NotGrowing { bytes_per_s: 9.0 }).starts_with("not growing"));
        assert!(said(Outlook::Growing { bytes_per_s: 1.0, exhausted: None }).starts_with("not within 3 min"));
        let end = Exhaustion { earliest_s: 100.0, likely_s: 125.0, latest_s: f64::MAX };
        let (growth, end) = in_words(&Outlook::Growing { bytes_per_s: 2048.0, exhausted: Some(end) }, 10.0);
        assert_eq!(growth, "+2.00 KiB/s");
        assert!(end.starts_with("in about 2 min: 1 min at the earliest, "), "{end}");
        assert_eq!(speed(-1024.0), "-1.00 KiB/s");
    }
}
