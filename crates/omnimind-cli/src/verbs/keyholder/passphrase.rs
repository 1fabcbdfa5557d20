//! Where a passphrase comes from: the first line of a file, or the terminal.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
#[cfg(all(unix, feature = "homomorphic"))]
use std::sync::OnceLock;

use encrypted_unconscious::Passphrase;
use zeroize::Zeroizing;

/// Far more than anybody types.
const MOST_BYTES: u64 = 4096;

/// The passphrase of an identity, fetched when it is first needed and asked for once.
#[cfg(all(unix, feature = "homomorphic"))]
pub(super) struct OfIdentity<'a> {
    identity: &'a Path,
    file: Option<&'a Path>,
    text: OnceLock<Zeroizing<String>>,
}

#[cfg(all(unix, feature = "homomorphic"))]
impl<'a> OfIdentity<'a> {
    pub(super) fn new(identity: &'a Path, file: Option<&'a Path>) -> Self {
        Self { identity, file, text: OnceLock::new() }
    }

    pub(super) fn get(&self) -> io::Result<Passphrase> {
        if self.text.get().is_none() {
            let text = match self.file {
                Some(file) => from_file(file),
                None => ask(&format!("Passphrase of {:?}: ", self.identity)),
            }?;
            drop(self.text.set(text));
        }
        passphrase(self.text.get().cloned().unwrap_or_default())
    }

    /// The passphrase, if it was needed so far.
    pub(super) fn if_needed(&self) -> io::Result<Option<Passphrase>> {
        self.text.get().cloned().map(passphrase).transpose()
    }
}

/// A new passphrase, typed twice.
pub(super) fn new(file: Option<&Path>) -> io::Result<Passphrase> {
    if let Some(file) = file {
        return passphrase(from_file(file)?);
    }
    let (first, second) = (ask("New passphrase: ")?, ask("Once more: ")?);
    if *first != *second {
        return Err(io::Error::other("the two passphrases differ; nothing was made"));
    }
    passphrase(first)
}

fn passphrase(text: Zeroizing<String>) -> io::Result<Passphrase> {
    Passphrase::new(text).map_err(io::Error::other)
}

fn from_file(file: &Path) -> io::Result<Zeroizing<String>> {
    let unreadable = |error| io::Error::other(format!("{file:?} cannot be read: {error}"));
    // Large enough from the start, so that no copy of it is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize + 1));
    File::open(file)
        .and_then(|opened| opened.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() as u64 > MOST_BYTES {
        let reason =
            format!("the first line of {file:?} is longer than {MOST_BYTES} bytes; is it the right file?");
        return Err(io::Error::other(reason));
    }
    match std::str::from_utf8(line) {
        Ok("") => Err(io::Error::other(format!(
            "the first line of {file:?} is empty; write the passphrase into it"
        ))),
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(_) => {
            Err(io::Error::other(format!("the first line of {file:?} is not text; is it the right file?")))
        }
    }
}

fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other(
            "a passphrase is needed and nobody can be asked for it; give it with --passphrase-file",
        ));
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}
