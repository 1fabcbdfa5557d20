//! `bench NAME`: one subject against its peers in one run.
//!
//! - `environment`: the Python environment and the model, cached outside the repository.
//! - `worker`: a measuring process, ours or the peers'.
//! - `compression`: the measurements and what they are compared with.
//! - `memory`: the peak memory of a command.
//! - `report`: rows, as a table, JSON and Markdown.

mod compression;
mod environment;
mod memory;
mod report;
mod worker;

use anyhow::Result;
use lexopt::{Arg, Parser, ValueExt};

/// What the command line asked for.
#[derive(Debug, Default, Clone, Copy)]
struct Options {
    quick: bool,
    json: bool,
    write: bool,
}

/// Runs the benchmark named. A missed goal is a row of the report, not a failure.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let mut options = Options::default();
    let mut name = None;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("quick") => options.quick = true,
            Arg::Long("json") => options.json = true,
            Arg::Long("write") => options.write = true,
            Arg::Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match name.as_deref() {
        Some("compression") => {
            let report = compression::measure(options)?;
            if options.write {
                report.write_markdown()?;
            }
            if options.json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                print!("{report}");
            }
            Ok(true)
        }
        Some(other) => {
            Err(lexopt::Error::from(format!("there is no benchmark {other:?}; compression is one")).into())
        }
        None => Err(lexopt::Error::from("which benchmark? compression is one").into()),
    }
}
