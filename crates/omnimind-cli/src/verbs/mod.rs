//! One module per verb: what was typed in, what is printed out. Composing is left to `omnimind-memory`.

mod config;
mod consolidate;
pub(crate) mod deja_vu;
mod forget;
mod gc;
mod gpu;
mod index;
#[cfg(feature = "homomorphic")]
mod influence;
mod keyholder;
mod list;
#[cfg(target_os = "linux")]
mod memory;
mod oom_report;
mod place;
pub(crate) mod reactivate;
mod show;
pub(crate) mod stats;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(unix)]
mod test_groups;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use serde_json::json;

use crate::args::{Cli, Verb};
use crate::config::Surroundings;
use crate::demo;
use crate::failure::Failure;
use crate::output::{Output, Volume};
use crate::session::Session;

/// Reads what was typed, does it, and says how it ended.
pub(crate) fn run<I>(arguments: I) -> ExitCode
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help and version come this way, too; clap knows which of them is an error.
        Err(answer) => {
            drop(answer.print());
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    let volume = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Volume::Quiet,
        (_, true) => Volume::Verbose,
        _ => Volume::Normal,
    };
    let output = Output { json: cli.global.json, volume };
    match dispatch(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(cli: Cli, output: Output) -> Result<(), Failure> {
    if let Verb::Completions { shell } = cli.verb {
        return completions(shell, output);
    }
    // What stands before each test must not depend on settings.
    #[cfg(unix)]
    if let Verb::TestGroups(args) = &cli.verb
        && let Some(socket) = &args.gate
    {
        return Err(test_groups::enter(args, socket));
    }
    let settings = Surroundings::of_process(cli.global.store, cli.global.config).load()?;
    let session = Session::new(settings, output);
    match cli.verb {
        Verb::Demo(demo) => demo::run(&session, &demo),
        Verb::Consolidate(consolidate) => consolidate::run(&session, &consolidate),
        Verb::List(list) => list::run(&session, list),
        Verb::Show(named) => show::run(&session, &named),
        Verb::DejaVu(deja_vu) => deja_vu::run(&session, &deja_vu),
        Verb::Reactivate(reactivate) => reactivate::run(&session, &reactivate),
        Verb::Forget(named) => forget::run(&session, &named),
        Verb::Verify(verify) => verify::run(&session, &verify),
        Verb::Gc => gc::run(&session),
        Verb::Index { verb } => index::run(&session, &verb),
        Verb::Stats => stats::run(&session),
        Verb::Gpu(gpu) => gpu::run(&session, &gpu),
        Verb::Place(place) => place::run(&session, &place),
        Verb::OomReport(report) => oom_report::run(&session, &report),
        #[cfg(unix)]
        Verb::TestGroups(groups) => test_groups::run(&session, &groups),
        #[cfg(target_os = "linux")]
        Verb::Memory { verb } => memory::run(&session, &verb),
        #[cfg(target_os = "linux")]
        Verb::Systemd { verb } => systemd::run(&session, &verb),
        Verb::Config => config::run(&session),
        Verb::Completions { shell } => completions(shell, output),
        #[cfg(feature = "homomorphic")]
        Verb::Influence(influence) => influence::run(&session, &influence),
        Verb::Keyholder { verb } => keyholder::run(&session, verb),
    }
}

fn completions(shell: Shell, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "omnimind", &mut script);
    let text = String::from_utf8_lossy(&script);
    output.result(&json!({"shell": shell.to_string(), "script": text}), |out| out.write_all(&script))
}
