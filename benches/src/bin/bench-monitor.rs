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
    /// Looks at them, while part of the service is in swap or none is.
    Sample { looks: u32, swapped: bool },
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
        Command::Sample { looks, swapped } => {
            let started = machine.as_ref().context("nothing was started")?;
            started.set_swapped(swapped)?;
            Ok(json!({ "cpu_s": started.look(looks)? }))
        }
    })
}
