//! What watching costs a suite of short tests: `pytest` alone, and the same under `omnimind test-groups`, whole commands in turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::report::{Goal, Row};
use crate::bench::series::{Series, in_turns};
use crate::cargo::root;
use crate::python;

const FILES: usize = 20;
const TESTS_OF_A_FILE: usize = 25;
const TESTS: usize = FILES * TESTS_OF_A_FILE;
/// What one test takes.
const TEST_MS: f64 = 10.0;
/// Says how long a thousand rounds of hashing take here, in seconds; the fastest of many, so that others do not count.
const CALIBRATION: &str = "import hashlib, timeit; \
    print(min(timeit.repeat(lambda: hashlib.pbkdf2_hmac('sha256', b'', b'', 1000), number=1, repeat=200)))";

const TURNS: [Turn; 2] = [Turn::Plain, Turn::Watched];

/// What is run, again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Plain,
    Watched,
}

/// The suite, and what runs it.
struct Suite {
    folder: PathBuf,
    python: PathBuf,
    omnimind: PathBuf,
}

pub(super) fn rows(omnimind: &Path, folder: &Path, passes: usize) -> Result<Vec<Row>> {
    let requirements = root().join("benches/forensics/requirements.txt");
    let python = python::environment(&python::cache()?.join("forensics"), &requirements, "10 MB, seconds")?;
    let suite = Suite { folder: folder.join("suite"), python, omnimind: omnimind.to_owned() };
    suite.write()?;
    let answers = in_turns(passes, &TURNS, |turn| suite.run(*turn))?;
    Ok(costs(&answers))
}

impl Suite {
    fn write(&self) -> Result<()> {
        let output =
            Command::new(&self.python).args(["-c", CALIBRATION]).stderr(Stdio::inherit()).output()?;
        let thousand_s: f64 =
            String::from_utf8_lossy(&output.stdout).trim().parse().context("calibrating a test")?;
        let rounds = (TEST_MS / thousand_s).round();
        let tests = self.folder.join("tests");
        fs::create_dir_all(&tests)?;
        for file in 0..FILES {
            let function = |test| {
                format!(
                    "\ndef test_{test}():\n    assert len(hashlib.pbkdf2_hmac('sha256', b'', b'{test}', {rounds})) == 32\n\n"
                )
            };
            let text: String = ["import hashlib\n\n".to_owned()]
                .into_iter()
                .chain((0..TESTS_OF_A_FILE).map(function))
                .collect();
            fs::write(tests.join(format!("test_{file:02}.py")), text)?;
        }
        let group = format!(
            "[[group]]\nname = \"suite\"\nrunner = \"pytest\"\nprogram = [{}]\npaths = [\"tests\"]\nconcurrency = \"sequential\"\n",
            // Quoted as TOML does, too.
            serde_json::to_string(&self.python)?
        );
        fs::write(self.folder.join("test-groups.toml"), group)?;
        Ok(())
    }

    /// Runs it as a user does. All tests must have passed.
    fn run(&self, turn: Turn) -> Result<Value> {
        let mut command = match turn {
            Turn::Plain => {
                let mut command = Command::new(&self.python);
                command.args(["-m", "pytest", "-q", "tests"]);
                command
            }
            Turn::Watched => {
                let mut command = Command::new(&self.omnimind);
                command.args(["test-groups", "--simulated", "--json", "--file", "test-groups.toml"]);
                // Nobody's own settings.
                command.env("XDG_CONFIG_HOME", &self.folder).env_remove("OMNIMIND_CONFIG");
                command
            }
        };
        command.current_dir(&self.folder).stdin(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        let seconds = start.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stdout);
        let passed = match turn {
            Turn::Plain => said.contains(&format!("{TESTS} passed")),
            Turn::Watched => {
                let report: Value = serde_json::from_str(&said).unwrap_or_default();
                report["groups"][0]["passed"] == TESTS
            }
        };
        ensure!(output.status.success() && passed, "not all tests passed in {command:?}: {said}");
        Ok(json!({ "seconds": seconds }))
    }
}

fn costs(answers: &[Series]) -> Vec<Row> {
    let seconds = |turn: Turn| {
        let answers = TURNS.iter().zip(answers).find(|(asked, _)| **asked == turn);
        answers.map_or(f64::NAN, |(_, series)| series.of("seconds"))
    };
    let (plain, watched) = (seconds(Turn::Plain), seconds(Turn::Watched));
    vec![
        Row::ours(
            format!("watching costs a suite: {TESTS} tests of {TEST_MS} ms, times as long"),
            "x",
            watched / plain,
        )
        .goal(Goal::AtMost(1.02)),
        Row::ours("that suite under `omnimind test-groups`", "s", watched).peer("pytest alone", plain),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_the_watched_suite_to_the_plain_one() {
        let answers = TURNS
            .map(|turn| Series::from(json!({ "seconds": if turn == Turn::Plain { 5.0 } else { 5.05 } })));
        let rows = costs(&answers);
        assert!((rows[0].ours.unwrap() - 1.01).abs() < 1e-9 && rows[0].met == Some(true));
        assert_eq!((rows[1].ours, rows[1].peer), (Some(5.05), Some(5.0)));
    }
}
