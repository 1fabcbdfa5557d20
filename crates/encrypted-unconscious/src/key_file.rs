//! Files that hold one key: written whole or not at all, protected with a passphrase if wanted, read with
//! limits. Knows nothing of keys.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, scrypt};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Far more than a key and its comments need.
const MAX_BYTES: usize = 64 * 1024;
/// The work of trying one passphrase, as `age -p` sets it: 2^18 steps and 256 MiB, about a second.
const WORK_LOG2: u8 = 18;
/// The most work that a file may ask of its reader: 2^20 steps and 1 GiB, some seconds.
const MAX_WORK_LOG2: u8 = 20;
/// What an encrypted file begins with, in any version.
const ENCRYPTED: &[u8] = b"age-encryption.org/";

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner only (0600).
    Owner,
    /// Everybody, and its owner may change it (0644).
    Everybody,
}

/// What an identity file can be protected with. It is wiped from memory when dropped, and shown by nothing.
#[derive(Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// Takes a passphrase as it is: spaces and line ends count.
    ///
    /// # Errors
    /// [`Error::EmptyPassphrase`].
    pub fn new(text: impl Into<Zeroizing<String>>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::EmptyPassphrase);
        }
        // A boxed copy of just the right size: nothing of it is left behind by shrinking.
        Ok(Self(SecretString::from(Box::<str>::from(text.as_str()))))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// The path with something after its name: `key` and `.pub` are `key.pub`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a file that did not exist before, so that it is there whole and durable, or not at all.
pub(crate) fn write_new(path: &Path, content: &(impl AsRef<[u8]> + ?Sized), access: Access) -> Result<()> {
    let failed = |source| Error::KeyFile { path: path.to_owned(), action: "written", source };
    // Found again, atomically, when the name is given; here it only saves the work.
    if path.symlink_metadata().is_ok() {
        return Err(Error::AlreadyExists { path: path.to_owned() });
    }
    let folder = folder_of(path);
    let file = staged(folder, content.as_ref(), access).map_err(failed)?;
    file.persist_noclobber(path).map_err(|refused| match refused.error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: path.to_owned() },
        _ => failed(refused.error),
    })?;
    sync_folder(folder).map_err(|source| {
        // Without its folder on disk, the file could be gone after a power loss, with what is sealed for it.
        let _ = fs::remove_file(path);
        failed(source)
    })
}

/// Writes a file in place of one that may be there, so that either is there whole at any moment. Durable.
pub(crate) fn replace(path: &Path, content: &(impl AsRef<[u8]> + ?Sized), access: Access) -> Result<()> {
    let failed = |source| Error::KeyFile { path: path.to_owned(), action: "written", source };
    let folder = folder_of(path);
    let file = staged(folder, content.as_ref(), access).map_err(failed)?;
    file.persist(path).map_err(|refused| failed(refused.error))?;
    sync_folder(folder).map_err(failed)
}

/// Gives a file another name in the same folder, in place of one that may have it. Durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).and_then(|()| sync_folder(folder_of(to))).map_err(|source| Error::KeyFile {
        path: to.to_owned(),
        action: "written",
        source,
    })
}

/// Gives a file that holds `content` a second name, which did not exist before; where the file system cannot do
/// that, a copy. Durable.
pub(crate) fn link(from: &Path, to: &Path, content: &[u8]) -> Result<()> {
    match fs::hard_link(from, to).and_then(|()| sync_folder(folder_of(to))) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::AlreadyExists { path: to.to_owned() })
        }
        Err(_) => write_new(to, content, Access::Owner),
    }
}

/// Overwrites a file if `overwrite`, and removes it. Durable, as far as the file system writes where it wrote
/// before.
pub(crate) fn destroy(path: &Path, overwrite: bool) -> Result<()> {
    let destroy = || {
        if overwrite {
            let mut file = File::options().write(true).open(path)?;
            let bytes = file.metadata()?.len();
            io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
            file.sync_all()?;
        }
        fs::remove_file(path)?;
        sync_folder(folder_of(path))
    };
    destroy().map_err(|source| Error::KeyFile { path: path.to_owned(), action: "destroyed", source })
}

/// A temporary file in `folder` with this content, which is on the disk.
fn staged(folder: &Path, content: &[u8], access: Access) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".key-");
    restrict(&mut builder, access);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
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

/// Reads a file of one key, as text.
pub(crate) fn read(path: &Path, access: Access) -> Result<Zeroizing<String>> {
    let bytes = read_bytes(path, access)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        let source = io::Error::other("it is not text");
        Error::KeyFile { path: path.to_owned(), action: "read", source }
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads a file of one key. One that only its owner may read is refused where others may, too.
pub(crate) fn read_bytes(path: &Path, access: Access) -> Result<Zeroizing<Vec<u8>>> {
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
    Ok(bytes)
}

/// Encrypts the content of a file as `age -p` does.
pub(crate) fn encrypt(content: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>> {
    let mut recipient = scrypt::Recipient::new(passphrase.0.clone());
    recipient.set_work_factor(WORK_LOG2);
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        .map_err(|error| Error::CannotSeal { reason: error.to_string() })?;
    let mut encrypted = Vec::new();
    let mut writer = encryptor.wrap_output(&mut encrypted).map_err(Error::Io)?;
    writer.write_all(content).and_then(|()| writer.finish().map(drop)).map_err(Error::Io)?;
    Ok(encrypted)
}

/// Whether the content of a file is encrypted, with a passphrase or otherwise.
pub(crate) fn is_encrypted(content: &[u8]) -> bool {
    content.starts_with(ENCRYPTED)
}

/// Decrypts the content of the file `path`, which is not believed to be harmless.
pub(crate) fn decrypt(
    path: &Path,
    encrypted: &[u8],
    ask: impl FnOnce() -> Result<Passphrase>,
) -> Result<Zeroizing<Vec<u8>>> {
    let refused = |reason| Error::NotAnIdentity { path: path.to_owned(), reason };
    let damaged = "it is encrypted, and was changed since; restore it from a backup";
    let decryptor = Decryptor::new_buffered(encrypted).map_err(|_| refused(damaged))?;
    if !decryptor.is_scrypt() {
        return Err(refused("it is encrypted for another key; decrypt it with `age -d` first"));
    }
    let mut identity = scrypt::Identity::new(ask()?.0);
    identity.set_max_work_factor(MAX_WORK_LOG2);
    let mut reader =
        decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|error| match error {
            DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
                Error::WrongPassphrase { path: path.to_owned() }
            }
            DecryptError::ExcessiveWork { .. } => {
                refused("trying its passphrase takes more than 2^20 steps; decrypt it with `age -d` first")
            }
            _ => refused(damaged),
        })?;
    // Plaintext is shorter, so that no copy of a secret is left behind by growing.
    let mut content = Zeroizing::new(Vec::with_capacity(encrypted.len()));
    reader.read_to_end(&mut content).map_err(|_| refused(damaged))?;
    Ok(content)
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
