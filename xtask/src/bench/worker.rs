//! A measuring process that is asked one JSON line at a time. Ours and the peers' speak the same way, so that they
//! can take turns.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub(super) struct Worker {
    name: &'static str,
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    pub(super) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("starting {name}"))?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take().context("no stdout")?);
        Ok(Self { name, child, commands, answers: BufReader::new(answers) })
    }

    /// Sends a command and waits for its answer.
    pub(super) fn ask(&mut self, command: &Value) -> Result<Value> {
        let stdin = self.commands.as_mut().context("the process was told to end")?;
        writeln!(stdin, "{command}")?;
        stdin.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("{} ended at {command}; its message is above", self.name);
        }
        let answer: Value =
            serde_json::from_str(&line).with_context(|| format!("{} answered {line}", self.name))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{} could not do {command}: {error}", self.name),
            None => Ok(answer),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.commands.take());
        // It ends when its stdin does; its exit status says nothing that an answer would not have said.
        let _ = self.child.wait();
    }
}
