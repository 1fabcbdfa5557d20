//! Measures the kernels on the first card, one JSON object per line; `scripts/gpu-check.sh` runs it.
//!
//! `bench-gpu [--mib N] [--rounds N] [--stores DIR] [--peers FILE]`: N MiB of float32 (4096) and half of that in 16 bits, medians of N
//! rounds (9), stores in DIR, and what `gpu/peers.py` printed in FILE.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use benches::gpu::rows::{Peers, Rows};
use benches::gpu::{Options, measure};
use gpu_probe::{DeviceMemory, detect};

fn main() -> Result<ExitCode> {
    let options = options(std::env::args().skip(1))?;
    let found = detect();
    eprintln!("{}", found.note);
    if found.probe.source() != "cuda" {
        println!("skipped ({})", found.note);
        return Ok(ExitCode::SUCCESS);
    }
    let gpu: Arc<dyn DeviceMemory> = found.probe;
    let mut rows = Rows::new(|line| println!("{line}"));
    measure(&gpu, &options, &mut rows);
    Ok(if rows.are_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--mib" => options.bytes = value.parse::<u64>()? << 20,
            "--rounds" => options.rounds = value.parse()?,
            "--stores" => options.stores = value.into(),
            "--peers" => options.peers = Peers::read(value.as_ref())?,
            _ => bail!("there is no option {name}; see the first lines of bench-gpu.rs"),
        }
    }
    Ok(options)
}
