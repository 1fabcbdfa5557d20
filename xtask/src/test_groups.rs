//! `test-groups`: this project's own groups of tests, under VRAM watch, by the program that users run.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use gpu_probe::detect_to_look;
use lexopt::Parser;

use crate::cargo::{build_as_tested, root};

/// Runs `omnimind test-groups` on the groups in `test-groups.toml`, with whatever arguments there are; with none, on all of them, and
/// leaves a report in HTML and one in `JUnit` XML. Where there is no GPU, on a simulated one. True if all passed.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let mut given: Vec<OsString> = args.raw_args()?.collect();
    if given.is_empty() {
        let reports = root().join("target/test-groups");
        fs::create_dir_all(&reports).with_context(|| format!("making {}", reports.display()))?;
        given.extend(["--html".into(), reports.join("report.html").into_os_string()]);
        given.extend(["--junit".into(), reports.join("report.xml").into_os_string()]);
    }
    let no_card = detect_to_look().probe.devices().is_ok_and(|cards| cards.is_empty());
    if no_card && !given.iter().any(|argument| argument == "--simulated") {
        given.push("--simulated".into());
    }
    let mut command = Command::new(build_as_tested("omnimind")?);
    command.arg("test-groups").args(given).current_dir(root()).stdin(Stdio::null());
    Ok(command.status().context("starting omnimind")?.success())
}
