//! `memory alert`: sends a trial alert, so that whoever configured a way learns now whether it works, and not when memory is short.

use serde::Serialize;
use systemd_policy::alerts::{Alert, Failed, Kind, send};

use crate::args;
use crate::failure::Failure;
use crate::output::{BAD, Paint, printable, wrapped};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    alert: Alert,
    /// The ways that it went.
    sent: Vec<&'static str>,
    failed: Vec<Failed>,
}

pub(super) fn run(session: &Session, args: &args::Alert) -> Result<(), Failure> {
    let config = &session.config().memory.alerts;
    let alert = Alert { kind: Kind::Trial, recovered: false, text: args.text.clone() };
    let sending = session.working("sending");
    // The daemon's log is not here.
    let failed = send(std::slice::from_ref(&alert), config, &mut std::io::sink());
    drop(sending);
    let ways = config.ways();
    let sent = ways.into_iter().filter(|way| failed.iter().all(|failed| failed.way != *way)).collect();
    let answer = Answer { alert, sent, failed };
    session.output.result(&answer, |out| {
        if answer.sent.is_empty() && answer.failed.is_empty() {
            return writeln!(
                out,
                "alerts go to the log of the monitor only; [memory.alerts] has command, webhook and desktop"
            );
        }
        for way in &answer.sent {
            writeln!(out, "sent by {way}")?;
        }
        for Failed { way, reason } in &answer.failed {
            writeln!(out, "{} {way}", "not sent by".paint(BAD))?;
            wrapped(out, 2, &printable(reason))?;
        }
        Ok(())
    })?;
    if answer.failed.is_empty() {
        return Ok(());
    }
    let ways: Vec<&str> = answer.failed.iter().map(|failed| failed.way).collect();
    Err(Failure::Partial(format!("the alert did not go by {}", ways.join(", "))))
}
