//! `fuzz`: runs the targets in `fuzz/` with cargo-fuzz. Gives each a first corpus of valid input, because libFuzzer
//! would not find the magic of a frame by itself in ten minutes. Findings stay in `fuzz/artifacts`.

mod seeds;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use lexopt::{Arg, Parser, ValueExt};

use crate::cargo::{cargo, check, root};

/// Runs one target, or all; true if none found anything.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let (mut seconds, mut wanted) = (600_u64, None);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("seconds") => seconds = args.value()?.parse()?,
            Arg::Value(value) if wanted.is_none() => wanted = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let fuzz = root().join("fuzz");
    let mut targets = targets(&fuzz)?;
    if let Some(wanted) = wanted {
        if !targets.contains(&wanted) {
            let known = targets.join(", ");
            return Err(lexopt::Error::from(format!(
                "there is no fuzz target {wanted:?}; there are {known}"
            ))
            .into());
        }
        targets = vec![wanted];
    }
    install_cargo_fuzz()?;
    let mut found = Vec::new();
    for target in &targets {
        let corpus = fuzz.join("corpus").join(target);
        seeds::write(target, &corpus).with_context(|| format!("writing {}", corpus.display()))?;
        eprintln!("fuzzing {target} for {seconds} s");
        let mut command = cargo();
        command.current_dir(&fuzz).args(["fuzz", "run", target, "--"]);
        // Memory beyond what the largest tensor a target accepts could need is a finding, not a slow machine.
        command.args([
            format!("-max_total_time={seconds}"),
            "-rss_limit_mb=2048".into(),
            "-max_len=65536".into(),
        ]);
        if check(command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TERM_COLOR", "never")).is_err() {
            found.push(target.as_str());
        }
    }
    match found.as_slice() {
        [] => println!("{} fuzz targets, {seconds} s each: nothing found", targets.len()),
        found => println!("found by {}: see fuzz/artifacts", found.join(", ")),
    }
    Ok(found.is_empty())
}

/// Names of the targets: the files of `fuzz/fuzz_targets`.
fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let folder = fuzz.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn install_cargo_fuzz() -> Result<()> {
    let installed =
        Command::new("cargo-fuzz").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if installed.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    eprintln!("installing cargo-fuzz");
    check(cargo().args(["install", "--quiet", "--locked", "cargo-fuzz"])).context("installing cargo-fuzz")
}
