//! A keyholder in another process, asked over its socket.

use std::{
    fmt::Display,
    io::{self, ErrorKind},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    Followed, Keyholder, Status, Step, StoreId,
    answer::{Answer, KeyholderError, SumAnswer},
    line::Line,
    wire::{self, MAX_MESSAGE_BYTES, Reply, Request},
};
use crate::influence::{EncryptedSignature, Query};

/// Connections that are kept between questions.
const MOST_KEPT: usize = 8;
/// What is asked about each memory is cut into portions of so many bytes, so that each is answered well within the time.
const PORTION_BYTES: usize = 16 << 20;
/// And of so many memories: what a keyholder takes if it is not configured otherwise.
const PORTION: usize = 4096;
const TIMEOUT: Duration = Duration::from_secs(10);

/// A keyholder in another process.
///
/// Connects when it is asked something, and keeps connections for the next questions, of any thread. A kept connection may turn
/// out to be dead, because the server was started anew or closed it; then it connects anew and asks once more. That is safe
/// even if the first question was heard: the same question is free while the keyholder remembers, and is charged once more
/// at worst.
#[derive(Debug)]
pub struct RemoteKeyholder {
    socket: PathBuf,
    timeout: Duration,
    /// Most memories that are asked about in one message.
    portion: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Another process, after a fork, must not talk on the same lines.
    process: u32,
    lines: Vec<Line>,
}

/// Why a connection brought no reply.
enum Lost {
    /// Hung up before anything was said; perhaps it was so before anything was asked.
    Unheard,
    /// What happened instead.
    Gone(String),
    /// Something came that is no reply.
    NotUnderstood(String),
}

impl RemoteKeyholder {
    /// Whoever serves at this socket. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: TIMEOUT,
            portion: AtomicUsize::new(PORTION),
            kept: Mutex::default(),
        }
    }

    /// Waits this long, and not 10 s, for a question to be taken, and as long for the reply to begin, and to end.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        // Nothing is done in no time, and the system takes 0 for ever.
        Self { timeout: timeout.max(Duration::from_millis(1)), ..self }
    }

    /// Where it is asked.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn ask(&self, request: &[u8]) -> Result<Reply, KeyholderError> {
        let reply = match self.exchange(request) {
            Ok(Reply::NotUnderstood(reason)) => {
                Err(Lost::NotUnderstood(format!("it does not understand the question: {reason}")))
            }
            Ok(Reply::No(error)) => return Err(error),
            other => other,
        };
        reply.map_err(|lost| self.error(lost))
    }

    fn exchange(&self, request: &[u8]) -> Result<Reply, Lost> {
        let kept = self.kept().lines.pop();
        if let Some(line) = kept {
            match self.ask_over(line, request, false) {
                // The others are as old, and most likely dead as well.
                Err(Lost::Unheard) => self.kept().lines.clear(),
                known => return known,
            }
        }
        let stream = UnixStream::connect(&self.socket).map_err(|error| Lost::Gone(unreachable(&error)))?;
        self.ask_over(Line::new(Arc::new(stream)), request, true)
    }

    fn ask_over(&self, mut line: Line, request: &[u8], new: bool) -> Result<Reply, Lost> {
        let within = self.timeout;
        let hello = wire::greeting();
        let said =
            if new { line.say(&hello, within) } else { Ok(()) }.and_then(|()| line.say(request, within));
        match said {
            // A server that closes before it was asked may have said why.
            Err(error) if !hung_up(&error) => return Err(lost(&error, within)),
            _ => {}
        }
        if new {
            match line.exactly(wire::GREETING_BYTES, within) {
                Ok(greeting) => wire::check_greeting(greeting).map_err(not_understood)?,
                Err(error) if hung_up(&error) => {
                    return Err(Lost::Gone("it hung up at once".to_owned()));
                }
                Err(error) => return Err(lost(&error, within)),
            }
        }
        match line.listen(within) {
            Ok(true) => {}
            Ok(false) => return Err(Lost::Unheard),
            Err(error) if hung_up(&error) => return Err(Lost::Unheard),
            Err(error) => return Err(lost(&error, within)),
        }
        let reply = match line.message(within) {
            Ok(message) => Reply::from_bytes(message).map_err(not_understood)?,
            Err(error) if hung_up(&error) => {
                return Err(Lost::Gone("it hung up in the middle of its answer".to_owned()));
            }
            Err(error) => return Err(lost(&error, within)),
        };
        let mut kept = self.kept();
        if said.is_ok() && !line.has_more() && kept.lines.len() < MOST_KEPT {
            kept.lines.push(line);
        }
        Ok(reply)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process::id();
        if kept.process != process {
            *kept = Kept { process, lines: Vec::new() };
        }
        kept
    }

    fn error(&self, lost: Lost) -> KeyholderError {
        let socket = self.socket.clone();
        match lost {
            Lost::Unheard => {
                KeyholderError::Gone { socket, reason: "it hung up without an answer".to_owned() }
            }
            Lost::Gone(reason) => KeyholderError::Gone { socket, reason },
            Lost::NotUnderstood(reason) => KeyholderError::NotUnderstood { socket, reason },
        }
    }

    /// It answered, and something else than it was asked.
    fn beside<T>(&self) -> Result<T, KeyholderError> {
        Err(self.error(Lost::NotUnderstood("it answers another question".to_owned())))
    }
}

