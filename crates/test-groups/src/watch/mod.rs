//! Looks at the card while tests run, and says which test held what.
//!
//! A thread looks every 50 ms, and whenever a test begins or ends. Whose memory it is that a process holds is said by the mark
//! in its environment, else by the nearest of its parents that a test was started as.

mod board;
mod thin;
mod whose;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use board::{Board, Seen};

use crate::vram::Vram;

/// How long the beginning or the end of a test waits for a look; a driver that takes longer leaves a gap.
const PATIENCE: Duration = Duration::from_secs(2);

/// The thread that looks, and what it has seen of the group that runs.
#[derive(Debug)]
pub(crate) struct Watch {
    board: Arc<Mutex<Option<Board>>>,
    ask: Sender<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look as soon as there is a board.
    pub(crate) fn start(vram: Box<dyn Vram>, every: Duration) -> Self {
        let board = Arc::new(Mutex::new(None));
        let (ask, asked) = channel();
        let shared = Arc::clone(&board);
        let thread = thread::spawn(move || look_on(vram, every, &asked, &shared));
        Self { board, ask, thread: Some(thread) }
    }

    /// A group begins.
    pub(crate) fn begin_group(&self, board: Board) {
        *self.lock() = Some(board);
        self.look();
    }

    /// It ended: what was seen of it.
    pub(crate) fn end_group(&self) -> Option<Board> {
        self.look();
        self.lock().take()
    }

    /// A test begins: what is held now is what it finds. `process` is where it runs, if that is there already.
    pub(crate) fn begin_test(&self, test: usize, process: Option<u32>) {
        self.with(|board| board.begin(test, process));
        self.look();
    }

    /// What a test was started as is now known.
    pub(crate) fn is_process(&self, test: usize, process: u32) {
        self.with(|board| board.is_process(test, process));
    }

    /// A test ended: what is held now is what it left. What was seen of it.
    pub(crate) fn end_test(&self, test: usize) -> Option<Seen> {
        self.look();
        self.with(|board| board.end(test)).flatten()
    }

    /// Whatever is to be known of the group that runs; `None` between groups.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&mut Board) -> T) -> Option<T> {
        self.lock().as_mut().map(ask)
    }

    fn look(&self) {
        let (done, is_done) = channel();
        if self.ask.send(done).is_ok() {
            // Late is a gap, and so is never.
            let _ = is_done.recv_timeout(PATIENCE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Board>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        (self.ask, _) = channel();
        let Some(thread) = self.thread.take() else { return };
        // A driver that hangs does not keep the run from ending.
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // A panic of the reader was a gap from there on; the board says that nothing was seen.
            let _ = thread.join();
        }
    }
}

fn look_on(
    mut vram: Box<dyn Vram>,
    every: Duration,
    asked: &Receiver<Sender<()>>,
    shared: &Mutex<Option<Board>>,
) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = Instant::now() + every;
    loop {
        let mut waiting = Vec::new();
        match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(done) => waiting.push(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // One look serves all that asked before it began.
        waiting.extend(asked.try_iter());
        let device = lock().as_ref().map(Board::device);
        if let Some(device) = device {
            let seen = vram.look(device);
            if let Some(board) = lock().as_mut() {
                board.looked(seen);
            }
        }
        for done in waiting {
            // Whoever asked may have gone on.
            let _ = done.send(());
        }
        next = Instant::now() + every;
    }
}
