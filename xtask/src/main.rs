//! Development tasks in plain Rust instead of shell: `cargo xtask help`.
//!
//! - [`mod@bench`]: measurements against peers.
//! - [`crash_test`]: kills a consolidating process again and again and looks at what is left.
//! - [`fuzz`]: runs the fuzz targets.
//! - [`kernels`]: compiles the CUDA kernels, or checks that they are compiled.
//! - [`security`]: estimates what the encryption of a signature withstands.
//! - [`test_groups`]: runs this project's groups of tests under VRAM watch.
//! - [`vm_test`]: what `omnimind` does to a machine with real systemd, in one under qemu.

mod bench;
mod cargo;
mod crash_test;
mod fuzz;
mod kernels;
mod python;
mod security;
mod test_groups;
mod vm_test;

use std::process::ExitCode;

use anyhow::Result;
use lexopt::{Arg, Parser, ValueExt};

const HELP: &str = "\
Usage: cargo xtask TASK

Tasks:
  bench compression [--quick] [--json] [--write]
        Measures the codec and the store against their peers in one run. Makes a Python environment for the peers
        in $XDG_CACHE_HOME/omnimind-bench (5 GB). --json prints one JSON object instead of a table; --write also
        refreshes docs/src/measurements/compression.md; --quick takes fewer passes and a smaller file.
  bench index [--million] [--quick] [--json] [--write]
        Measures the activation index against its peers in one run, on 59,000 sentence embeddings that it makes once
        (nine minutes); the peer hnswlib needs a C++ compiler. --million takes up to a million synthetic vectors
        instead (1.5 GB, about an hour). --write also refreshes docs/src/measurements/index.md and its plots.
  bench unconscious [--quick] [--json] [--write]
        Measures the influence of sealed memories against TenSEAL in one run. --write also refreshes
        docs/src/measurements/unconscious.md.
  bench attack [--quick] [--json] [--write]
        Tries to find out where a sealed signature points, with small and large budgets. --write also refreshes
        docs/src/measurements/attack.md and its plot.
  bench forensics [--quick] [--json] [--write]
        Reads a log of 225 MB, in turns with a Python script that must find the same, and streams one of 5 GB. --write also
        refreshes docs/src/measurements/forensics.md.
  bench monitor [--quick] [--json] [--write]
        Measures what it costs to look at the memory of a service of 300 processes against psutil in one run. --write also refreshes
        docs/src/measurements/monitor.md.
  crash-test [--kills N] [--writers N] [--seed N] [--json]
        Kills consolidating processes at random moments (50 times) and checks after each that everything
        acknowledged reads back, and that nothing half-made is visible.
  fuzz [--seconds N] [TARGET]
        Runs one fuzz target, or all of them, for N seconds each (600).
  kernels [--check]
        Compiles the CUDA kernels to the PTX beside them, or only checks that it is what the sources give. Needs no GPU;
        makes a Python environment with NVRTC in $XDG_CACHE_HOME/omnimind-bench (60 MB).
  security [--json]
        Estimates what the encryption of a signature withstands, in two ways, and fails if that is too little.
  test-groups [ARGUMENTS OF omnimind test-groups]
        Runs the groups of test-groups.toml, by the program that users run, on the GPU or on a simulated one. Without arguments,
        all of them, with a report in target/test-groups/report.html.
  vm-test [--keep] [--only SCENARIO]... [--accelerator kvm|tcg] [--binary PATH] [--record DIR]
        Boots a Debian machine with real systemd and swap under qemu, and runs the scenarios in it against a built omnimind.
        Makes the machine's image once in $XDG_CACHE_HOME/omnimind-vm (500 MB), which needs root and the network, and installs
        qemu and debootstrap if they are missing. --keep keeps the run's console and results also when all passed;
        --record writes what was to be seen of the machine at moments of the scenarios, for the tests of systemd-policy.
";

fn main() -> ExitCode {
    match run(Parser::from_env()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<lexopt::Error>() => {
            eprintln!("{error}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the task found everything as it should be.
fn run(mut args: Parser) -> Result<bool> {
    let task = match args.next()? {
        Some(Arg::Value(task)) => task.string()?,
        None | Some(Arg::Long("help") | Arg::Short('h')) => "help".to_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    match task.as_str() {
        "bench" => bench::run(args),
        "crash-test" => crash_test::run(args),
        crash_test::CHILD => crash_test::child(args),
        "fuzz" => fuzz::run(args),
        "kernels" => kernels::run(args),
        "security" => security::run(args),
        "test-groups" => test_groups::run(args),
        "vm-test" => vm_test::run(args),
        vm_test::HELPER => vm_test::help(args),
        "help" => {
            print!("{HELP}");
            Ok(true)
        }
        other => Err(lexopt::Error::from(format!("there is no task {other:?}")).into()),
    }
}
