//! The place where a keyholder is found: a socket in the file system, that one server has at a time.
//!
//! The socket is open to everybody who reaches its folder when others than its owner are on the list, and to its owner alone
//! otherwise: who may ask is decided by who calls, not by the mode of a file, and whoever may not is told so.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use super::super::answer::KeyholderError;

/// A socket that is listened at. Dropped, its file is removed.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Which file it is: device and number.
    file: (u64, u64),
    /// Held as long as the socket: who has it knows that a socket beside it is left over.
    _lock: File,
}

impl Place {
    /// Takes the place of a server that is no more, but not of one that is.
    pub(super) fn take(path: &Path, for_others: bool) -> Result<Self, KeyholderError> {
        let cannot = |action| move |source| KeyholderError::File { path: path.to_owned(), action, source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| KeyholderError::File { path: folder.to_owned(), action: "made", source })?;
        }
        let lock = lock_beside(path)?;
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(cannot("made"))?;
        let mode = if for_others { 0o666 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(cannot("made"))?;
        listener.set_nonblocking(true).map_err(cannot("made"))?;
        let file = fs::symlink_metadata(path).map_err(cannot("read"))?;
        Ok(Self { listener, path: path.to_owned(), file: (file.dev(), file.ino()), _lock: lock })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not what somebody else put there meanwhile.
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock_beside(socket: &Path) -> Result<File, KeyholderError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let cannot = |source| KeyholderError::File { path: path.clone(), action: "made", source };
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(KeyholderError::Served { path }),
        Err(TryLockError::Error(source)) => Err(cannot(source)),
    }
}

/// Removes a socket that nobody listens at, and nothing else.
fn clear(path: &Path) -> Result<(), KeyholderError> {
    let cannot = |source| KeyholderError::File { path: path.to_owned(), action: "made", source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(cannot(io::Error::new(ErrorKind::AlreadyExists, "something else lies there")));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(cannot),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot(error)),
        Ok(_) => Err(KeyholderError::Served { path: path.to_owned() }),
    }
}
