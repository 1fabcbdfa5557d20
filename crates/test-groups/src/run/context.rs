//! What all parts of a group's run share: where it runs, what its processes find in their environment, and small programs run to
//! their end on the way.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::capture::Capture;
use super::follow::{Ended, Follow, SharedCapture, Stop, follow};
use super::log::Log;
use crate::config::{Config, Group};
use crate::error::{Error, Result};
use crate::process::{self, Mark};
use crate::vram::Forensics;
use crate::witness;

/// How often to look whether the run is interrupted.
pub(crate) const TICK: Duration = Duration::from_millis(50);
const PATIENCE_MS: u8 = 50;

/// One group's run.
pub(crate) struct Context<'a> {
    pub(crate) group: &'a Group,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// The mark of the run.
    pub(crate) run: &'a str,
    pub(crate) log: &'a Log,
    pub(crate) witness: PathBuf,
    /// A directory for a socket and for the plugin, that only this user can enter.
    pub(crate) private: &'a Path,
    pub(crate) gate: Option<&'a Path>,
    pub(crate) forensics: &'a dyn Forensics,
    pub(crate) interrupted: &'a AtomicBool,
    pub(crate) began: Instant,
}

/// Why a group ends early.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It was told to.
    Told(String),
    /// Its runner could not do its part.
    Broken(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// A small program that ran to its end.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) ended: Ended,
    errors: SharedCapture,
}

impl Context<'_> {
    pub(crate) fn directory_of(config: &Config, group: &Group) -> PathBuf {
        let directory = config.root.join(&group.directory);
        // Runners compare paths; `a/./b` and links are spelled in one way.
        directory.canonicalize().unwrap_or(directory)
    }

    /// The words of the program: as configured, or the usual.
    pub(crate) fn program(&self, usual: &[&str]) -> Vec<String> {
        match self.group.program.as_slice() {
            [] => usual.iter().map(|word| (*word).to_owned()).collect(),
            words => words.to_vec(),
        }
    }

    /// A command in the group's directory and environment.
    pub(crate) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(self.resolved(words.first().map_or("", String::as_str)));
        command.args(words.iter().skip(1)).current_dir(&self.directory);
        self.environment(&mut command);
        command
    }

    /// What every process of the group finds in its environment.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env(witness::VARIABLE, &self.witness).envs(&self.group.environment);
    }

    /// A path with a `/` in it that is relative starts where the group runs, as a shell there would have it.
    fn resolved(&self, program: &str) -> PathBuf {
        if program.contains('/') { self.directory.join(program) } else { PathBuf::from(program) }
    }

    pub(crate) fn mark(&self, test: impl std::fmt::Display) -> Mark {
        Mark { run: self.run.to_owned(), test: format!("{}/{test}", self.group.name) }
    }

    /// Milliseconds since the group began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Why the group is to end now, if it is.
    pub(crate) fn told_to_end(&self) -> Option<String> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some("interrupted".to_owned());
        }
        let timeout = self.group.group_timeout.filter(|timeout| self.began.elapsed() > *timeout)?;
        Some(format!("the group took longer than {}", humantime::format_duration(timeout)))
    }

    /// Runs a small program to its end: what it says on stderr goes to the log, what it says on stdout to `read`.
    pub(crate) fn errand(
        &self,
        words: &[String],
        with: impl FnOnce(&mut Command),
        read: impl FnOnce(&mut dyn Read) + Send,
    ) -> Result<Errand, Halt> {
        let mut command = self.command(words);
        with(&mut command);
        let mark = self.mark("errand");
        let program = words.first().map_or("", String::as_str);
        let (started, output) =
            process::start_with_two_pipes(command, &mark).map_err(|error| self.missing(program, &error))?;
        let (stop, errors) = (Stop::default(), SharedCapture::default());
        let over = AtomicBool::new(false);
        let how = Follow {
            name: program.to_owned(),
            mark,
            stop: stop.clone(),
            log: self.log,
            capture: SharedCapture::clone(&errors),
            forensics: None,
        };
        let mut told = None;
        let ended = std::thread::scope(|scope| {
            let _end = StopAtEnd(&stop);
            let reader = scope.spawn(|| {
                let mut output = Output { pipe: output, over: &over };
                read(&mut output);
                // A reader that has seen enough does not stop the writer.
                let _ = io::copy(&mut output, &mut io::sink());
            });
            let follower = scope.spawn(|| {
                let ended = follow(started, &how);
                over.store(true, Ordering::Release);
                ended
            });
            while !follower.is_finished() {
                if told.is_none()
                    && let Some(reason) = self.told_to_end()
                {
                    stop.ask();
                    told = Some(reason);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            let ended = follower.join();
            let read = reader.join();
            read.and(ended)
        });
        if let Some(reason) = told {
            return Err(Halt::Told(reason));
        }
        match ended {
            Ok(ended) => Ok(Errand { ended, errors }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// An errand whose stdout is kept, up to so many bytes.
    pub(crate) fn errand_output(
        &self,
        words: &[String],
        with: impl FnOnce(&mut Command),
        most_bytes: u64,
    ) -> Result<(Errand, Vec<u8>), Halt> {
        let mut bytes = Vec::new();
        let errand = self.errand(words, with, |output| {
            // What could not be read is missing, and that is told by whoever parses it.
            let _ = output.take(most_bytes).read_to_end(&mut bytes);
        })?;
        Ok((errand, bytes))
    }

    /// The error for an errand that failed.
    pub(crate) fn failed(&self, program: &str, errand: &Errand) -> Error {
        let errors = errand.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let words = Capture::message(&errors).unwrap_or_default();
        self.broken(program, format!("{}\n{words}", errand.ended.how()).trim().to_owned())
    }

    /// The error for a runner that cannot do its part.
    pub(crate) fn broken(&self, program: &str, reason: impl Into<String>) -> Error {
        Error::Runner { group: self.group.name.clone(), program: program.to_owned(), reason: reason.into() }
    }

    fn missing(&self, program: &str, error: &io::Error) -> Error {
        Error::RunnerMissing {
            group: self.group.name.clone(),
            program: program.to_owned(),
            reason: error.to_string(),
            next_step: format!("install it, or set `program` of the group {:?}", self.group.name),
        }
    }
}

/// Whatever happens in a scope, the process that it waits for is told to end.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// The stdout of a process: it ends when all have closed it, or when the process is over and nothing more comes.
pub(crate) struct Output<'a> {
    pub(crate) pipe: PipeReader,
    pub(crate) over: &'a AtomicBool,
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let over = self.over.load(Ordering::Acquire);
            let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(PATIENCE_MS)).map_err(io::Error::from) {
                Ok(0) if over => return Ok(0),
                Ok(0) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
