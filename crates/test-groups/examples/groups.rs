//! Runs the groups of a configuration and prints what became of their tests:
//! `cargo run -p test-groups --example groups -- test-groups.toml [GROUP]...`
//!
//! It looks at no card; a program that can implements [`Vram`] by what its driver tells.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use test_groups::{Config, Event, Forensics, Look, Observer, Options, OutOfMemory, Vram, run};

/// Sees no card: tests are counted, and what they hold is not known.
struct NoCard;

impl Vram for NoCard {
    fn source(&self) -> String {
        "none".to_owned()
    }

    fn look(&mut self, device: u32) -> Result<Look, String> {
        Err(format!("nobody looks at card {device}"))
    }
}

/// Knows one sentence.
struct OneSentence;

impl Forensics for OneSentence {
    fn out_of_memory(&self, output: &mut dyn Read) -> Option<OutOfMemory> {
        let mut lines = BufReader::new(output.take(64 << 20)).split(b'\n').map_while(Result::ok);
        let line = lines.find(|line| line.windows(18).any(|part| part == b"CUDA out of memory"))?;
        let message = String::from_utf8_lossy(&line).chars().take(300).collect();
        Some(OutOfMemory { message, cause: None, requested_bytes: None })
    }
}

/// Prints each test when it is done.
struct Print;

impl Observer for Print {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::GroupStarted { group } => println!("{}: {}", group.name, group.question),
            Event::TestFinished { test, .. } => {
                println!("  {:?} in {} ms: {}", test.outcome, test.duration_ms, test.id);
            }
            Event::GroupFinished { report } => {
                println!("  {} passed, {} failed, {} skipped", report.passed, report.failed, report.skipped);
                report.advice.iter().chain(&report.notes).for_each(|said| println!("  {said}"));
            }
            _ => {}
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // nextest starts this program in place of each test.
    if let [verb, gate, socket, separator, argv @ ..] = &arguments[..]
        && verb == "test-groups"
        && gate == "--gate"
        && separator == "--"
    {
        eprintln!("{}", test_groups::gate::enter(Path::new(socket), argv));
        return ExitCode::FAILURE;
    }
    let path = arguments.first().map_or_else(|| PathBuf::from("test-groups.toml"), PathBuf::from);
    let groups = arguments.iter().skip(1).map(|name| name.to_string_lossy().into_owned()).collect();
    let options = Options { groups, ..Options::default() };
    let report = Config::read(&path)
        .and_then(|config| run(&config, &options, Box::new(NoCard), &OneSentence, &mut Print));
    match report {
        Ok(report) if report.groups.iter().all(|group| group.failed == 0 && group.stopped.is_none()) => {
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
