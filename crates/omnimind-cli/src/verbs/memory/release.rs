//! `memory release`: asks a process that listens for it to release memory.

use serde::Serialize;
use systemd_policy::act::release::{Answer, ask};
use systemd_policy::act::{Memory, RELEASE_PATIENCE};

use super::failure;
use crate::args;
use crate::failure::Failure;
use crate::output::{Bytes, printable};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Released {
    memory: Memory,
    asked_bytes: u64,
    #[serde(flatten)]
    answer: Answer,
}

pub(super) fn run(session: &Session, args: &args::Release) -> Result<(), Failure> {
    let asked_bytes = args.mib << 20;
    let memory = if args.vram { Memory::Vram } else { Memory::Ram };
    let answer =
        ask(&args.socket, memory, asked_bytes, "asked for by hand", RELEASE_PATIENCE).map_err(failure)?;
    let released = Released { memory, asked_bytes, answer };
    session.output.result(&released, |out| {
        let Answer { released_bytes, note } = &released.answer;
        write!(
            out,
            "it says that it released {} of {} of {memory}",
            Bytes(*released_bytes),
            Bytes(asked_bytes)
        )?;
        if note.is_empty() { writeln!(out) } else { writeln!(out, ": {}", printable(note)) }
    })
}
