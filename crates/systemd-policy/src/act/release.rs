//! Asking a process to release memory, and answering.
//!
//! # The protocol, version 1
//!
//! A Unix stream socket at a path that both know. The one who asks connects, writes one line and reads one line; then both
//! close. A line is a JSON object of at most 4096 bytes with its `\n`; keys that are not known are ignored.
//!
//! ```text
//! → {"v":1,"memory":"ram","release_bytes":268435456,"reason":"RAM is 91 % used"}
//! ← {"released_bytes":201326592,"note":"three layers were consolidated"}
//! ```
//!
//! `memory` is `ram` or `vram`, that of a graphics card; without it, `ram`. `release_bytes` is a wish: releasing less, or nothing, is
//! an answer too. `released_bytes` is what is free by the time of the
//! answer. The listener answers only root, its own user and users that it was told of (`SO_PEERCRED`); to others it closes.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials,
};
use serde::{Deserialize, Serialize};

use super::hands::Memory;
use crate::error::{Error, Result};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The longest line, in bytes, with its end.
pub const LONGEST_LINE: usize = 4096;

/// How long the one who asks may take to write its line.
const LINE_PATIENCE: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The version of the protocol.
    pub v: u32,
    /// Of which memory.
    #[serde(default)]
    pub memory: Memory,
    /// How much is to be released, in bytes.
    pub release_bytes: u64,
    /// Why.
    pub reason: String,
}

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How much was released, in bytes.
    pub released_bytes: u64,
    /// What else is to be said.
    #[serde(default)]
    pub note: String,
}

/// Asks at this socket to release so many bytes of this memory, and waits so long for the answer.
///
/// # Errors
///
/// [`Error::Refused`] if nobody listens there, or it does not answer in time or as it should.
pub fn ask(
    path: &Path,
    memory: Memory,
    release_bytes: u64,
    reason: &str,
    patience: Duration,
) -> Result<Answer> {
    let refused = |error: io::Error| {
        let next = "check that the service runs, listens there, and answers this user";
        Error::refused(format!("asking at {}", path.display()), error, next)
    };
    // So that the line is short enough whatever its reason.
    let reason: String = reason.chars().take(500).collect();
    let request = Request { v: VERSION, memory, release_bytes, reason };
    let answer = || -> io::Result<Answer> {
        let deadline = Instant::now() + patience;
        let mut stream = connected(path)?;
        write_line(&mut stream, &request, deadline)?;
        read_line(&mut stream, deadline)
    };
    answer().map_err(refused)
}

/// Connects without waiting: where too many wait already, it says so.
fn connected(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::Error::new(io::ErrorKind::TimedOut, "there was no answer in time"))
    } else {
        Ok(left)
    }
}

fn write_line(stream: &mut UnixStream, line: &impl Serialize, deadline: Instant) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(&line)
}

fn read_line<T: for<'de> Deserialize<'de>>(stream: &mut UnixStream, deadline: Instant) -> io::Result<T> {
    let mut line = [0; LONGEST_LINE];
    let mut length = 0;
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = match stream.read(&mut line[length..]) {
            // The end of the time is told by `left`.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                continue;
            }
            read => read?,
        };
        let end = line[length..length + read].iter().position(|byte| *byte == b'\n');
        if let Some(end) = end {
            return Ok(serde_json::from_slice(&line[..length + end])?);
        }
        length += read;
        let wrong = match read {
            0 if length == line.len() => "the line is longer than 4096 bytes",
            0 => "it was closed before the end of the line",
            _ => continue,
        };
        return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
    }
}

/// Listens where a process is asked to release memory. Removes its socket when it goes.
#[derive(Debug)]
pub struct ReleaseListener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket, by which it is known again.
    made: (u64, u64),
    users: Vec<u32>,
}

