//! The folder in which a keyholder keeps what it must not forget: only its owner may look into it, and one process serves it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::answer::KeyholderError;

const LOCK: &str = "serving.lock";

/// An error about a file.
pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> KeyholderError + use<> {
    let path = path.to_owned();
    move |source| KeyholderError::File { path, action, source }
}

/// Makes the folder if it is not there, and closes it to others. One that holds something else is left as it is: closing it
/// could lock others out of what is theirs.
pub(super) fn prepare(folder: &Path) -> Result<(), KeyholderError> {
    if let Ok(mut entries) = fs::read_dir(folder) {
        let own = [LOCK, super::audit::FILE, super::snapshot::FILE];
        if entries.next().is_some() && !own.iter().any(|name| folder.join(name).exists()) {
            let folder = folder.display();
            let reason =
                format!("{folder} holds files that are not a keyholder's; give it a folder of its own");
            return Err(KeyholderError::Config { reason });
        }
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(failed(folder, "made"))?;
    restrict(folder, 0o700)
}

/// Becomes the one process that serves the folder, until the file is dropped.
pub(super) fn serve(folder: &Path) -> Result<File, KeyholderError> {
    let path = folder.join(LOCK);
    let file = open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(KeyholderError::Served { path }),
        Err(TryLockError::Error(error)) => Err(failed(&path, "locked")(error)),
    }
}

/// Opens a file to read and write, and makes it if it is not there. Only its owner may.
pub(super) fn open(path: &Path) -> Result<File, KeyholderError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(failed(path, "written"))?;
    restrict(path, 0o600)?;
    Ok(file)
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> Result<(), KeyholderError> {
    use std::os::unix::fs::PermissionsExt;
    let found = path.metadata().map_err(failed(path, "read"))?.permissions().mode() & 0o7777;
    if found == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed(path, "closed to others"))
}

#[cfg(not(unix))]
fn restrict(_path: &Path, _mode: u32) -> Result<(), KeyholderError> {
    Ok(())
}

/// Replaces a file by what `write` writes: whole and durable, or not at all.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), KeyholderError> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let act = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder)?;
        write(file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        #[cfg(unix)]
        File::open(&folder)?.sync_all()?;
        Ok(())
    };
    act().map_err(failed(path, "written"))
}
