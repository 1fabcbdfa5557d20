//! Writing and removing the files: all or none, and only our own.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{DROP_IN, HEADER, Plan};
use crate::error::{Error, Result};

/// What became, or would become, of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    Created,
    /// It said something else.
    Updated,
    /// It is as it should be.
    Unchanged,
    /// It was there, and is no more.
    Removed,
}

/// A file, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Which.
    pub path: PathBuf,
    /// What.
    pub change: Change,
}

/// What there was, so that it can be there again.
enum Before {
    Nothing,
    File(Vec<u8>),
    Link(PathBuf),
}

/// What is to be there.
enum After {
    Nothing,
    File(String),
    Link(PathBuf),
}

/// Writes all files of the plan, or none. Files that are as they should be are not written; our own files that the plan has no
/// more are removed.
///
/// # Errors
///
/// [`Error::Refused`] if a file that is not ours is in the way, or if one cannot be written; then all is as it was.
pub fn install(plan: &Plan) -> Result<Vec<Changed>> {
    carry_out(&plan.directory, wanted(plan)?)
}

/// Removes all files of ours, or none, and the directories that are empty then.
///
/// # Errors
///
/// [`Error::Refused`] if one cannot be removed; then all is as it was.
pub fn uninstall(plan: &Plan) -> Result<Vec<Changed>> {
    let wanted = wanted(plan).or_else(|_| ours(&plan.directory).map(gone))?;
    let gone = wanted.into_iter().map(|(path, _)| (path, After::Nothing)).collect();
    carry_out(&plan.directory, gone)
}

/// What [`install`] would do.
///
/// # Errors
///
/// As [`install`], without what shows only in writing.
pub fn show(plan: &Plan) -> Result<Vec<Changed>> {
    let mut changes = Vec::new();
    for (path, after) in wanted(plan)? {
        let path = plan.directory.join(path);
        let change = change(&before(&path)?, &after);
        changes.push(Changed { path, change });
    }
    Ok(changes)
}

/// What is to be there after installing, by path relative to the directory; what is in the way is refused.
fn wanted(plan: &Plan) -> Result<Vec<(PathBuf, After)>> {
    let mut wanted: Vec<(PathBuf, After)> =
        plan.files.iter().map(|file| (file.path.clone(), After::File(file.text.clone()))).collect();
    let (link, target) = &plan.link;
    wanted.push((link.clone(), After::Link(target.clone())));
    for path in ours(&plan.directory)? {
        if !wanted.iter().any(|(other, _)| *other == path) {
            wanted.push((path, After::Nothing));
        }
    }
    for (path, _) in &wanted {
        let path = plan.directory.join(path);
        let is_ours = match before(&path)? {
            Before::Nothing => true,
            Before::File(bytes) => begins_with_header(&bytes),
            Before::Link(to) => to == *target,
        };
        if !is_ours {
            let reason = "is there already, and was not installed by this program";
            return Err(Error::refused(
                path.display().to_string(),
                reason,
                "move it away, or merge it by hand",
            ));
        }
    }
    Ok(wanted)
}

fn gone(paths: Vec<PathBuf>) -> Vec<(PathBuf, After)> {
    paths.into_iter().map(|path| (path, After::Nothing)).collect()
}

fn begins_with_header(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').next() == Some(HEADER.as_bytes())
}

/// The files of ours that are there: drop-ins, the unit, and the links to it, relative to the directory.
fn ours(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut candidates = vec![PathBuf::from(super::MONITOR)];
    for entry in entries(directory)? {
        let name = PathBuf::from(entry.file_name());
        let ending = name.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending {
            "d" => candidates.push(name.join(DROP_IN)),
            "wants" => candidates.push(name.join(super::MONITOR)),
            _ => {}
        }
    }
    for path in candidates {
        let is_ours = match before(&directory.join(&path))? {
            Before::Nothing => false,
            Before::File(bytes) => begins_with_header(&bytes),
            Before::Link(to) => to == Path::new("..").join(super::MONITOR),
        };
        if is_ours {
            found.push(path);
        }
    }
    Ok(found)
}

fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => {
            entries.collect::<io::Result<_>>().map_err(|error| failed("reading", directory, &error))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("reading", directory, &error)),
    }
}

fn before(path: &Path) -> Result<Before> {
    let read = || match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_symlink() => fs::read_link(path).map(Before::Link),
        Ok(_) => fs::read(path).map(Before::File),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Before::Nothing)
        }
        Err(error) => Err(error),
    };
    read().map_err(|error| failed("reading", path, &error))
}

fn change(before: &Before, after: &After) -> Change {
    match (before, after) {
        (Before::Nothing, After::Nothing) => Change::Unchanged,
        (_, After::Nothing) => Change::Removed,
        (Before::Nothing, _) => Change::Created,
        (Before::File(bytes), After::File(text)) if bytes == text.as_bytes() => Change::Unchanged,
        (Before::Link(from), After::Link(to)) if from == to => Change::Unchanged,
        _ => Change::Updated,
    }
}

/// Does it, or puts all back as it was.
fn carry_out(directory: &Path, wanted: Vec<(PathBuf, After)>) -> Result<Vec<Changed>> {
    let mut changes = Vec::new();
    let mut done: Vec<(PathBuf, Before)> = Vec::new();
    let mut made = Vec::new();
    for (path, after) in wanted {
        let path = directory.join(path);
        let was = before(&path)?;
        let change = change(&was, &after);
        if change != Change::Unchanged {
            let written = put(&path, &after, &mut made);
            done.push((path.clone(), was));
            if let Err(error) = written {
                return Err(put_back(done, made, failed("writing", &path, &error)));
            }
        }
        changes.push(Changed { path, change });
    }
    for (path, _) in done.iter().filter(|(path, _)| !path.exists()) {
        remove_empty_parent(path, directory);
    }
    Ok(changes)
}

/// Makes it so, at once: a reader sees the old or the new. Directories that were made for it are added.
fn put(path: &Path, after: &After, made: &mut Vec<PathBuf>) -> io::Result<()> {
    if matches!(after, After::Nothing) {
        return fs::remove_file(path);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let missing: Vec<_> =
        directory.ancestors().take_while(|ancestor| !ancestor.exists()).map(Path::to_owned).collect();
    made.extend(missing.into_iter().rev());
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".omnimind-{}.new", std::process::id()));
    let written = match after {
        After::Nothing => Ok(()),
        After::Link(to) => std::os::unix::fs::symlink(to, &temporary),
        After::File(text) => fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        }),
    };
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // What was begun goes; that it could not be is told by the error already.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Puts back what was changed, the last first, and adds to the error what could not be.
fn put_back(done: Vec<(PathBuf, Before)>, made: Vec<PathBuf>, error: Error) -> Error {
    let mut left = Vec::new();
    for (path, was) in done.into_iter().rev() {
        let put = match was {
            Before::Nothing if fs::symlink_metadata(&path).is_err() => Ok(()),
            Before::Nothing => fs::remove_file(&path),
            Before::Link(to) => put(&path, &After::Link(to), &mut Vec::new()),
            Before::File(bytes) => fs::write(&path, bytes),
        };
        if put.is_err() {
            left.push(path.display().to_string());
        }
    }
    for directory in made.into_iter().rev() {
        // Only what is empty goes.
        let _ = fs::remove_dir(directory);
    }
    if left.is_empty() {
        return error;
    }
    Error::refused(
        "putting back what was changed",
        error,
        format!("these are left changed: {}", left.join(", ")),
    )
}

/// Removes the directory of a file that is gone if it is empty, but not the directory of all units.
fn remove_empty_parent(path: &Path, directory: &Path) {
    if let Some(parent) = path.parent().filter(|parent| *parent != directory) {
        // It is not empty: others have files there.
        let _ = fs::remove_dir(parent);
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::refused(
        format!("{what} {}", path.display()),
        error,
        "run it as root, or with --user for your own services",
    )
}