impl ReleaseListener {
    /// Listens at this path, for root and the own user. A socket that a dead process left there is replaced.
    ///
    /// Everybody may connect, so that a monitor without the right to override permissions can too; who is answered is decided by
    /// the peer's user.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the directory is not there or not writable, or if something else is at the path.
    pub fn bind(path: &Path) -> Result<Self> {
        let refused = |error: io::Error| {
            let next = "name a socket in a directory of its own below /run (RuntimeDirectory=)";
            Error::refused(format!("listening at {}", path.display()), error, next)
        };
        let taken = |what| refused(io::Error::new(io::ErrorKind::AddrInUse, what));
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(taken("there is something else"));
            }
            match connected(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(refused)?;
                }
                _ => return Err(taken("somebody listens there")),
            }
        }
        let listener = UnixListener::bind(path).map_err(refused)?;
        let made = identity(path).map_err(refused)?;
        let users = vec![0, nix::unistd::geteuid().as_raw()];
        let listening = Self { listener, path: path.to_owned(), made, users };
        listening.listener.set_nonblocking(true).map_err(refused)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(refused)?;
        Ok(listening)
    }

    /// Answers this user too.
    #[must_use]
    pub fn allow(mut self, uid: u32) -> Self {
        self.users.push(uid);
        self
    }

    /// Waits at most so long to be asked, and answers with what `release` does. `true` if somebody was answered. Those who are
    /// not to be answered, or do not keep to the protocol, are closed.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the socket cannot be listened at any more.
    pub fn answer_one(&self, patience: Duration, release: impl FnOnce(&Request) -> Answer) -> Result<bool> {
        let refused = |error: io::Error| {
            Error::refused(format!("listening at {}", self.path.display()), error, "bind it again")
        };
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(&self.listener), PollFlags::POLLIN)];
        match poll(&mut ready, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(refused(error.into())),
        }
        let mut stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(refused(error)),
        };
        // What goes wrong with one who asks is theirs to see.
        Ok(self.answer(&mut stream, release).is_ok())
    }

    fn answer(&self, stream: &mut UnixStream, release: impl FnOnce(&Request) -> Answer) -> io::Result<()> {
        let uid = getsockopt(stream, PeerCredentials)?.uid();
        if !self.users.contains(&uid) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this user is not answered"));
        }
        stream.set_nonblocking(false)?;
        let request: Request = read_line(stream, Instant::now() + LINE_PATIENCE)?;
        let answer = if request.v == VERSION {
            release(&request)
        } else {
            Answer {
                released_bytes: 0,
                note: format!("version {} is not spoken here, only {VERSION}", request.v),
            }
        };
        let note = answer.note.chars().take(500).collect();
        write_line(stream, &Answer { note, ..answer }, Instant::now() + LINE_PATIENCE)
    }
}

impl Drop for ReleaseListener {
    fn drop(&mut self) {
        // Somebody else may listen there by now.
        if identity(&self.path).is_ok_and(|there| there == self.made) {
            // If it cannot be removed, the next one to listen replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode of what is at a path.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn listening(directory: &tempfile::TempDir) -> (ReleaseListener, PathBuf) {
        let path = directory.path().join("release");
        (ReleaseListener::bind(&path).unwrap(), path)
    }

    #[test]
    fn what_is_asked_is_answered_and_the_socket_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let (listener, path) = listening(&directory);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let release = |request: &Request| Answer {
                    released_bytes: request.release_bytes / 2,
                    note: format!("{} because {}", request.memory, request.reason),
                };
                while !listener.answer_one(SOON, release).unwrap() {}
            });
            let answer = ask(&path, Memory::Vram, 1000, "it is full", SOON).unwrap();
            assert_eq!(answer, Answer { released_bytes: 500, note: "VRAM because it is full".to_owned() });
        });
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_somebody_else_has_put_in_its_place_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (first, path) = listening(&directory);
        // Beside the first, so that the second does not get its inode.
        let elsewhere = directory.path().join("second");
        let _second = UnixListener::bind(&elsewhere).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn a_user_that_is_not_known_is_not_answered() {
        let directory = tempfile::tempdir().unwrap();
        let (mut listener, path) = listening(&directory);
        listener.users.clear();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let answered = listener.answer_one(SOON, |_| panic!("it was asked all the same"));
                assert!(!answered.unwrap());
            });
            let error = ask(&path, Memory::Ram, 1, "", SOON).unwrap_err().to_string();
            assert!(error.contains("check that the service runs"), "{error}");
        });
    }

    #[test]
    fn nobody_there_and_nobody_who_answers_are_errors_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("release");
        assert!(ask(&path, Memory::Ram, 1, "", SOON).is_err());
        let _silent = UnixListener::bind(&path).unwrap();
        let error = ask(&path, Memory::Ram, 1, "", Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("no answer in time"), "{error}");
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("release");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, _) = listening(&directory);
        assert!(ReleaseListener::bind(&path).unwrap_err().to_string().contains("somebody listens there"));
        drop(listener);
        fs::write(&path, "a file").unwrap();
        assert!(ReleaseListener::bind(&path).unwrap_err().to_string().contains("something else"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }

    #[test]
    fn who_does_not_say_which_memory_means_ram() {
        let request: Request =
            serde_json::from_str(r#"{"v":1,"release_bytes":5,"reason":"","more":0}"#).unwrap();
        assert_eq!((request.memory, request.release_bytes), (Memory::Ram, 5));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bytes_that_are_no_request_are_closed_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
            let directory = tempfile::tempdir().unwrap();
            let (listener, path) = listening(&directory);
            let mut client = UnixStream::connect(&path).unwrap();
            // A listener that has read enough closes while more is written.
            client.set_nonblocking(true).unwrap();
            let _ = client.write_all(&bytes);
            let _ = client.shutdown(std::net::Shutdown::Write);
            let known = bytes.split(|byte| *byte == b'\n').next()
                .is_some_and(|line| serde_json::from_slice::<Request>(line).is_ok());
            prop_assert_eq!(listener.answer_one(SOON, |_| Answer::default()).unwrap(), known);
        }
    }
}
