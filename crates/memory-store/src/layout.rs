//! Recognising a store's directory, and laying one out.
//!
//! Writes only into a directory that is new, empty, or was being laid out by a process that died.

use crate::error::{Error, Result};
use crate::hash::ContentHash;
use crate::objects::Locks;
use crate::objects::sync_dir;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// The newest layout known.
const FORMAT: i64 = 1;
const MARKER: &str = "STORE";
const MAGIC: &str = "omnimind memory-store";
pub(crate) const CATALOGUE: &str = "catalogue.sqlite3";
/// Where an index that is derived from the store may be kept.
pub(crate) const INDEX: &str = "index";
const LOCKS: &str = "locks";

/// Names that a directory may hold in which a layout was begun. `lost+found` is what a fresh file system has.
const OURS: [&str; 11] = [
    MARKER,
    LOCKS,
    "objects",
    "tmp",
    "quarantine",
    INDEX,
    CATALOGUE,
    // While the catalogue is being made, before it has a write-ahead log.
    "catalogue.sqlite3-journal",
    "catalogue.sqlite3-wal",
    "catalogue.sqlite3-shm",
    "lost+found",
];

/// What tells a store from all others.
pub(crate) type Identity = [u8; 32];

/// What the marker of a store says, of a format that is known.
#[derive(Debug)]
pub(crate) struct Marker {
    /// None in a store that was made before there were identities.
    pub(crate) identity: Option<Identity>,
}

/// The marker of a store; `None` if the directory could become one. That it is neither is an error.
pub(crate) fn recognise(dir: &Path) -> Result<Option<Marker>> {
    let marker = dir.join(MARKER);
    match File::open(&marker) {
        Ok(file) => return read_marker(&marker, file).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::NotADirectory { path: dir.into() });
        }
        Err(e) => return Err(Error::io("open", &marker, e)),
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::NotADirectory { path: dir.into() });
        }
        Err(e) => return Err(Error::io("list", dir, e)),
    };
    for entry in entries {
        let name = entry.map_err(|e| Error::io("list", dir, e))?.file_name();
        if !OURS.iter().any(|ours| name == OsStr::new(ours)) {
            let found = name.to_string_lossy().into_owned();
            return Err(Error::ForeignDirectory { path: dir.into(), found });
        }
    }
    Ok(None)
}

/// Makes the directories that a store consists of. Returns where its locks are.
pub(crate) fn begin(dir: &Path) -> Result<std::path::PathBuf> {
    let locks = dir.join(LOCKS);
    fs::create_dir_all(&locks).map_err(|e| match e.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Error::NotADirectory { path: dir.into() }
        }
        _ => Error::io("create", dir, e),
    })?;
    Ok(locks)
}

/// Where the locks of an existing store are.
pub(crate) fn locks_dir(dir: &Path) -> Result<std::path::PathBuf> {
    let locks = dir.join(LOCKS);
    fs::create_dir_all(&locks).map_err(|e| Error::io("create", &locks, e))?;
    Ok(locks)
}

/// Makes whatever directory is missing; all of them are durable when this returns. Call it with the gate
/// shut.
pub(crate) fn complete(dir: &Path, locks: &Locks) -> Result<()> {
    let objects = dir.join("objects");
    let fans = fs::read_dir(&objects).map_or(0, Iterator::count);
    if fans >= 256 && dir.join("tmp").is_dir() && dir.join("quarantine").is_dir() {
        return Ok(());
    }
    let _gate = locks.shut_gate()?;
    let create = |path: &Path| fs::create_dir_all(path).map_err(|e| Error::io("create", path, e));
    for name in ["tmp", "quarantine"] {
        create(&dir.join(name))?;
    }
    for fan in 0..256 {
        create(&objects.join(format!("{fan:02x}")))?;
    }
    sync_dir(&objects)?;
    sync_dir(dir)
}

/// The identity of a store; one that has none is given `new()`.
pub(crate) fn identify(
    dir: &Path,
    locks: &Locks,
    new: impl FnOnce() -> Result<Identity>,
) -> Result<Identity> {
    let known = || recognise(dir).map(|marker| marker.and_then(|marker| marker.identity));
    if let Some(identity) = known()? {
        return Ok(identity);
    }
    let _gate = locks.shut_gate()?;
    // Another process may have been first.
    if let Some(identity) = known()? {
        return Ok(identity);
    }
    let identity = new()?;
    mark(dir, &identity)?;
    Ok(identity)
}

/// The last act of laying out: from now on the directory is a store. Call it with the gate shut.
pub(crate) fn mark(dir: &Path, identity: &Identity) -> Result<()> {
    let (temporary, marker) = (dir.join("tmp").join(MARKER), dir.join(MARKER));
    let write = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{MAGIC}\nformat {FORMAT}\nid {}", ContentHash::from_bytes(*identity))?;
        file.sync_all()?;
        fs::rename(&temporary, &marker)
    };
    write().map_err(|e| Error::io("create", &marker, e))?;
    sync_dir(dir)?;
    // The directory may be new itself.
    match dir.canonicalize() {
        Ok(absolute) => absolute.parent().map_or(Ok(()), sync_dir),
        Err(e) => Err(Error::io("find", dir, e)),
    }
}

fn read_marker(path: &Path, file: File) -> Result<Marker> {
    let mut text = String::new();
    let damaged = |reason: &str| {
        let source = io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        Error::Io { action: "recognise the store by its marker", path: path.into(), source }
    };
    file.take(1024).read_to_string(&mut text).map_err(|e| Error::io("read", path, e))?;
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(damaged("it does not begin as the marker of a store does"));
    }
    let format = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<i64>().ok());
    match format {
        Some(1..=FORMAT) => {
            // An identity that cannot be read is replaced: nothing depends on it but what can be made again.
            let identity =
                lines.next().and_then(|line| line.strip_prefix("id ")?.parse::<ContentHash>().ok());
            Ok(Marker { identity: identity.map(|id| *id.as_bytes()) })
        }
        Some(found) if found > FORMAT => {
            Err(Error::NewerStore { path: path.into(), found, supported: FORMAT })
        }
        _ => Err(damaged("it names no format")),
    }
}
