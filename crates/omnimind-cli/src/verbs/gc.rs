//! `gc`: frees the space that no memory uses.

use omnimind_memory::Error;

use crate::failure::Failure;
use crate::output::Bytes;
use crate::session::Session;

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let report = consolidator.store().gc().map_err(Error::Store)?;
    session.output.result(&report, |out| {
        writeln!(
            out,
            "removed {} objects ({}); {} objects ({}) are in use",
            report.removed_objects,
            Bytes(report.removed_bytes),
            report.kept_objects,
            Bytes(report.kept_bytes)
        )?;
        if report.removed_batches > 0 {
            let leftovers = Bytes(report.removed_batch_bytes);
            writeln!(out, "removed what {} processes left when they died ({leftovers})", report.removed_batches)?;
        }
        Ok(())
    })
}
