//! Where the repository is, and building its programs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The cargo that runs this, or the one in the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the programs of some packages for release, and says where each is.
pub(crate) fn build(packages: &[&str]) -> Result<HashMap<String, PathBuf>> {
    let mut command = cargo();
    command.args(["build", "--release", "--bins"]);
    for package in packages {
        command.args(["--package", package]);
    }
    built(&mut command).with_context(|| format!("building {}", packages.join(" and ")))
}

/// Builds only these programs of some packages for release, and says where each is.
pub(crate) fn build_only(packages: &[&str], programs: &[&str]) -> Result<HashMap<String, PathBuf>> {
    let mut command = cargo();
    command.args(["build", "--release"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.args(programs.iter().flat_map(|program| ["--bin", program]));
    built(&mut command).with_context(|| format!("building {}", programs.join(" and ")))
}

/// Builds one program as `cargo test --workspace` does, with whose features nothing is built twice, and says where it is.
pub(crate) fn build_as_tested(program: &str) -> Result<PathBuf> {
    let mut programs = built(cargo().args(["build", "--workspace", "--bin", program]))?;
    programs.remove(program).with_context(|| format!("cargo built no {program}"))
}

/// What a `cargo build` builds: programs by their names.
fn built(command: &mut Command) -> Result<HashMap<String, PathBuf>> {
    command.args(["--quiet", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("cargo failed; its message is above");
    }
    let mut programs = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        if let (Some(program), Some(name)) =
            (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            programs.insert(name.to_owned(), PathBuf::from(program));
        }
    }
    Ok(programs)
}

/// Runs a command to its end; its output goes to stderr, because stdout is for results.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let what = format!("{command:?}");
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("starting {what}"))?;
    if !status.success() {
        bail!("{what} failed: {status}");
    }
    Ok(())
}
