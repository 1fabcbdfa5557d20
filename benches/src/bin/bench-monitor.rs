//! Answers measuring commands, one JSON object per line on stdin and stdout, in turns with the peer: what it takes to look at a
//! machine and a service. With `day` it is the process whose memory is measured, and answers once.

use std::path::PathBuf;

use anyhow::{Context, Result};
use benches::monitor::{Machine, day};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Command {
    /// Starts the processes.
    Start { processes: usize, folder: PathBuf },
    /// Looks at them.
    Sample { looks: u32 },
}

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("day") {
        println!("{}", day()?);
        return Ok(());
    }
    let mut machine = None;
    benches::serve(|command| match command {
        Command::Start { processes, folder } => {
            let started = machine.insert(Machine::with(processes, &folder)?);
            Ok(json!({ "pids": started.pids() }))
        }
        Command::Sample { looks } => {
            let started = machine.as_ref().context("nothing was started")?;
            Ok(json!({ "cpu_s": started.look(looks)? }))
        }
    })
}
