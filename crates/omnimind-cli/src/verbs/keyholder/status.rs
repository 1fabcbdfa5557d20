//! `keyholder status`: what the keyholder says of itself.

use std::path::PathBuf;

use encrypted_unconscious::keyholder::{Keyholder, RemoteKeyholder};

use super::place;
use crate::failure::Failure;
use crate::output::count;
use crate::session::Session;

pub(super) fn run(session: &Session, socket: Option<PathBuf>) -> Result<(), Failure> {
    let status =
        RemoteKeyholder::new(place::socket(session, socket)).status().map_err(Failure::from_custody)?;
    session.output.result(&status, |out| {
        writeln!(out, "{}", status.public_key)?;
        if status.retired_keys > 0 {
            writeln!(
                out,
                "  still opens what was sealed to {}",
                count(status.retired_keys as u64, "retired key")
            )?;
        }
        let levels: Vec<_> = status.levels.iter().map(ToString::to_string).collect();
        writeln!(out, "  answers      0, {}", levels.join(", "))?;
        writeln!(
            out,
            "  asked about  {}, {} of them over budget for now",
            count(status.memories_asked as u64, "memory"),
            status.memories_over_budget
        )?;
        writeln!(out, "  sums         over {}", count(status.members, "memory"))?;
        writeln!(
            out,
            "  audit log    {}, chain {}",
            count(status.audit_records, "record"),
            &status.audit_head.get(..16).unwrap_or(&status.audit_head)
        )
    })
}
