//! `keyholder audit`: whether the log is the one that was written.

use std::io::ErrorKind;

use encrypted_unconscious::keyholder::{KeyholderError, audit};
use serde::Serialize;

use crate::args::Key;
use crate::failure::Failure;
use crate::output::{GOOD, Paint, count, timestamp};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    records: u64,
    /// The last link of the chain. Kept elsewhere, it proves later that nothing was taken out.
    head: String,
    first: Option<String>,
    last: Option<String>,
    /// Bytes that a process left unfinished at the end; they are no record.
    unfinished_bytes: u64,
}

pub(super) fn run(session: &Session, key: &Key) -> Result<(), Failure> {
    let state = key.state(session);
    let report = audit::verify(state).map_err(|error| match error {
        KeyholderError::File { source, .. } if source.kind() == ErrorKind::NotFound => Failure::NotFound(format!(
            "there is no audit log in {state:?}; a keyholder that serves writes one, --state names another place"
        )),
        error => Failure::from_custody(error),
    })?;
    let answer = Answer {
        records: report.records,
        head: report.head,
        first: report.first.map(timestamp),
        last: report.last.map(timestamp),
        unfinished_bytes: report.unfinished_bytes,
    };
    session.output.result(&answer, |out| {
        writeln!(out, "{}", "every link of the chain holds".paint(GOOD))?;
        write!(out, "  {}", count(answer.records, "record"))?;
        if let (Some(first), Some(last)) = (&answer.first, &answer.last) {
            write!(out, " from {first} to {last}")?;
        }
        writeln!(out, "\n  last link {}", answer.head)
    })
}
