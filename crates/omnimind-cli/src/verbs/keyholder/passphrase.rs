//! Where a passphrase comes from: the first line of a file, or the terminal.

use std::cell::OnceCell;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use encrypted_unconscious::Passphrase;
use zeroize::Zeroizing;

/// The passphrase of an identity, fetched when it is first needed and asked for once.
pub(super) struct OfIdentity<'a> {
    identity: &'a Path,
    file: Option<&'a Path>,
    text: OnceCell<Zeroizing<String>>,
}

impl<'a> OfIdentity<'a> {
    pub(super) fn new(identity: &'a Path, file: Option<&'a Path>) -> Self {
        Self { identity, file, text: OnceCell::new() }
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
    let text = Zeroizing::new(fs::read_to_string(file).map_err(unreadable)?);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other(
            "a passphrase is needed and nobody can be asked for it; give it with --passphrase-file",
        ));
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}
