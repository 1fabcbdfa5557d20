//! How many connections there are at a time, and which has to go for a new one: never one that waits for its answer.

use std::{
    collections::HashMap,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a client has to finish what it says, if others wait for its seat.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often is looked whether somebody's patience is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// All seats.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    by: HashMap<u64, Sitter>,
    next: u64,
    closing: bool,
}

#[derive(Debug)]
struct Sitter {
    stream: Arc<UnixStream>,
    doing: Doing,
    /// From when on it may be sent away, unless it waits for an answer.
    patience_ends: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Asking,
    Waiting,
    /// Sent away, and not gone yet.
    Leaving,
}

/// A seat, as long as a connection is served.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), taken: Mutex::default(), left: Condvar::new() })
    }

    /// Takes a seat, when there is one; sends away who has been silent for longest if there is none. None if that is asked
    /// to end first.
    pub(super) fn take(self: &Arc<Self>, stream: Arc<UnixStream>, end: impl Fn() -> bool) -> Option<Seat> {
        let mut taken = self.lock();
        while taken.by.len() >= self.most {
            if end() {
                return None;
            }
            taken.send_one_away();
            (taken, _) = self.left.wait_timeout(taken, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner);
        }
        let number = taken.next;
        taken.next += 1;
        let patience_ends = Instant::now() + PATIENCE;
        taken.by.insert(number, Sitter { stream, doing: Doing::Nothing, patience_ends });
        Some(Seat { seats: Arc::clone(self), number })
    }

    /// Sends away whoever says nothing, and waits until the others have their answers.
    pub(super) fn close(&self) {
        let mut taken = self.lock();
        taken.closing = true;
        let silent = taken.by.values_mut().filter(|sitter| sitter.doing == Doing::Nothing);
        silent.for_each(Sitter::send_away);
        while !taken.by.is_empty() {
            taken = self.left.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Who has been silent for longest, if anybody may go and nobody is going already.
    fn send_one_away(&mut self) {
        if self.by.values().any(|sitter| sitter.doing == Doing::Leaving) {
            return;
        }
        let now = Instant::now();
        let may_go = |sitter: &&mut Sitter| sitter.doing != Doing::Waiting && sitter.patience_ends <= now;
        let silent = self.by.values_mut().filter(may_go).min_by_key(|sitter| sitter.patience_ends);
        if let Some(sitter) = silent {
            sitter.send_away();
        }
    }
}

impl Sitter {
    /// Its thread finds that the other side hung up.
    fn send_away(&mut self) {
        self.doing = Doing::Leaving;
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Seat {
    /// Nothing is asked; false if the seat has to be left.
    pub(super) fn nothing(&self) -> bool {
        self.now(Doing::Nothing, Duration::ZERO)
    }

    /// Something is being asked; false if the seat was lost.
    pub(super) fn asking(&self) -> bool {
        self.now(Doing::Asking, PATIENCE)
    }

    /// It was asked; false if the seat was lost, and nobody would hear the answer.
    pub(super) fn waiting(&self) -> bool {
        self.now(Doing::Waiting, Duration::ZERO)
    }

    fn now(&self, doing: Doing, patience: Duration) -> bool {
        let mut taken = self.seats.lock();
        if taken.closing && doing == Doing::Nothing {
            return false;
        }
        let Some(sitter) = taken.by.get_mut(&self.number) else { return false };
        if sitter.doing == Doing::Leaving {
            return false;
        }
        sitter.doing = doing;
        sitter.patience_ends = Instant::now() + patience;
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().by.remove(&self.number);
        self.seats.left.notify_all();
    }
}
