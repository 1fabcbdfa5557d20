//! The socket on which workers of pytest and tests behind the gate report and ask: JSON, a line each.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::Value;

/// A line beyond this ends the connection: none of ours is so long.
const MOST_LINE_BYTES: u64 = 16 << 20;
/// How often to look whether the run is over, in milliseconds.
const PATIENCE_MS: u8 = 50;

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A line, and how to answer it.
    Line(Peer, Value),
    /// The other side is gone.
    Gone(u64),
}

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) id: u64,
    stream: Arc<Mutex<UnixStream>>,
}

impl Peer {
    /// Answers with a line. Whoever is gone needs no answer.
    pub(crate) fn answer(&self, answer: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(answer) else { return };
        line.push(b'\n');
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // That it is gone is told by its end.
        let _ = stream.write_all(&line);
    }
}

/// Listens in a directory that only this user can enter, until it is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    over: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<(u64, UnixStream)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Socket {
    /// `heard` is called from threads of its own.
    pub(crate) fn listen(
        directory: &Path,
        heard: impl Fn(Incoming) + Send + Sync + Clone + 'static,
    ) -> io::Result<Self> {
        let path = directory.join("socket");
        let listener = UnixListener::bind(&path)?;
        let over = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(Vec::new()));
        let (is_over, connections) = (Arc::clone(&over), Arc::clone(&open));
        let thread = thread::spawn(move || accept(&listener, &is_over, &connections, &heard));
        Ok(Self { path, over, open, thread: Some(thread) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Somebody who calls wakes it; else it ends at its next look.
            let _ = UnixStream::connect(&self.path);
            let _ = thread.join();
        }
        for (_, stream) in self.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Ends the thread that reads it, and whoever waits on the other side.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn accept(
    listener: &UnixListener,
    over: &AtomicBool,
    open: &Arc<Mutex<Vec<(u64, UnixStream)>>>,
    heard: &(impl Fn(Incoming) + Send + Sync + Clone + 'static),
) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    while !over.load(Ordering::Acquire) {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(PATIENCE_MS)).unwrap_or(0) <= 0 {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        let (Ok(writer), Ok(handle)) = (stream.try_clone(), stream.try_clone()) else { continue };
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        open.lock().unwrap_or_else(PoisonError::into_inner).push((id, handle));
        let (heard, open) = (heard.clone(), Arc::clone(open));
        thread::spawn(move || {
            read(id, stream, &Arc::new(Mutex::new(writer)), &heard);
            open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != id);
            heard(Incoming::Gone(id));
        });
    }
}

fn read(id: u64, stream: UnixStream, writer: &Arc<Mutex<UnixStream>>, heard: &impl Fn(Incoming)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(MOST_LINE_BYTES).read_until(b'\n', &mut line);
        if read.is_err() || line.last() != Some(&b'\n') {
            return;
        }
        // A line that is no JSON is not from one of ours.
        let Ok(value) = serde_json::from_slice(&line) else { return };
        heard(Incoming::Line(Peer { id, stream: Arc::clone(writer) }, value));
    }
}
