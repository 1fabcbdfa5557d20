//! `kernels`: compiles the CUDA sources with NVRTC to the PTX that is committed beside them, or checks that it is what the sources
//! give. Needs no GPU: NVRTC comes from a package registry, pinned, so that everybody gets the same bytes.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use lexopt::{Arg, Parser};

use crate::cargo::{check, root};
use crate::python;

const FOLDER: &str = "crates/softhair-compress/src/device/kernels";

/// Whether the committed PTX is, or now is, what the sources give.
pub(crate) fn run(mut args: Parser) -> Result<bool> {
    let mut only_check = false;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("check") => only_check = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = root().join(FOLDER);
    let interpreter = python::environment(
        &python::cache()?.join("nvrtc"),
        &folder.join("requirements.txt"),
        "60 MB, some seconds",
    )?;
    let made = tempfile::NamedTempFile::new()?;
    check(Command::new(interpreter).arg(folder.join("compile.py")).arg(&folder).arg(made.path()))
        .context("compiling the kernels")?;
    let (fresh, committed) = (fs::read(made.path())?, folder.join("kernels.ptx"));
    let same = fs::read(&committed).is_ok_and(|committed| committed == fresh);
    match (same, only_check) {
        (true, _) => println!("{FOLDER}/kernels.ptx is what its sources give"),
        (false, true) => {
            eprintln!("error: {FOLDER}/kernels.ptx is not what its sources give; run: cargo xtask kernels");
            return Ok(false);
        }
        (false, false) => {
            fs::write(&committed, fresh)?;
            println!("{FOLDER}/kernels.ptx written; run the tests of softhair-compress");
        }
    }
    Ok(true)
}
