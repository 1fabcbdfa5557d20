//! Files that hold one key: written whole or not at all, never replaced, read with a limit. Knows nothing of
//! keys.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Far more than a key and its comments need.
const MAX_BYTES: usize = 64 * 1024;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner only (0600).
    Owner,
    /// Everybody, and its owner may change it (0644).
    Everybody,
}

/// Writes a file that did not exist before, so that it is there whole and durable, or not at all.
pub(crate) fn write_new(path: &Path, text: &str, access: Access) -> Result<()> {
    let failed = |source| Error::KeyFile { path: path.to_owned(), action: "written", source };
    // Found again, atomically, when the name is given; here it only saves the work.
    if path.symlink_metadata().is_ok() {
        return Err(Error::AlreadyExists { path: path.to_owned() });
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".key-");
    restrict(&mut builder, access);
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist_noclobber(path).map_err(|refused| match refused.error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: path.to_owned() },
        _ => failed(refused.error),
    })?;
    sync_folder(folder).map_err(|source| {
        // Without its folder on disk, the file could be gone after a power loss, with what is sealed for it.
        let _ = std::fs::remove_file(path);
        failed(source)
    })
}

#[cfg(unix)]
fn restrict(builder: &mut tempfile::Builder<'_, '_>, access: Access) {
    use std::os::unix::fs::PermissionsExt;
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o644,
    };
    builder.permissions(std::fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn restrict(_builder: &mut tempfile::Builder<'_, '_>, _access: Access) {}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Reads a file of one key. One that only its owner may read is refused where others may, too.
pub(crate) fn read(path: &Path, access: Access) -> Result<Zeroizing<String>> {
    let failed = |source| Error::KeyFile { path: path.to_owned(), action: "read", source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    if access == Access::Owner {
        refuse_if_others_may_use(path, &metadata)?;
    }
    // Large enough from the start, so that no copy of a secret is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(failed(io::Error::other("it is far too large for a key")));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(failed(io::Error::other("it is not text"))),
    }
}

#[cfg(unix)]
fn refuse_if_others_may_use(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const GROUP_AND_OTHERS: u32 = 0o077;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & GROUP_AND_OTHERS == 0 { Ok(()) } else { Err(Error::Insecure { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_if_others_may_use(_path: &Path, _metadata: &std::fs::Metadata) -> Result<()> {
    Ok(())
}

/// The one line that is neither empty nor a comment.
pub(crate) fn only_line(text: &str) -> Result<&str, &'static str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err("it holds no key"),
        (Some(_), Some(_)) => Err("it holds more than one key, and one is wanted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_are_skipped_and_one_key_is_wanted() {
        assert_eq!(only_line("# created\n\n  age1x \r\n"), Ok("age1x"));
        assert!(only_line("# nothing\n").is_err());
        assert!(only_line("a\nb").is_err());
    }

    #[test]
    fn a_file_that_exists_is_never_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, "first", Access::Owner).unwrap();
        assert!(matches!(write_new(&path, "second", Access::Owner), Err(Error::AlreadyExists { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_points_nowhere_is_in_the_way_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &path).unwrap();
        assert!(matches!(write_new(&path, "key", Access::Owner), Err(Error::AlreadyExists { .. })));
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn a_folder_a_missing_file_and_a_large_file_are_refused_with_their_path() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        std::fs::write(&large, vec![b'a'; MAX_BYTES + 1]).unwrap();
        for path in [folder.path().to_owned(), folder.path().join("missing"), large] {
            let error = read(&path, Access::Everybody).unwrap_err();
            assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
        }
    }
}
