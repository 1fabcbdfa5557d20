//! The identities of one keyholder: the current one, and retired ones that older seals still need.
//!
//! | file | what it is |
//! |---|---|
//! | `PATH` | the current identity |
//! | `PATH.pub` | its public key |
//! | `PATH.retired.1`, `.2`, … | those before it, the oldest first |
//! | `PATH.next`, `PATH.pub.next` | the identity to come and its public key, while a rotation is under way |
//! | `PATH.destroy.1`, `.2`, … | retired ones whose destruction was interrupted |
//!
//! # The order of a rotation
//!
//! Each step is atomic, and on the disk before the next begins:
//!
//! 1. The new identity is written to `PATH.next`, and read back.
//! 2. `PATH` gets a second name, `PATH.retired.N`, unless it has one.
//! 3. The new public key is written to `PATH.pub.next`.
//! 4. `PATH.next` is renamed to `PATH`.
//! 5. `PATH.pub.next` is renamed to `PATH.pub`.
//!
//! `PATH` and the retired files hold every identity that anything was sealed for, whichever step was the last.
//! Nobody can seal for the new one before step 5, and it can be opened since step 4. Where `PATH.next` is found,
//! or the public key of `PATH` in `PATH.pub.next`, a rotation was interrupted; it goes on from where it was, with
//! the same new identity.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::bundle::BundleReader;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::key_file::{self, Access, Passphrase};
use crate::open::OpenReader;
use crate::recipient::Recipient;

/// Everything that a keyholder can open with. Secrets are handled as in [`Identity`].
pub struct KeyRing {
    current: Identity,
    retired: Vec<Identity>,
}

/// What a [`KeyRing`] has opened.
#[derive(Debug)]
pub struct Opened<'ring, T> {
    /// Gives what is inside.
    pub reader: T,
    /// The identity that it was sealed for.
    pub identity: &'ring Identity,
    /// Whether that is the current one. If not, it has to be sealed anew before retired identities are
    /// destroyed.
    pub is_current: bool,
}

impl KeyRing {
    /// Reads the identity in `path` and the retired ones beside it. `ask` is called for the passphrase at most
    /// once, and only if one of the files is protected: all that are have the same.
    ///
    /// # Errors
    /// As [`Identity::load_with`], for any of the files.
    pub fn load(path: impl AsRef<Path>, ask: impl FnOnce() -> io::Result<Passphrase>) -> Result<Self> {
        let mut ask = Some(ask);
        let mut given = None;
        Self::load_asking(path.as_ref(), &mut |file| {
            if let Some(ask) = ask.take() {
                let not_given = |source| Error::PassphraseNotGiven { path: file.to_owned(), source };
                given = Some(ask().map_err(not_given)?);
            }
            given.clone().ok_or_else(|| Error::PassphraseNeeded { path: file.to_owned() })
        })
    }

    fn load_asking(path: &Path, ask: &mut dyn FnMut(&Path) -> Result<Passphrase>) -> Result<Self> {
        // This one first: if it is retired meanwhile, it is found again among the retired.
        let current = Identity::load_asking(path, || ask(path))?;
        let mut known = vec![current.recipient()];
        let mut retired = Vec::new();
        for (_, file) in numbered(path, RETIRED)? {
            let identity = Identity::load_asking(&file, || ask(&file))?;
            if !known.contains(&identity.recipient()) {
                known.push(identity.recipient());
                retired.push(identity);
            }
        }
        Ok(Self { current, retired })
    }

    /// The identity that is sealed for now.
    #[must_use]
    pub fn current(&self) -> &Identity {
        &self.current
    }

