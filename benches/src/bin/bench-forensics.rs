//! Answers measuring commands, one JSON object per line on stdin and stdout, in turns with the peer: what it takes to read a log. With
//! `stream BYTES` it is the process whose memory is measured, and answers once.

use std::path::PathBuf;

use anyhow::{Context, Result};
use benches::forensics::{analyzed, findings, make, peak_bytes_over, read_only};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Command {
    /// Makes the log, plain and packed.
    Make { folder: PathBuf },
    /// Finds everything in one of them.
    Analyze { path: PathBuf },
    /// Reads it and looks at nothing.
    Read { path: PathBuf },
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("stream") {
        let bytes = arguments.next().context("how many bytes?")?.parse()?;
        println!("{}", peak_bytes_over(bytes)?);
        return Ok(());
    }
    benches::serve(|command| match command {
        Command::Make { folder } => {
            let logs = make(&folder)?;
            Ok(json!({ "plain": logs.plain, "gzip": logs.gzip, "zstd": logs.zstd, "bytes": logs.bytes }))
        }
        Command::Analyze { path } => {
            let (seconds, report) = analyzed(&path)?;
            Ok(json!({ "seconds": seconds, "findings": findings(&report) }))
        }
        Command::Read { path } => Ok(json!({ "seconds": read_only(&path)? })),
    })
}
