//! Follows one process from its start to the end of all that it started: its output goes to the log as it comes, and is read
//! for what ran out of memory on the way, in constant memory.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::capture::Capture;
use super::log::Log;
use crate::process::{self, Mark, Members, Started};
use crate::vram::{Forensics, OutOfMemory};

/// How long to wait for output before looking whether the process is still there, in milliseconds.
const PATIENCE_MS: u8 = 50;
const CHECK_EVERY: Duration = Duration::from_millis(PATIENCE_MS as u64);

/// Asks for the end of a process and of all that belongs to it. Clones ask for the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The output of a process as far as it is kept. Clones share it.
pub(crate) type SharedCapture = Arc<Mutex<Capture>>;

/// What is needed to follow a process.
pub(crate) struct Follow<'a> {
    /// Who it is, in the log.
    pub(crate) name: String,
    pub(crate) mark: Mark,
    pub(crate) stop: Stop,
    pub(crate) log: &'a Log,
    pub(crate) capture: SharedCapture,
    /// Who reads the output; `None` if nobody does.
    pub(crate) forensics: Option<&'a dyn Forensics>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if nobody could find out.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) out_of_memory: Option<OutOfMemory>,
    /// Processes that outlived it and had to be ended.
    pub(crate) left_processes: u64,
}

impl Ended {
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// In words: `exit code 3`, `signal 11`.
    pub(crate) fn how(&self) -> String {
        match self.status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("exit code {code}"),
            Some((None, Some(signal))) => format!("signal {signal}"),
            _ => "an end nobody saw".to_owned(),
        }
    }
}

/// Returns when the process and all that belongs to it are gone.
pub(crate) fn follow(started: Started, how: &Follow<'_>) -> Ended {
    let mut live = Live {
        members: Members::of(started.child.id(), how.mark.clone()),
        child: started.child,
        output: started.output,
        status: None,
        reaped: false,
        left_processes: 0,
        checked: Instant::now(),
        how,
    };
    let out_of_memory = how.forensics.and_then(|forensics| forensics.out_of_memory(&mut live));
    let mut rest = vec![0; 64 << 10];
    // The reader may have seen enough before the end.
    while live.read(&mut rest).is_ok_and(|bytes| bytes > 0) {}
    live.wait();
    Ended { status: live.status, out_of_memory, left_processes: live.left_processes }
}

struct Live<'a> {
    child: Child,
    output: PipeReader,
    members: Members,
    status: Option<ExitStatus>,
    /// The child is gone, and so is what it left.
    reaped: bool,
    left_processes: u64,
    checked: Instant,
    how: &'a Follow<'a>,
}

impl Read for Live<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.check();
            let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(PATIENCE_MS)).map_err(io::Error::from);
            let ready = match ready {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                ready => ready? > 0,
            };
            if !ready {
                // Whoever still has the other end is no part of the test.
                if self.reaped {
                    return Ok(0);
                }
                continue;
            }
            let bytes = match self.output.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            self.how.log.write(&self.how.name, &buffer[..bytes]);
            self.how.capture.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..bytes]);
            return Ok(bytes);
        }
    }
}

impl Live<'_> {
    /// Now and then: has it ended, or is it to end?
    fn check(&mut self) {
        if self.reaped || self.checked.elapsed() < CHECK_EVERY {
            return;
        }
        self.checked = Instant::now();
        if self.how.stop.is_asked() {
            self.members.end();
            self.wait();
        } else if let Ok(Some(status)) = self.child.try_wait() {
            self.ended(Some(status));
        }
    }

    /// Until it has ended; its output has, or nobody reads it any more.
    fn wait(&mut self) {
        let mut pause = Duration::from_millis(1);
        while !self.reaped {
            match self.child.try_wait() {
                Ok(None) => {
                    if self.how.stop.is_asked() {
                        self.members.end();
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(CHECK_EVERY);
                }
                Ok(Some(status)) => self.ended(Some(status)),
                Err(_) => self.ended(None),
            }
        }
    }

    fn ended(&mut self, status: Option<ExitStatus>) {
        self.status = status;
        process::forget(self.child.id());
        self.left_processes += self.members.sweep();
        self.reaped = true;
    }
}

impl Drop for Live<'_> {
    /// Only if whoever reads panicked: nothing may stay behind.
    fn drop(&mut self) {
        if !self.reaped {
            self.members.end();
            self.wait();
        }
    }
}
