//! `gc`: frees the space that no memory uses.

use omnimind_memory::Error;

use crate::failure::Failure;
use crate::output::{Bytes, count};
use crate::session::Session;

pub(super) fn run(session: &Session) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let report = consolidator.store().gc().map_err(Error::Store)?;
    session.output.result(&report, |out| {
        writeln!(
            out,
            "removed {} ({}); kept {} ({})",
            count(report.removed_objects, "object"),
            Bytes(report.removed_bytes),
            count(report.kept_objects, "object"),
            Bytes(report.kept_bytes)
        )?;
        if report.removed_batches > 0 {
            let leftovers = Bytes(report.removed_batch_bytes);
            let processes = count(report.removed_batches, "process");
            writeln!(out, "removed what {processes} left behind by dying ({leftovers})")?;
        }
        Ok(())
    })
}
