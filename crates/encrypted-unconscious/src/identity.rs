//! The keyholder's secret, and the file it lives in. A sealing process never needs it.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::bundle::BundleReader;
use crate::error::{Error, Result};
use crate::key_file::{self, Access, Passphrase};
use crate::open::OpenReader;
use crate::recipient::Recipient;

/// A secret key. It is wiped from memory when dropped, and appears in no message: `Debug` shows the public
/// half.
pub struct Identity(age::x25519::Identity);

impl Identity {
    /// A new secret, from the system's random numbers.
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// The public half, for those who seal.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient::of(&self.0)
    }

    /// Writes the secret to a new file that only its owner may read (0600; on Windows, what the folder
    /// allows).
    /// The file is there whole and durable, or not at all.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] or [`Error::KeyFile`]; then there is no new file.
    pub fn write_new(&self, path: impl AsRef<Path>) -> Result<()> {
        key_file::write_new(path.as_ref(), &self.file_content(None)?, Access::Owner)
    }

    /// As [`write_new`](Self::write_new), encrypted with a passphrase as `age -p` does it: `age -d` decrypts
    /// the file.
    ///
    /// # Errors
    /// As [`write_new`](Self::write_new), and [`Error::CannotSeal`].
    pub fn write_new_with_passphrase(&self, path: impl AsRef<Path>, passphrase: &Passphrase) -> Result<()> {
        key_file::write_new(path.as_ref(), &self.file_content(Some(passphrase))?, Access::Owner)
    }

    /// What is in the identity's file.
    pub(crate) fn file_content(&self, passphrase: Option<&Passphrase>) -> Result<Zeroizing<Vec<u8>>> {
        let secret = self.0.to_string();
        let text =
            Zeroizing::new(format!("# public key: {}\n{}\n", self.recipient(), secret.expose_secret()));
        Ok(Zeroizing::new(match passphrase {
            Some(passphrase) => key_file::encrypt(text.as_bytes(), passphrase)?,
            None => text.as_bytes().to_vec(),
        }))
    }

    /// Writes the secret to `path` and the public key to `path` + `.pub`, and returns the latter's path.
    ///
    /// The secret comes first: a public key without its secret would seal what nobody can open.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] or [`Error::KeyFile`]; then neither file is new.
    pub fn write_pair(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        self.write_both(path.as_ref(), None)
    }

    /// As [`write_pair`](Self::write_pair), with the secret encrypted as
    /// [`write_new_with_passphrase`](Self::write_new_with_passphrase) does it. The public key stays readable.
    ///
    /// # Errors
    /// As [`write_pair`](Self::write_pair), and [`Error::CannotSeal`].
    pub fn write_pair_with_passphrase(
        &self,
        path: impl AsRef<Path>,
        passphrase: &Passphrase,
    ) -> Result<PathBuf> {
        self.write_both(path.as_ref(), Some(passphrase))
    }

    fn write_both(&self, path: &Path, passphrase: Option<&Passphrase>) -> Result<PathBuf> {
        let public = key_file::beside(path, ".pub");
        if public.symlink_metadata().is_ok() {
            return Err(Error::AlreadyExists { path: public });
        }
        key_file::write_new(path, &self.file_content(passphrase)?, Access::Owner)?;
        self.recipient().write_new(&public).inspect_err(|_| {
            // Nobody has seen this identity yet: without it, all is as before.
            let _ = std::fs::remove_file(path);
        })?;
        Ok(public)
    }

    /// Reads the secret from a file, such as [`write_new`](Self::write_new) or `age-keygen` makes.
    ///
    /// # Errors
    /// [`Error::Insecure`] where others than its owner may use the file; [`Error::PassphraseNeeded`];
    /// [`Error::KeyFile`]; [`Error::NotAnIdentity`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::load_asking(path, || Err(Error::PassphraseNeeded { path: path.to_owned() }))
    }

    /// As [`load`](Self::load), also from a file that is encrypted with a passphrase, such as
    /// [`write_new_with_passphrase`](Self::write_new_with_passphrase) or `age -p` makes. `ask` is called for
    /// the passphrase only if there is one. Trying it takes about a second and 256 MiB of memory, and never
    /// more than some seconds and 1 GiB.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`Error::PassphraseNotGiven`] where `ask` fails; [`Error::WrongPassphrase`].
    pub fn load_with(path: impl AsRef<Path>, ask: impl FnOnce() -> io::Result<Passphrase>) -> Result<Self> {
        let path = path.as_ref();
        let not_given = |source| Error::PassphraseNotGiven { path: path.to_owned(), source };
        Self::load_asking(path, || ask().map_err(not_given))
    }

    pub(crate) fn load_asking(path: &Path, ask: impl FnOnce() -> Result<Passphrase>) -> Result<Self> {
        let mut content = key_file::read_bytes(path, Access::Owner)?;
        if key_file::is_encrypted(&content) {
            content = key_file::decrypt(path, &content, ask)?;
        }
        let text = std::str::from_utf8(&content).map_err(|_| "it is not text");
        text.and_then(parse).map_err(|reason| Error::NotAnIdentity { path: path.to_owned(), reason })
    }

    /// Opens what was sealed for [`recipient`](Self::recipient). Every byte that the reader returns is
    /// authentic; only after it returned the end is it certain that nothing is missing.
    ///
    /// # Errors
    /// [`Error::NotSealed`], [`Error::WrongKey`], [`Error::BeginningChanged`], [`Error::Truncated`] or
    /// [`Error::Io`].
    pub fn open<R: Read>(&self, sealed: R) -> Result<OpenReader<R>> {
        Ok(OpenReader::new(std::iter::once(&self.0), sealed)?.1)
    }

    pub(crate) fn as_age(&self) -> &age::x25519::Identity {
        &self.0
    }

    /// Opens a sealed [bundle](crate::bundle) and reads its header.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`BundleReader::new`].
    pub fn open_bundle<R: Read>(&self, sealed: R) -> Result<BundleReader<OpenReader<R>>> {
        BundleReader::new(self.open(sealed)?)
    }
}

