//! Python environments with pinned packages, in a cache outside the repository. Made once; made again when the list of packages
//! changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::cargo::check;

/// `$XDG_CACHE_HOME/omnimind-bench`.
pub(crate) fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = base.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("omnimind-bench");
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    Ok(cache)
}

/// The interpreter of the environment in `folder`, with exactly the packages of a list. `cost` tells people what it takes.
pub(crate) fn environment(folder: &Path, requirements: &Path, cost: &str) -> Result<PathBuf> {
    let wanted =
        fs::read_to_string(requirements).with_context(|| format!("reading {}", requirements.display()))?;
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("making a Python environment in {} ({cost})", folder.display());
    check(Command::new(interpreter()?).args(["-m", "venv", "--clear"]).arg(folder))?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    check(Command::new(&python).args(pip).arg(requirements))
        .with_context(|| format!("installing {}", requirements.display()))?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// A Python that the pinned packages have wheels for.
pub(crate) fn interpreter() -> Result<&'static str> {
    let new_enough = |name: &&str| {
        let test = "import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))";
        Command::new(name).args(["-c", test]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let found = ["python3.11", "python3.12", "python3.13", "python3"].into_iter().find(new_enough);
    found.context("this needs Python 3.11 to 3.13 with venv and pip; on Debian: apt install python3-venv")
}
