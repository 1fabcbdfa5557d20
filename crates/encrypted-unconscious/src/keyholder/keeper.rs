//! A thread that makes durable, now and then, what was written meanwhile.

use std::{
    io,
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Acts some time after it was poked, however often that was. Dropped, it acts no more.
#[derive(Debug)]
pub(super) struct Keeper {
    poke: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// `act` says whether it wants to act again without being poked.
    pub(super) fn start(period: Duration, act: impl Fn() -> bool + Send + 'static) -> io::Result<Self> {
        let (poke, poked) = mpsc::sync_channel(1);
        let run = move || {
            let mut again = false;
            while again || poked.recv().is_ok() {
                let until = Instant::now() + period;
                loop {
                    match poked.recv_timeout(until.saturating_duration_since(Instant::now())) {
                        Ok(()) => {}
                        Err(RecvTimeoutError::Timeout) => break,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
                again = act();
            }
        };
        let thread = thread::Builder::new().name("keyholder-keeper".to_owned()).spawn(run)?;
        Ok(Self { poke: Some(poke), thread: Some(thread) })
    }

    pub(super) fn poke(&self) {
        if let Some(poke) = &self.poke {
            // Full: it is poked already.
            let _ = poke.try_send(());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.poke = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