fn parse(text: &str) -> Result<Identity, &'static str> {
    if text.starts_with("-----BEGIN AGE") {
        return Err("it is encrypted, and written as text; decrypt it with `age -d` first");
    }
    let line = key_file::only_line(text)?;
    if line.starts_with("age1") {
        return Err("it is a public key; the identity is in the file without .pub");
    }
    line.parse().map(Identity).map_err(|_| "it does not hold an X25519 secret key (AGE-SECRET-KEY-1…)")
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {}", self.recipient())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret_of(identity: &Identity) -> String {
        identity.0.to_string().expose_secret().to_owned()
    }

    #[test]
    fn a_pair_is_written_and_read_back_and_only_the_owner_may_read_the_secret() {
        // R19
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyholder.key");
        let identity = Identity::generate();
        let public = identity.write_pair(&path).unwrap();
        assert_eq!(public, folder.path().join("keyholder.key.pub"));
        assert_eq!(secret_of(&Identity::load(&path).unwrap()), secret_of(&identity));
        assert_eq!(Recipient::load(&public).unwrap(), identity.recipient());
        assert!(!std::fs::read_to_string(&public).unwrap().contains("SECRET"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        }
        let again = Identity::generate().write_pair(&path).unwrap_err();
        assert!(matches!(again, Error::AlreadyExists { .. }));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_public_key_in_the_way_leaves_no_identity_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(folder.path().join("key.pub"), "old").unwrap();
        assert!(Identity::generate().write_pair(&path).is_err());
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn an_identity_that_others_may_use_is_refused_with_the_fix() {
        // R19
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        Identity::generate().write_new(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644, 0o677] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = Identity::load(&path).unwrap_err();
            assert!(matches!(error, Error::Insecure { mode: found, .. } if found == mode));
            assert!(error.to_string().contains(&format!("chmod 600 {path:?}")), "{error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        Identity::load(&path).unwrap();
    }

    #[test]
    fn the_secret_is_in_no_message() {
        // R19
        let identity = Identity::generate();
        let secret = secret_of(&identity);
        let body = &secret["AGE-SECRET-KEY-1".len()..];
        assert!(!format!("{identity:?} {identity:#?}").contains(body));
        let mut broken = secret.clone();
        broken.pop();
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("broken", broken.clone()),
            ("two", format!("{secret}\n{secret}")),
            ("joined", format!("{secret}{secret}")),
        ] {
            let path = folder.path().join(name);
            key_file::write_new(&path, &text, Access::Owner).unwrap();
            let error = Identity::load(&path).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(&body[..8]), "{error:?}");
        }
        let error = secret.parse::<Recipient>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&body[..8]), "{error:?}");
    }

    #[test]
    fn the_wrong_file_is_named_for_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let public = Identity::generate().recipient().to_string();
        for (name, text, words) in [
            ("public", public.as_str(), "public key"),
            ("empty", "", "no key"),
            ("armoured", "-----BEGIN AGE ENCRYPTED FILE-----\n", "age -d"),
            ("other", "ssh-ed25519 AAAA", "X25519 secret key"),
        ] {
            let path = folder.path().join(name);
            key_file::write_new(&path, text, Access::Owner).unwrap();
            let error = Identity::load(&path).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(name), "{error}");
        }
    }
}