    /// All identities, the current one first, then the retired ones from the newest to the oldest.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        std::iter::once(&self.current).chain(&self.retired)
    }

    /// The identities themselves, the current one first.
    #[must_use]
    pub fn into_identities(self) -> Vec<Identity> {
        std::iter::once(self.current).chain(self.retired).collect()
    }

    /// Opens what was sealed for any of the identities, and says for which. Otherwise as [`Identity::open`].
    ///
    /// # Errors
    /// As [`Identity::open`]; [`Error::WrongKey`] if none of them fits.
    pub fn open<R: Read>(&self, sealed: R) -> Result<Opened<'_, OpenReader<R>>> {
        let (fits, reader) = OpenReader::new(self.identities().map(Identity::as_age), sealed)?;
        let identity = self.identities().nth(fits).ok_or(Error::WrongKey)?;
        Ok(Opened { reader, identity, is_current: fits == 0 })
    }

    /// Opens a sealed [bundle](crate::bundle) and reads its header.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`BundleReader::new`].
    pub fn open_bundle<R: Read>(&self, sealed: R) -> Result<Opened<'_, BundleReader<OpenReader<R>>>> {
        let Opened { reader, identity, is_current } = self.open(sealed)?;
        Ok(Opened { reader: BundleReader::new(reader)?, identity, is_current })
    }

    /// Puts a new identity in place of the one in `path`, retires that one, and returns the public key to seal
    /// for from now on, which is in `path` + `.pub` then. What was sealed before is opened as before.
    ///
    /// A rotation that was interrupted, by whatever, goes on and is finished, instead of another being begun;
    /// see the [order](crate::ring). One that was finished is followed by another.
    ///
    /// With a passphrase, the new file is protected. It must be the one of those files that are protected
    /// already, as a ring has only one.
    ///
    /// # Errors
    /// As [`load`](Self::load), [`Error::PassphraseNeeded`] and [`Error::WrongPassphrase`] included; then
    /// nothing is changed. [`Error::KeyFile`] where a file cannot be written, where `path` is a link, or where
    /// another process is at it; then calling it again goes on.
    pub fn begin_rotation(path: impl AsRef<Path>, passphrase: Option<&Passphrase>) -> Result<Recipient> {
        let path = path.as_ref();
        let _alone = alone(path)?;
        let mut ask = |file: &Path| {
            passphrase.cloned().ok_or_else(|| Error::PassphraseNeeded { path: file.to_owned() })
        };
        let ring = Self::load_asking(path, &mut ask)?;
        let (next, public_next) = (key_file::beside(path, NEXT), key_file::beside(path, PUBLIC_NEXT));
        let current = ring.current.recipient();
        let recipient = if !exists(&next)? && Recipient::load(&public_next).is_ok_and(|key| key == current) {
            // Only the last step is missing.
            current
        } else {
            let recipient = prepare(&next, passphrase, &mut ask)?;
            retire(path)?;
            key_file::replace(&public_next, &format!("{recipient}\n"), Access::Everybody)?;
            key_file::rename(&next, path)?;
            recipient
        };
        key_file::rename(&public_next, &key_file::beside(path, PUBLIC))?;
        Ok(recipient)
    }

    /// Overwrites and removes the retired identities beside `path`, and returns how many files those were.
    /// What is still sealed for one of them can never be opened again.
    ///
    /// Overwriting reaches the place where the file was on a disk that writes in place. A file system that
    /// writes elsewhere (Btrfs, ZFS, APFS, snapshots), a flash drive that does so within, and a backup keep the
    /// old bytes: nothing that a program does to the file changes that. A passphrase does protect those copies.
    ///
    /// One that was interrupted may be called again, and goes on. A retired file is taken out of the ring
    /// before it is overwritten, so the ring can be loaded at any time.
    ///
    /// # Errors
    /// [`Error::RotationUnfinished`]; [`Error::KeyFile`] where a file is a link, or cannot be overwritten and
    /// removed.
    pub fn destroy_retired(path: impl AsRef<Path>) -> Result<usize> {
        let path = path.as_ref();
        let _alone = alone(path)?;
        if exists(&key_file::beside(path, NEXT))? || exists(&key_file::beside(path, PUBLIC_NEXT))? {
            return Err(Error::RotationUnfinished { path: path.to_owned() });
        }
        let current = key_file::read_bytes(path, Access::Owner)?;
        let destroy = |file: &Path| {
            // It could be another name of the current identity, which must not be overwritten.
            let overwrite = *key_file::read_bytes(file, Access::Everybody)? != *current;
            key_file::destroy(file, overwrite)
        };
        let (interrupted, retired) = (numbered(path, DESTROY)?, numbered(path, RETIRED)?);
        for (_, file) in interrupted.iter().chain(&retired) {
            refuse_link(file, "destroyed")?;
        }
        for (_, file) in &interrupted {
            destroy(file)?;
        }
        for (number, file) in &retired {
            let doomed = key_file::beside(path, &format!("{DESTROY}{number}"));
            key_file::rename(file, &doomed)?;
            destroy(&doomed)?;
        }
        Ok(interrupted.len() + retired.len())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("current", &self.current).field("retired", &self.retired).finish()
    }
}