impl Keyholder for RemoteKeyholder {
    /// Asks in portions where there are many. If one of them is not answered, none is, and those before it are charged.
    fn influence(
        &self,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError> {
        let mut answers = Vec::with_capacity(signatures.len());
        let mut left = signatures;
        loop {
            let most = self.portion.load(Ordering::Relaxed);
            // One signature always fits.
            let fitting =
                wire::fitting(left, 2 * query.dimension(), PORTION_BYTES).clamp(1, most).min(left.len());
            let (portion, rest) = left.split_at(fitting);
            match self.ask(&Request::influence(query, portion)) {
                Ok(Reply::Influence(some)) if some.len() == portion.len() => answers.extend(some),
                Ok(_) => return self.beside(),
                // It takes less than others do.
                Err(KeyholderError::TooMany { most, .. }) if (1..portion.len()).contains(&most) => {
                    self.portion.store(most, Ordering::Relaxed);
                    continue;
                }
                Err(error) => return Err(error),
            }
            left = rest;
            if left.is_empty() {
                return Ok(answers);
            }
        }
    }

    fn influence_of_set(
        &self,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError> {
        in_one_message(signatures, signatures.len(), 2 * query.dimension())?;
        self.ask(&Request::influence_of_set(query, signatures)).and_then(|reply| self.sum(&reply))
    }

    fn influence_of_all(&self, query: &Query, store: &StoreId) -> Result<SumAnswer, KeyholderError> {
        self.ask(&Request::influence_of_all(query, store)).and_then(|reply| self.sum(&reply))
    }

    fn followed(&self, store: &StoreId) -> Result<Followed, KeyholderError> {
        match self.ask(&Request::followed(store))? {
            Reply::Followed(followed) => Ok(followed),
            _ => self.beside(),
        }
    }

    fn follow(&self, store: &StoreId, step: Step<'_>) -> Result<(), KeyholderError> {
        in_one_message(step.admitted, step.admitted.len() + step.forgotten.len(), 32 * step.forgotten.len())?;
        match self.ask(&Request::follow(store, step))? {
            Reply::TakenIn => Ok(()),
            _ => self.beside(),
        }
    }

    fn status(&self) -> Result<Status, KeyholderError> {
        match self.ask(&Request::status())? {
            Reply::Status(status) => Ok(status),
            _ => self.beside(),
        }
    }
}

impl RemoteKeyholder {
    fn sum(&self, reply: &Reply) -> Result<SumAnswer, KeyholderError> {
        if let Reply::Sum(answer) = reply { Ok(*answer) } else { self.beside() }
    }
}

/// A sum and a step are asked in one, or not at all.
fn in_one_message(
    signatures: &[EncryptedSignature],
    asked: usize,
    others: usize,
) -> Result<(), KeyholderError> {
    let most = wire::fitting(signatures, others, MAX_MESSAGE_BYTES);
    if most < signatures.len() || others > MAX_MESSAGE_BYTES - 64 {
        return Err(KeyholderError::TooMany { asked, most });
    }
    Ok(())
}

fn not_understood(error: impl Display) -> Lost {
    Lost::NotUnderstood(error.to_string())
}

fn hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::WriteZero
    )
}

fn lost(error: &io::Error, within: Duration) -> Lost {
    match error.kind() {
        ErrorKind::InvalidData => Lost::NotUnderstood(error.to_string()),
        ErrorKind::TimedOut => Lost::Gone(format!("it says nothing within {within:?}")),
        _ => Lost::Gone(error.to_string()),
    }
}

fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such socket".to_owned(),
        ErrorKind::ConnectionRefused => "nobody listens at it any more".to_owned(),
        ErrorKind::InvalidInput => {
            "the path of a socket has at most 107 bytes, choose a shorter one".to_owned()
        }
        ErrorKind::PermissionDenied => "this user does not reach it".to_owned(),
        _ => error.to_string(),
    }
}
