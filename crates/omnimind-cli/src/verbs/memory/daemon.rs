//! `memory daemon`: looks and does what should be done until it is stopped, with lines that the journal reads.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use systemd_policy::act::SystemdHands;
use systemd_policy::monitor::{Monitor, Round};
use systemd_policy::notify::Notifier;
use systemd_policy::{Config, Report, Roots};

use super::state::State;
use super::{Eyes, expect_systemd, failure};
use crate::args;
use crate::failure::Failure;
use crate::session::Session;

pub(super) fn run(session: &Session, args: &args::Daemon) -> Result<(), Failure> {
    let mut config = session.config().memory.clone();
    config.interval_s = args.interval.unwrap_or(config.interval_s);
    let config = config.validated().map_err(failure)?;
    // Without systemd it would watch and never be able to do anything.
    expect_systemd()?;
    let state = State::of(&args.whose)?;
    state.make_directory()?;
    let stop = stop_at_signals()?;
    let hands = if args.whose.user {
        SystemdHands::user(Roots::default())
    } else {
        SystemdHands::system(Roots::default())
    };
    let mut log = Lines::to_stderr();
    // Lost if stderr is closed: nothing can be said about that.
    drop(writeln!(
        log,
        "<6>looking every {} s; services: {}; what is set is written down in {}",
        config.interval_s,
        config.services.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        state.path().display()
    ));
    let mut monitor = Monitor::new(config.clone(), Eyes::on(session, None), hands)
        .keep_at(state.path().to_owned())
        .log_to(Box::new(Lines::to_stderr()));
    let mut known = Vec::new();
    let applied = monitor.run(&stop, &Notifier::from_environment(), |round| {
        for lack in round.snapshot.lacks.iter().filter(|lack| !known.contains(*lack)) {
            drop(writeln!(log, "<5>{}", lack.replace('\n', " ")));
        }
        known.clone_from(&round.snapshot.lacks);
        if session.output.json {
            drop(line(round, &config));
        }
    });
    for done in &applied.done {
        drop(writeln!(log, "<6>{}", done.what));
    }
    match applied.could_not.len() {
        0 => Ok(()),
        count => Err(Failure::Partial(format!(
            "{count} of the limits that were set could not be taken back; `omnimind memory apply --undo` tries again"
        ))),
    }
}

/// The report of a round, as one line of JSON. Nobody need read it.
fn line(round: &Round, config: &Config) -> io::Result<()> {
    let report = Report::of(&round.snapshot, &round.recommendations, config);
    let mut text = serde_json::to_vec(&report)?;
    text.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    out.flush()
}

/// Set by the first signal; the second one ends the process.
fn stop_at_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let second = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop));
        second.and_then(|_| flag::register(signal, Arc::clone(&stop))).map_err(|source| Failure::Io {
            what: "signals cannot be waited for".to_owned(),
            source,
            next: "this system does not let a process catch its signals",
        })?;
    }
    Ok(stop)
}

/// Writes whole lines, and leaves out the priority at their beginning (`<4>`) where no journal reads it.
struct Lines<W> {
    to: W,
    begun: Vec<u8>,
    with_priority: bool,
}

impl Lines<io::Stderr> {
    fn to_stderr() -> Self {
        let with_priority = std::env::var_os("JOURNAL_STREAM").is_some();
        Self { to: io::stderr(), begun: Vec::new(), with_priority }
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.begun.push(*byte);
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.begun);
                let text = match line.as_slice() {
                    [b'<', b'0'..=b'7', b'>', text @ ..] if !self.with_priority => text,
                    all => all,
                };
                self.to.write_all(text)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_for_the_journal_only() {
        for (with_priority, expected) in [(true, "<4>RAM is full\n<none\n"), (false, "RAM is full\n<none\n")]
        {
            let mut lines = Lines { to: Vec::new(), begun: Vec::new(), with_priority };
            for piece in ["<", "4", ">RAM is", " full\n<no", "ne\n", "<5>unfinished"] {
                lines.write_all(piece.as_bytes()).unwrap();
            }
            assert_eq!(String::from_utf8(lines.to).unwrap(), expected);
        }
    }
}
