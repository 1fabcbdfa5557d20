//! Whole messages over a socket, each within a time. One write says a message, and one read is all that a short one takes.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use super::wire::MAX_MESSAGE_BYTES;

/// What is kept for reading between messages; a longer message has more while it is read.
const BUFFER_BYTES: usize = 16 << 10;
/// The system may wait for its time limit once for every few of its own buffers; this many bytes are few.
const WRITE_BYTES: usize = 256 << 10;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Line {
    stream: Arc<UnixStream>,
    buffer: Vec<u8>,
    /// Where what is not used yet lies in the buffer.
    start: usize,
    end: usize,
    /// What the socket waits at most, so that it is told only of changes.
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
}

impl Line {
    pub(super) fn new(stream: Arc<UnixStream>) -> Self {
        let buffer = vec![0; BUFFER_BYTES];
        Self { stream, buffer, start: 0, end: 0, read_limit: None, write_limit: None }
    }

    /// Sends all of it.
    pub(super) fn say(&mut self, message: &[u8], within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        let (mut left, mut limit) = (message, within);
        loop {
            if self.write_limit != Some(limit) {
                self.stream.set_write_timeout(Some(limit))?;
                self.write_limit = Some(limit);
            }
            match (&*self.stream).write(&left[..left.len().min(WRITE_BYTES)]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(in_time(error)),
            }
            if left.is_empty() {
                return Ok(());
            }
            limit = until(deadline)?;
        }
    }

    /// Waits for something to be said; false if the other side hung up instead.
    pub(super) fn listen(&mut self, within: Duration) -> io::Result<bool> {
        if self.start < self.end {
            return Ok(true);
        }
        (self.start, self.end) = (0, 0);
        if self.buffer.len() > BUFFER_BYTES {
            self.buffer = vec![0; BUFFER_BYTES];
        }
        Ok(self.read(within)? > 0)
    }

    /// The kind and the fields of the next message.
    ///
    /// An error of kind `InvalidData` if its length cannot be right, `UnexpectedEof` if the other side hung up before its end.
    pub(super) fn message(&mut self, within: Duration) -> io::Result<&[u8]> {
        let deadline = Instant::now() + within;
        let length = self.have(4, deadline)?;
        let length = u32::from_le_bytes(std::array::from_fn(|at| length[at])) as usize;
        if !(1..=MAX_MESSAGE_BYTES).contains(&length) {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a message is longer than one may be, or empty",
            ));
        }
        self.have(4 + length, deadline)?;
        let start = self.start + 4;
        self.start += 4 + length;
        Ok(&self.buffer[start..start + length])
    }

    /// Takes so many bytes, which are no message.
    pub(super) fn exactly(&mut self, bytes: usize, within: Duration) -> io::Result<&[u8]> {
        self.have(bytes, Instant::now() + within)?;
        let start = self.start;
        self.start += bytes;
        Ok(&self.buffer[start..start + bytes])
    }

    /// Whether the next message is here already, so that it is read without waiting.
    pub(super) fn has_message(&self) -> bool {
        let here = &self.buffer[self.start..self.end];
        let Some((&length, rest)) = here.split_first_chunk() else { return false };
        rest.len() >= u32::from_le_bytes(length) as usize
    }

    /// Whether more was said than was asked for.
    pub(super) fn has_more(&self) -> bool {
        self.start < self.end
    }

    /// At least so many bytes, from the first that is not used.
    fn have(&mut self, bytes: usize, deadline: Instant) -> io::Result<&[u8]> {
        while self.end - self.start < bytes {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.end == self.buffer.len() {
                // Grows with what has come, not with what was announced.
                self.buffer.resize(bytes.min(2 * self.end), 0);
            }
            if self.read(until(deadline)?)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn read(&mut self, within: Duration) -> io::Result<usize> {
        if self.read_limit != Some(within) {
            self.stream.set_read_timeout(Some(within))?;
            self.read_limit = Some(within);
        }
        loop {
            match (&*self.stream).read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(in_time(error)),
            }
        }
    }
}

/// How long until then; an error if that has passed.
fn until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < Duration::from_micros(1) { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket whose time limit passed says that it would block.
fn in_time(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}
