//! How answers reach people and programs: results on stdout, as text or as JSON; everything else on stderr. Colour only
//! on terminals, and never where `NO_COLOR` is set.

pub(crate) mod html;
mod progress;
mod style;
mod table;
mod text;
mod units;

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

pub(crate) use progress::Progress;
pub(crate) use style::{BAD, BOLD, DIM, GOOD, Paint, WARN};
pub(crate) use table::{Align, Table};
pub(crate) use text::{WIDTH, printable, tail, wrapped};
pub(crate) use units::{Bytes, Percent, Small, age, count, timestamp};

use crate::failure::Failure;

/// How much is said, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volume {
    Quiet,
    Normal,
    Verbose,
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) volume: Volume,
}

impl Output {
    /// The result of a verb: `value` in JSON, or what `human` writes.
    pub(crate) fn result(
        self,
        value: &impl Serialize,
        human: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if !self.json {
            let mut stdout = anstream::stdout().lock();
            return human(&mut stdout).and_then(|()| stdout.flush()).map_err(Failure::Output);
        }
        let mut text = serde_json::to_string_pretty(value).map_err(|error| Failure::Output(error.into()))?;
        text.push('\n');
        io::stdout().lock().write_all(text.as_bytes()).map_err(Failure::Output)
    }

    /// A JSON schema, which is the same for people and for programs.
    pub(crate) fn schema(self, schema: impl Serialize) -> Result<(), Failure> {
        Self { json: true, ..self }.result(&schema, |_| Ok(()))
    }

    /// Something worth knowing that is no result. Lost if stderr is closed: nothing can be said about that.
    pub(crate) fn note(self, text: impl std::fmt::Display) {
        if self.volume != Volume::Quiet {
            drop(writeln!(anstream::stderr().lock(), "{}: {text}", "note".paint(WARN)));
        }
    }

    /// Why a verb failed.
    pub(crate) fn failure(self, failure: &Failure) {
        let mut stderr = anstream::stderr().lock();
        drop(if self.json {
            writeln!(
                stderr,
                "{}",
                json!({"error": {"message": failure.to_string(), "exit_code": failure.exit_code()}})
            )
        } else {
            writeln!(stderr, "{}: {failure}", "error".paint(style::BAD))
        });
    }

    pub(crate) fn is_verbose(self) -> bool {
        self.volume == Volume::Verbose
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.volume == Volume::Quiet
    }

    /// A progress bar on stderr, if somebody looks at it.
    pub(crate) fn progress(self, steps: usize) -> Progress {
        if self.json || self.volume == Volume::Quiet { Progress::hidden() } else { Progress::visible(steps) }
    }
}
