//! `vm-test`: a Debian machine with real systemd, cgroup v2 and swap under qemu, and scenarios that run in it against a built
//! `omnimind`. A test with a fake systemd shows what we ask for; only this shows what then happens.
//!
//! - `accelerator`: by which means the machine runs.
//! - `mirror`: where this host gets Debian from.
//! - `image`: the machine's disk, made once and cached.
//! - `payload`: the disk with the program and the scenarios, made for each run.
//! - `machine`: runs it, and ends it when it hangs.
//! - `results`: what the machine said over its second serial port.
//! - `recorded`: what a scenario recorded of the machine, for `cargo test` (`record` in `guest/lib.sh`).
//! - [`helper`]: the program that fills memory inside the machine, and hears what is posted there.
//! - `scenarios/*.sh`: one claim each; `guest/`: what runs them.

mod accelerator;
mod helper;
mod image;
mod machine;
mod mirror;
mod payload;
mod recorded;
mod results;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lexopt::{Arg, Parser, ValueExt};

use crate::cargo::{build, root};
use accelerator::Accelerator;
pub(crate) use helper::{TASK as HELPER, run as help};
use results::{Outcome, Results};

/// What is to be run, and how.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Whether the run's folder (console, results, disks) stays even when everything passed.
    keep: bool,
    /// Scenarios by name; none means all.
    only: Vec<String>,
    accelerator: Option<Accelerator>,
    /// A built `omnimind`; without it, one is built.
    binary: Option<PathBuf>,
    /// Where what scenarios record goes; without it, they record nothing.
    record: Option<PathBuf>,
}

impl Options {
    fn parse(args: &mut Parser) -> Result<Self, lexopt::Error> {
        let mut options = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("keep") => options.keep = true,
                Arg::Long("only") => options.only.push(args.value()?.string()?),
                Arg::Long("accelerator") => options.accelerator = Some(args.value()?.parse()?),
                Arg::Long("binary") => options.binary = Some(args.value()?.into()),
                Arg::Long("record") => options.record = Some(args.value()?.into()),
                other => return Err(other.unexpected()),
            }
        }
        Ok(options)
    }
}

/// Whether every scenario passed.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let options = Options::parse(&mut args)?;
    let scenarios = payload::scenarios(&options.only)?;
    let accelerator = options.accelerator.map_or_else(accelerator::choose, Ok)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&["omnimind-cli"])?.remove("omnimind").context("cargo built no omnimind")?,
    };
    // `.ci/run` knows these words: who cannot make one goes without.
    let image = image::cached_or_made().context("the machine cannot be made")?;

    let mut folder = tempfile::Builder::new().prefix("omnimind-vm-").tempdir()?;
    folder.disable_cleanup(true);
    let brought = payload::Brought {
        binary: &binary,
        scenarios: &scenarios,
        limit: accelerator.scenario_limit(),
        records: options.record.is_some(),
    };
    let disks = payload::make(folder.path(), &brought)?;
    eprintln!("running {} scenarios under {accelerator}", scenarios.len());
    let end = machine::run(&image, &disks, accelerator, folder.path())?;

    let said = std::fs::read(folder.path().join(machine::RESULTS)).context("reading the results")?;
    let names = scenarios.iter().map(|scenario| scenario.name.as_str());
    let results = Results::parse(&said, names);
    let passed = tell(&results, &end, folder.path());
    for tree in &results.trees {
        if let Some(into) = &options.record {
            tree.write(into)?;
            eprintln!("recorded {}", into.join(&tree.name).display());
        }
    }
    if passed && !options.keep {
        folder.disable_cleanup(false);
    } else {
        eprintln!("console and results are kept in {}", folder.path().display());
    }
    Ok(passed)
}

/// Prints what became of each scenario, with the evidence; whether all passed.
fn tell(results: &Results, end: &machine::End, folder: &Path) -> bool {
    for (name, outcome) in &results.scenarios {
        let (word, evidence) = match outcome {
            Outcome::Passed { seconds, evidence } => (format!("passed ({seconds} s)"), evidence.as_str()),
            Outcome::Failed { seconds, evidence } => (format!("FAILED ({seconds} s)"), evidence.as_str()),
            Outcome::Unfinished => ("FAILED: it began and never ended".to_owned(), ""),
            Outcome::NotRun => ("FAILED: it was not run".to_owned(), ""),
        };
        println!("{name}: {word}");
        for line in evidence.lines() {
            println!("    {line}");
        }
    }
    for problem in &results.problems {
        eprintln!("error: on the results port: {problem}");
    }
    if results.complete && results.problems.is_empty() {
        return results.scenarios.iter().all(|(_, outcome)| outcome.passed());
    }
    let console = std::fs::read(folder.join(machine::CONSOLE)).unwrap_or_default();
    eprintln!("error: {}; the end of its console:", end.in_words(&console));
    eprintln!("{}", machine::tail(&console));
    false
}

/// The folder of this task's files that are not Rust.
fn sources() -> PathBuf {
    root().join("xtask/src/vm_test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options, lexopt::Error> {
        Options::parse(&mut Parser::from_args(args))
    }

    #[test]
    fn every_option_is_understood_and_only_may_be_repeated() {
        let given = ["--keep", "--only", "boot", "--only=units", "--accelerator", "tcg", "--binary", "a/b"];
        let options = parsed(&[&given[..], &["--record", "c"]].concat());
        let expected = Options {
            keep: true,
            only: vec!["boot".to_owned(), "units".to_owned()],
            accelerator: Some(Accelerator::Tcg),
            binary: Some("a/b".into()),
            record: Some("c".into()),
        };
        assert_eq!(options.unwrap(), expected);
        assert_eq!(parsed(&[]).unwrap(), Options::default());
    }

    #[test]
    fn what_is_not_an_option_is_refused() {
        for args in [&["--accelerator", "hvf"][..], &["--only"], &["--record"], &["boot"], &["--kvm"]] {
            assert!(parsed(args).is_err(), "{args:?}");
        }
    }
}
