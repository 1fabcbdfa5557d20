//! `keyholder serve`: the process that holds the key, and answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use encrypted_unconscious::keyholder::{Custody, Server, ServerOptions, harden_process};
use serde_json::json;
use signal_hook::iterator::Signals;

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
    let ring = key.load(session)?;
    let public_key = ring.current().recipient().to_string();
    let custody = Custody::open(key.state(session), ring.into_identities(), table.custody.clone())
        .map_err(Failure::from_custody)?;
    let allow = table.allow.iter().chain(allow).copied().collect();
    let options = ServerOptions { allow, ..ServerOptions::default() };
    let server = Server::bind(&socket, Arc::new(custody), options).map_err(Failure::from_custody)?;
    let stop = server.stop();
    let signals = Signals::new([libc::SIGTERM, libc::SIGINT]);
    let mut signals = signals.map_err(|source| Failure::Io {
        what: "signals cannot be waited for".to_owned(),
        source,
        next: "try again",
    })?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            stop.stop();
        }
    });
    let path = socket.to_string_lossy();
    session.output.result(&json!({"socket": path, "public_key": public_key}), |out| {
        writeln!(out, "{public_key}\n  answers at {socket:?} until it is stopped")
    })?;
    server.serve().map_err(Failure::from_custody)
}