const PUBLIC: &str = ".pub";
const NEXT: &str = ".next";
const PUBLIC_NEXT: &str = ".pub.next";
const RETIRED: &str = ".retired.";
const DESTROY: &str = ".destroy.";

/// Sees to it that the identity to come is in `next`, and protected if there is a passphrase.
fn prepare(
    next: &Path,
    passphrase: Option<&Passphrase>,
    ask: &mut dyn FnMut(&Path) -> Result<Passphrase>,
) -> Result<Recipient> {
    if !exists(next)? {
        key_file::write_new(next, &Identity::generate().file_content(passphrase)?, Access::Owner)?;
    }
    let mut is_protected = false;
    let identity = Identity::load_asking(next, || {
        is_protected = true;
        ask(next)
    })?;
    if passphrase.is_some() && !is_protected {
        key_file::replace(next, &identity.file_content(passphrase)?, Access::Owner)?;
    }
    Ok(identity.recipient())
}

/// Sees to it that the identity in `path` is among the retired ones.
fn retire(path: &Path) -> Result<()> {
    let content = key_file::read_bytes(path, Access::Owner)?;
    let retired = numbered(path, RETIRED)?;
    for (_, file) in &retired {
        if *key_file::read_bytes(file, Access::Owner)? == *content {
            return Ok(());
        }
    }
    let number = retired.first().map_or(1, |(newest, _)| u64::from(*newest) + 1);
    key_file::link(path, &key_file::beside(path, &format!("{RETIRED}{number}")), &content)
}

/// The files named `path`, `infix` and a number from 1 on, the highest first.
fn numbered(path: &Path, infix: &str) -> Result<Vec<(u32, PathBuf)>> {
    let folder = key_file::folder_of(path);
    let failed = |source| Error::KeyFile { path: folder.to_owned(), action: "read", source };
    let start = key_file::beside(Path::new(path.file_name().unwrap_or_default()), infix);
    let number_of = |name: &[u8]| {
        let digits = std::str::from_utf8(name.strip_prefix(start.as_os_str().as_encoded_bytes())?).ok()?;
        // Written as we write it: `01` is another file.
        digits.parse::<u32>().ok().filter(|number| *number > 0 && number.to_string() == digits)
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(number) = number_of(name.as_encoded_bytes()) {
            files.push((number, path.with_file_name(name)));
        }
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    Ok(files)
}

fn exists(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::KeyFile { path: path.to_owned(), action: "read", source }),
    }
}

/// A link would be renamed or removed, and what it points to left as it is.
fn refuse_link(path: &Path, action: &'static str) -> Result<()> {
    let failed = |source| Error::KeyFile { path: path.to_owned(), action, source };
    if path.symlink_metadata().map_err(failed)?.is_symlink() {
        return Err(failed(io::Error::other("it is a link; give the path of the file itself")));
    }
    Ok(())
}

/// While the guard lives, nobody else changes the ring.
#[cfg(unix)]
fn alone(path: &Path) -> Result<fs::File> {
    refuse_link(path, "rotated")?;
    let failed = |source| Error::KeyFile { path: path.to_owned(), action: "rotated", source };
    let folder = fs::File::open(key_file::folder_of(path)).map_err(failed)?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(fs::TryLockError::WouldBlock) => {
            let reason = "another process is changing keys in its folder; try again when it is done";
            Err(failed(io::Error::new(io::ErrorKind::WouldBlock, reason)))
        }
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// A folder cannot be locked here; two rotations at once are up to the keyholder.
#[cfg(not(unix))]
fn alone(path: &Path) -> Result<()> {
    refuse_link(path, "rotated")
}
