//! `bench NAME`: one subject against its peers in one run.
//!
//! - `environment`: the Python environment, the model and the data sets, cached outside the repository.
//! - `worker`: a measuring process, ours or the peers'.
//! - `series`: asking in turns, and medians.
//! - `compression`, `index`, `unconscious`, `attack`, `forensics`, `monitor`: the measurements and what they are compared with.
//! - `curve`: recall against speed.
//! - `memory`: the peak memory of a command.
//! - `report`: rows, as a table, JSON and Markdown.

mod attack;
mod compression;
mod curve;
mod environment;
mod forensics;
mod index;
mod memory;
mod monitor;
mod report;
mod series;
mod unconscious;
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
    let (mut name, mut million) = (None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("quick") => options.quick = true,
            Arg::Long("json") => options.json = true,
            Arg::Long("write") => options.write = true,
            Arg::Long("million") => million = true,
            Arg::Value(value) if name.is_none() => name = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let usage = |message: String| Err(lexopt::Error::from(message).into());
    let measure = match name.as_deref() {
        Some("index") if million => index::million,
        Some("compression" | "unconscious" | "attack" | "forensics" | "monitor") if million => {
            return usage("--million goes with bench index".to_owned());
        }
        Some("compression") => compression::measure,
        Some("index") => index::measure,
        Some("unconscious") => unconscious::measure,
        Some("attack") => attack::measure,
        Some("forensics") => forensics::measure,
        Some("monitor") => monitor::measure,
        Some(other) => {
            return usage(format!(
                "there is no benchmark {other:?}; compression, index, unconscious, attack, forensics and monitor are"
            ));
        }
        None => {
            return usage(
                "which benchmark? compression, index, unconscious, attack, forensics or monitor".to_owned(),
            );
        }
    };
    let report = measure(options)?;
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
