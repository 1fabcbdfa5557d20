//! `keyholder init`: an identity for the one who may open what is sealed. The only verb that ever sees a secret.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use encrypted_unconscious::Identity;
use serde_json::json;

use crate::failure::Failure;
use crate::session::Session;

pub(super) fn init(session: &Session, identity: Option<PathBuf>) -> Result<(), Failure> {
    let path = identity.unwrap_or_else(|| session.settings.directory.join("keyholder.key"));
    let public = path.with_extension("pub");
    if public == path {
        return Err(Failure::Usage(format!("--identity {path:?}: .pub is the ending of the public key; choose another")));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|source| io(directory, source))?;
    let secret = Identity::generate();
    let recipient = secret.recipient().to_string();
    // First what refuses to replace, so that a public key never stands beside a secret that it does not belong to.
    secret.write_new(&path).map_err(|error| Failure::Keyholder(error.to_string()))?;
    if let Err(source) = write_new(&public, &recipient) {
        // Nobody has seen this identity yet: without it, all is as before.
        drop(fs::remove_file(&path));
        return Err(io(&public, source));
    }
    let answer = json!({
        "identity": path.to_string_lossy(), "public_key_file": public.to_string_lossy(), "public_key": recipient,
    });
    session.output.result(&answer, |out| {
        writeln!(out, "{recipient}")?;
        writeln!(out, "secret identity {path:?}: keep a copy where this machine cannot lose it")?;
        writeln!(out, "public key {public:?}: what is traumatic is sealed for it from now on")?;
        if public.to_string_lossy() != session.config().unconscious.keyholder {
            writeln!(out, "to use it, set keyholder = {public:?} in the table [unconscious] of omnimind.toml")?;
        }
        Ok(())
    })
}

fn write_new(path: &Path, recipient: &str) -> std::io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    writeln!(file, "{recipient}")?;
    file.sync_all()
}

fn io(path: &Path, source: std::io::Error) -> Failure {
    Failure::Io { what: format!("{path:?}"), source, next: "choose another path with --identity" }
}
