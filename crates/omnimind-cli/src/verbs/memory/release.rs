//! `memory release`: asks a process that listens for it to release memory.

use std::time::Duration;

use serde::Serialize;
use systemd_policy::act::release::{Answer, ask};

use super::failure;
use crate::args;
use crate::failure::Failure;
use crate::output::{Bytes, printable};
use crate::session::Session;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
struct Released {
    asked_bytes: u64,
    #[serde(flatten)]
    answer: Answer,
}

pub(super) fn run(session: &Session, args: &args::Release) -> Result<(), Failure> {
    let asked_bytes = args.mib << 20;
    let answer = ask(&args.socket, asked_bytes, "asked for by hand", PATIENCE).map_err(failure)?;
    let released = Released { asked_bytes, answer };
    session.output.result(&released, |out| {
        let Answer { released_bytes, note } = &released.answer;
        write!(out, "it says that it released {} of {}", Bytes(*released_bytes), Bytes(asked_bytes))?;
        if note.is_empty() { writeln!(out) } else { writeln!(out, ": {}", printable(note)) }
    })
}
