//! What a run brings along: the program, the helper and the scenarios on one disk, and an empty swap on another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::image::find;
use super::sources;

/// Two thirds of the machine's RAM.
const SWAP_BYTES: u64 = 512 << 20;

/// One claim about `omnimind` on a real system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) name: String,
    file: PathBuf,
}

/// What a run brings along.
#[derive(Debug)]
pub(super) struct Brought<'a> {
    /// `omnimind`.
    pub(super) binary: &'a Path,
    pub(super) scenarios: &'a [Scenario],
    /// How long a scenario may take.
    pub(super) limit: Duration,
    /// Whether scenarios record what they are told to.
    pub(super) records: bool,
}

/// The disks of a run.
#[derive(Debug)]
pub(super) struct Disks {
    pub(super) payload: PathBuf,
    pub(super) swap: PathBuf,
}

/// All scenarios in the order of their names, or those that are asked for.
pub(super) fn scenarios(only: &[String]) -> Result<Vec<Scenario>> {
    let folder = sources().join("scenarios");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    chosen(files, only)
}

fn chosen(mut files: Vec<PathBuf>, only: &[String]) -> Result<Vec<Scenario>> {
    files.sort();
    let all: Vec<Scenario> = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "sh"))
        .filter_map(|file| Some(Scenario { name: file.file_stem()?.to_str()?.to_owned(), file }))
        .collect();
    let names = || all.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|scenario| scenario.name == **name)) {
        bail!("there is no scenario {unknown:?}; there are {}", names());
    }
    Ok(all.into_iter().filter(|scenario| only.is_empty() || only.contains(&scenario.name)).collect())
}

/// Makes the disks in a run's folder.
pub(super) fn make(folder: &Path, brought: &Brought<'_>) -> Result<Disks> {
    let content = folder.join("payload");
    fs::create_dir_all(content.join("scenarios"))?;
    for name in ["run.sh", "lib.sh"] {
        copy(&sources().join("guest").join(name), &content.join(name))?;
    }
    for scenario in brought.scenarios {
        copy(&scenario.file, &content.join("scenarios").join(format!("{}.sh", scenario.name)))?;
    }
    fs::write(content.join("limit"), brought.limit.as_secs().to_string())?;
    if brought.records {
        fs::write(content.join("record"), "")?;
    }
    let mut bytes = 16 << 20;
    for (program, name) in [(brought.binary, "omnimind"), (&std::env::current_exe()?, "vm-helper")] {
        let copied = content.join(name);
        bytes += copy(program, &copied)?;
        fs::set_permissions(&copied, fs::Permissions::from_mode(0o755))?;
    }
    let disks = Disks { payload: folder.join("payload.img"), swap: folder.join("swap.img") };
    let size = format!("{}k", bytes / 1024 * 5 / 4);
    let mut format = program("mke2fs")?;
    format.args(["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"]);
    quiet(format.arg(&content).arg(&disks.payload).arg(size))?;
    fs::remove_dir_all(&content)?;
    fs::File::create(&disks.swap)?.set_len(SWAP_BYTES)?;
    fs::set_permissions(&disks.swap, fs::Permissions::from_mode(0o600))?;
    quiet(program("mkswap")?.arg(&disks.swap))?;
    Ok(disks)
}

fn program(name: &str) -> Result<Command> {
    Ok(Command::new(find(name).with_context(|| format!("{name} is not there"))?))
}

fn copy(from: &Path, to: &Path) -> Result<u64> {
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Runs a command; what it says is shown only if it fails.
fn quiet(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str], only: &[&str]) -> Result<Vec<String>> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let chosen = chosen(files.iter().map(PathBuf::from).collect(), &only)?;
        Ok(chosen.into_iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn scenarios_are_the_shell_files_in_the_order_of_their_names() {
        assert_eq!(
            names(&["x/units.sh", "x/boot.sh", "x/notes.md", "x/.sh"], &[]).unwrap(),
            ["boot", "units"]
        );
        assert_eq!(names(&["x/units.sh", "x/boot.sh"], &["units"]).unwrap(), ["units"]);
    }

    #[test]
    fn a_scenario_that_does_not_exist_is_refused_with_those_that_do() {
        let error = names(&["x/units.sh", "x/boot.sh"], &["boots"]).unwrap_err().to_string();
        assert!(error.contains("\"boots\"") && error.contains("boot, units"), "{error}");
    }

    #[test]
    fn every_scenario_here_says_its_claim_first() {
        for scenario in scenarios(&[]).unwrap() {
            let text = fs::read_to_string(&scenario.file).unwrap();
            assert!(text.starts_with("# "), "{}", scenario.name);
        }
    }
}
