//! The first worker of pytest says what there is, and then goes on to work: collecting imports all that the tests import, which is
//! not to be paid for twice.

use std::sync::PoisonError;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::Scope;

use serde_json::Value;

use super::context::{Context, Halt, TICK};
use super::dispatcher::{Inbox, Message};
use super::pull::LiveWorker;
use super::socket::{Incoming, Socket};
use crate::error::Error;
use crate::runners::{Listed, pytest};

/// A worker that has collected, and asks for its first test as soon as it is answered.
#[derive(Debug)]
pub(super) struct FirstWorker {
    pub(super) socket: Socket,
    pub(super) live: LiveWorker,
    /// Its connection.
    pub(super) peer: Option<u64>,
}

/// What it says until all is collected.
#[derive(Debug, Default)]
struct Collected {
    suite: pytest::Suite,
    peer: Option<u64>,
}

/// Starts it, and hears it until all is collected. What it says after that stays in the inbox. Tests that cannot be collected are no
/// reason to fail here.
pub(super) fn list<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    context: &'env Context<'env>,
    inbox: &Inbox,
) -> Result<(pytest::Suite, Vec<Listed>, FirstWorker), Halt> {
    let file = |source| Error::File { path: context.private.to_owned(), source };
    pytest::write_plugin(context)?;
    let messages = inbox.sender.clone();
    let heard = move |incoming| {
        // Nobody listens only once the group is over.
        let _ = messages.send(Message::Heard(incoming));
    };
    let socket = Socket::listen(context.private, heard).map_err(file)?;
    let live = LiveWorker::start(scope, context, &inbox.sender, &socket, 0)
        .map_err(|error| context.broken("pytest", format!("it cannot be started: {error}")))?;
    let first = FirstWorker { socket, live, peer: None };
    match hear(context, inbox, &first) {
        Ok(Collected { suite, peer }) => {
            let tests = suite.listed();
            Ok((suite, tests, FirstWorker { peer, ..first }))
        }
        Err(halt) => {
            first.live.stop.ask();
            Err(halt)
        }
    }
}

fn hear(context: &Context<'_>, inbox: &Inbox, first: &FirstWorker) -> Result<Collected, Halt> {
    let mut collected = Collected::default();
    loop {
        if let Some(reason) = context.told_to_end() {
            return Err(Halt::Told(reason));
        }
        match inbox.receiver.recv_timeout(TICK) {
            Ok(Message::Heard(Incoming::Line(peer, line))) => {
                if line["event"] == "hello" {
                    collected.peer = Some(peer.id);
                }
                if collected.peer == Some(peer.id) && collected.suite.heard(&line) {
                    peer.answer(&Value::Null);
                    return Ok(collected);
                }
            }
            Ok(Message::Worker { ended, .. }) => {
                let capture = first.live.capture.lock().unwrap_or_else(PoisonError::into_inner);
                let words = capture.message().unwrap_or_default();
                let reason = format!("{}\n{words}", ended.how());
                return Err(context.broken("pytest, while it collected", reason.trim()).into());
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            // Not while the inbox holds a sender.
            Err(RecvTimeoutError::Disconnected) => {
                return Err(context.broken("pytest", "nobody says how it ended").into());
            }
        }
    }
}
