//! `keyholder serve`: the process that holds the key, and answers. SIGTERM ends it, SIGHUP makes it read the key again.

use std::fs::{File, Metadata, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use encrypted_unconscious::keyholder::{Custody, KeyholderError, Server, ServerOptions, harden_process};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::passphrase::OfIdentity;
use super::place;
use crate::args::Key;
use crate::failure::Failure;
use crate::session::Session;

pub(super) fn run(
    session: &Session,
    key: &Key,
    socket: Option<PathBuf>,
    allow: &[u32],
) -> Result<(), Failure> {
    for missing in harden_process() {
        session.output.note(missing);
    }
    let socket = place::socket(session, socket);
    let table = &session.config().keyholder;
    let passphrase = key.passphrase(session);
    let ring = key.load_with(session, &passphrase)?;
    let mut alone = alone(key.identity(session))?;
    let public_key = ring.current().recipient().to_string();
    let custody = Custody::open(key.state(session), ring.into_identities(), table.custody.clone())
        .map_err(Failure::from_custody)?;
    let custody = Arc::new(custody);
    let allow = table.allow.iter().chain(allow).copied().collect();
    let options = ServerOptions { allow, ..ServerOptions::default() };
    let server = Server::bind(&socket, Arc::clone(&custody), options).map_err(Failure::from_custody)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|source| Failure::Io {
        what: "signals cannot be waited for".to_owned(),
        source,
        next: "try again",
    })?;
    let handle = signals.handle();
    let path = socket.to_string_lossy();
    session.output.result(&json!({"socket": path, "public_key": public_key}), |out| {
        writeln!(out, "{public_key}\n  answers at {socket:?} until it is stopped")
    })?;
    let stop = server.stop();
    thread::scope(|scope| {
        scope.spawn(|| {
            for signal in &mut signals {
                if signal != SIGHUP {
                    stop.stop();
                    break;
                }
                match reload(session, key, &passphrase, &custody, &mut alone) {
                    Ok(public_key) => session.output.note(format!("the key is {public_key} from now on")),
                    Err(failure) => session.output.note(format!("the key stays as it was: {failure}")),
                }
            }
        });
        let ended = server.serve();
        handle.close();
        ended
    })
    .map_err(Failure::from_custody)
}

/// Reads the key file again: it was exchanged.
fn reload(
    session: &Session,
    key: &Key,
    passphrase: &OfIdentity<'_>,
    custody: &Custody,
    alone_with: &mut File,
) -> Result<String, Failure> {
    let path = key.identity(session);
    let ring = key.load_with(session, passphrase)?;
    // Where the file is the same still, it is held already.
    if !is_same(alone_with, path) {
        *alone_with = alone(path)?;
    }
    let public_key = ring.current().recipient().to_string();
    custody.replace_keys(ring.into_identities()).map_err(Failure::from_custody)?;
    Ok(public_key)
}

/// Holds the key file, so that no second process serves the same key from another state directory with budgets of its own.
fn alone(identity: &Path) -> Result<File, Failure> {
    let io = |source| Failure::Io {
        what: format!("{identity:?} cannot be locked"),
        source,
        next: "keep the identity on a local file system",
    };
    let file = File::open(identity).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::from_custody(KeyholderError::Served { path: identity.to_owned() }))
        }
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn is_same(open: &File, path: &Path) -> bool {
    let of = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let (Ok(open), Ok(there)) = (open.metadata().map(of), path.metadata().map(of)) else { return false };
    open == there
}
