//! `keyholder init`: an identity for the one who may open what is sealed.

use std::fs;
use std::path::{Path, PathBuf};

use encrypted_unconscious::{Error, Identity};
use serde::Serialize;

use super::passphrase;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    public_key: String,
    public_key_file: String,
    identity_file: String,
    /// Whether the settings name this public key already.
    in_use: bool,
}

pub(super) fn run(
    session: &Session,
    identity: Option<PathBuf>,
    protected: bool,
    passphrase_file: Option<&Path>,
) -> Result<(), Failure> {
    let path = identity.unwrap_or_else(|| session.config().keyholder.identity.clone());
    // Before anybody thinks of a passphrase.
    if path.symlink_metadata().is_ok() {
        return Err(Failure::from_keyholder(Error::AlreadyExists { path }));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|source| Failure::Io {
        what: format!("{directory:?}"),
        source,
        next: "choose another path with --identity",
    })?;
    let secret = Identity::generate();
    let public = if protected || passphrase_file.is_some() {
        let passphrase = passphrase::new(passphrase_file).map_err(Failure::from_keyholder)?;
        secret.write_pair_with_passphrase(&path, &passphrase)
    } else {
        secret.write_pair(&path)
    }
    .map_err(Failure::from_keyholder)?;
    let answer = Answer {
        public_key: secret.recipient().to_string(),
        public_key_file: public.to_string_lossy().into_owned(),
        identity_file: path.to_string_lossy().into_owned(),
        in_use: public.to_string_lossy() == session.config().unconscious.keyholder,
    };
    session.output.result(&answer, |out| {
        writeln!(out, "{}", answer.public_key)?;
        writeln!(out, "  identity    {path:?}: secret; keep a copy where this machine cannot lose it")?;
        writeln!(out, "  public key  {public:?}")?;
        if answer.in_use {
            writeln!(out, "what is traumatic is sealed for it from now on")
        } else {
            writeln!(
                out,
                "to seal for it, put this into omnimind.toml:\n\n[unconscious]\nkeyholder = {public:?}"
            )
        }
    })
}
