//! A keyholder for others: whoever is on the list asks it over a socket, and neither the slow nor the silent hold up anybody else.

mod desk;
mod peer;
mod place;
mod seats;
mod supervisor;
#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::{
    desk::Desk,
    place::Place,
    seats::{Seat, Seats},
};
use super::{
    Caller, Custody, Deed, Step,
    answer::{Answer, KeyholderError, Refusal},
    line::Line,
    wire::{self, Reply, Request, WireError},
};
use crate::influence::{EncryptedSignature, InfluenceError, Query};

/// Whom a server serves, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// User ids that may ask.
    pub allow: Vec<u32>,
    /// Whether the user whom the server runs as may ask, too.
    pub allow_own: bool,
    /// Connections at a time. For one more the one that is silent for longest is closed; if none is, it waits.
    pub most_connections: usize,
    /// A connection over which nothing is asked is closed after this.
    pub idle_timeout: Duration,
    /// A request, once begun, must have arrived within this, and its reply must be taken within this.
    pub request_timeout: Duration,
}

impl Default for ServerOptions {
    /// For the own user only, 64 connections, 5 minutes of silence, 10 s for a request.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_own: true,
            most_connections: 64,
            idle_timeout: Duration::from_mins(5),
            request_timeout: Duration::from_secs(10),
        }
    }
}

impl ServerOptions {
    /// For these users and nobody else, not even the own.
    #[must_use]
    pub fn only(allow: Vec<u32>) -> Self {
        Self { allow, allow_own: false, ..Self::default() }
    }
}

/// A keyholder at a socket.
#[derive(Debug)]
pub struct Server {
    place: Place,
    desk: Arc<dyn Desk>,
    options: ServerOptions,
    own_uid: u32,
    stop: Stop,
    stopped: UnixStream,
}

/// Ends a server, from any thread.
#[derive(Debug, Clone)]
pub struct Stop {
    stopping: Arc<AtomicBool>,
    wake: Arc<UnixStream>,
}

impl Stop {
    /// No more connections; what was asked is answered still. Returns at once.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = (&*self.wake).write(&[0]);
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl Server {
    /// Takes its place at a socket. The folder is made, for its owner alone, if there is none; a socket that nobody listens at any
    /// more is replaced. Nobody is answered before it [serves](Self::serve).
    ///
    /// # Errors
    /// [`KeyholderError::Served`] if another server has the place; [`KeyholderError::File`].
    pub fn bind(
        socket: &Path,
        custody: Arc<Custody>,
        options: ServerOptions,
    ) -> Result<Self, KeyholderError> {
        Self::bind_desk(socket, custody, options)
    }

    fn bind_desk(socket: &Path, desk: Arc<dyn Desk>, options: ServerOptions) -> Result<Self, KeyholderError> {
        let own_uid = nix::unistd::geteuid().as_raw();
        let for_others = !options.allow_own || options.allow.iter().any(|&uid| uid != own_uid);
        let place = Place::take(socket, for_others)?;
        let cannot = |source| KeyholderError::File { path: socket.to_owned(), action: "made", source };
        let (stopped, wake) = UnixStream::pair().map_err(cannot)?;
        wake.set_nonblocking(true).map_err(cannot)?;
        let stop = Stop { stopping: Arc::default(), wake: Arc::new(wake) };
        Ok(Self { place, desk, options, own_uid, stop, stopped })
    }

    /// What ends [`serve`](Self::serve).
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Answers until it is [stopped](Self::stop). Then what was asked is answered still, and the socket is removed.
    ///
    /// Says `READY=1` and `STOPPING=1` to `$NOTIFY_SOCKET`, where there is one.
    ///
    /// # Errors
    /// [`KeyholderError::File`] if the socket cannot be listened at any more, or it cannot be written down that it is served;
    /// [`KeyholderError::LedgerDamaged`].
    pub fn serve(self) -> Result<(), KeyholderError> {
        let seats = Seats::new(self.options.most_connections);
        self.desk.note(Caller::this_process(), Deed::Served)?;
        supervisor::tell("READY=1");
        let ended = loop {
            match self.next(&self.place.listener) {
                Ok(Some(stream)) => self.receive(stream, &seats),
                Ok(None) if self.stop.stopping() => break Ok(()),
                Ok(None) => {}
                Err(source) => {
                    break Err(KeyholderError::File {
                        path: self.place.path.clone(),
                        action: "read",
                        source,
                    });
                }
            }
        };
        supervisor::tell("STOPPING=1");
        drop(self.place);
        seats.close();
        ended.and(self.desk.note(Caller::this_process(), Deed::Stopped))
    }

    /// The next connection; none if there is no need to go on, or none yet.
    fn next(&self, listener: &UnixListener) -> io::Result<Option<UnixStream>> {
        let mut sources =
            [listener.as_fd(), self.stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.stop.stopping() {
            return Ok(None);
        }
        match listener.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Err(error),
            // The caller is gone, or the process has too many files open: that passes.
            Err(_) => {
                thread::sleep(Duration::from_millis(20));
                Ok(None)
            }
        }
    }

    fn receive(&self, stream: UnixStream, seats: &Arc<Seats>) {
        let Ok(caller) = peer::caller(&stream) else { return };
        let own = self.options.allow_own && caller.uid == self.own_uid;
        if !own && !self.options.allow.contains(&caller.uid) {
            self.turn_away(&stream, caller);
            return;
        }
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let stream = Arc::new(stream);
        let Some(seat) = seats.take(Arc::clone(&stream), || self.stop.stopping()) else { return };
        let connection = Connection {
            line: Line::new(stream),
            seat,
            caller,
            desk: Arc::clone(&self.desk),
            idle: self.options.idle_timeout,
            request: self.options.request_timeout,
        };
        // Where there is no thread for it, the connection is closed, and asks again later.
        let _ = thread::Builder::new().name("keyholder".to_owned()).spawn(move || connection.serve());
    }

    fn turn_away(&self, mut stream: &UnixStream, caller: Caller) {
        let reply = Reply::No(KeyholderError::NotAllowed { uid: caller.uid }).to_message();
        // A new connection has room for so little; if not, nobody is waited for.
        if stream.set_nonblocking(true).is_ok() {
            let _ = stream.write(&[&wire::greeting(), reply.as_slice()].concat());
            // What is left unread would be reported as an error instead of what was said.
            let _ = stream.read(&mut [0; 4096]);
        }
        // Where nothing can be written down, nothing is answered either, and whoever asks is told why.
        let reason = "not on the list of those who may ask".to_owned();
        let _ = self.desk.note(caller, Deed::Refused { reason });
    }
}

/// One connection, and its thread.
struct Connection {
    line: Line,
    caller: Caller,
    desk: Arc<dyn Desk>,
    idle: Duration,
    request: Duration,
    /// Left last: a server that has seen all leave has its desk for itself.
    seat: Seat,
}

impl Connection {
    /// Until the client hangs up, says what is no message, or nothing for too long.
    fn serve(mut self) {
        // A client that is gone is nothing that anybody needs to be told.
        let _ = self.converse();
    }

    fn converse(&mut self) -> io::Result<()> {
        self.line.say(&wire::greeting(), self.request)?;
        let greeting = self.line.exactly(wire::GREETING_BYTES, self.request)?;
        if wire::check_greeting(greeting).is_err() {
            return Ok(());
        }
        while self.line.listen(self.idle)? {
            if !self.line.has_message() && !self.seat.asking() {
                return Ok(());
            }
            let request = match self.line.message(self.request) {
                Ok(message) => Request::from_bytes(message),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return self
                        .line
                        .say(&Reply::NotUnderstood(error.to_string()).to_message(), self.request);
                }
                Err(error) => return Err(error),
            };
            if !self.seat.waiting() {
                return Ok(());
            }
            let reply = match request {
                Ok(request) => self.reply(request).unwrap_or_else(Reply::No),
                Err(WireError::Question(error)) => Reply::No(error.into()),
                Err(error @ WireError::NotUnderstood { .. }) => Reply::NotUnderstood(error.to_string()),
            };
            self.line.say(&reply.to_message(), self.request)?;
            if matches!(reply, Reply::NotUnderstood(_)) || !self.seat.nothing() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn reply(&self, request: Request) -> Result<Reply, KeyholderError> {
        let (desk, caller) = (&*self.desk, self.caller);
        Ok(match request {
            Request::Influence { query, signatures } => Reply::Influence(self.influence(&query, signatures)?),
            Request::InfluenceOfSet { query, signatures } => {
                Reply::Sum(desk.influence_of_set(caller, &query, &all(signatures)?)?)
            }
            Request::InfluenceOfAll { query, store } => {
                Reply::Sum(desk.influence_of_all(caller, &query, &store)?)
            }
            Request::Followed { store } => Reply::Followed(desk.followed(&store)?),
            Request::Follow { store, from, to, admitted, forgotten } => {
                // As one that cannot be opened.
                let admitted = admitted.into_iter().flatten().collect::<Vec<_>>();
                let step = Step { from, to, admitted: &admitted, forgotten: &forgotten };
                desk.follow(caller, &store, step)?;
                Reply::TakenIn
            }
            Request::Status => Reply::Status(desk.status()?),
        })
    }

    /// Asks about those that can be used, and puts the others back where they were.
    fn influence(
        &self,
        query: &Query,
        signatures: Vec<Result<EncryptedSignature, InfluenceError>>,
    ) -> Result<Vec<Answer>, KeyholderError> {
        let mut unusable = Vec::new();
        let mut usable = Vec::with_capacity(signatures.len());
        for (at, signature) in signatures.into_iter().enumerate() {
            match signature {
                Ok(signature) => usable.push(signature),
                Err(error) => unusable.push((at, Answer::Refused(error.into()))),
            }
        }
        if usable.is_empty() && !unusable.is_empty() {
            return Ok(unusable.into_iter().map(|(_, answer)| answer).collect());
        }
        let answers = self.desk.influence(self.caller, query, &usable)?;
        if unusable.is_empty() {
            return Ok(answers);
        }
        let mut answers = answers.into_iter();
        let mut woven = Vec::with_capacity(usable.len() + unusable.len());
        for (at, answer) in unusable {
            woven.extend(answers.by_ref().take(at - woven.len()));
            woven.push(answer);
        }
        woven.extend(answers);
        Ok(woven)
    }
}

/// All of them, or why one cannot be used.
fn all(
    signatures: Vec<Result<EncryptedSignature, InfluenceError>>,
) -> Result<Vec<EncryptedSignature>, KeyholderError> {
    let all = signatures.into_iter().collect::<Result<_, _>>();
    all.map_err(|error| KeyholderError::Refused(Refusal::from(error)))
}
