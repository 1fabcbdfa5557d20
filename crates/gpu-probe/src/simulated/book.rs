//! The book of a shared card: which process holds how much of it. A file, so that processes that know nothing else of each other
//! take part.
//!
//! Knows nothing of addresses and contents: those stay in each process.
//!
//! # Format
//!
//! UTF-8 text in lines of exactly 128 bytes: 127, filled up with spaces, and a line feed. At most 1 MiB.
//!
//! | line | says |
//! |---|---|
//! | first | `omnimind-card 1 CAPACITY`: what this is, its version, capacity of the card in bytes |
//! | every other | `PID STARTED BYTES NAME`: a process, when it began (field 22 of `/proc/PID/stat`), what it holds; or nothing but spaces |
//!
//! Whoever reads or writes it holds it locked (`flock`, exclusively) meanwhile, and writes whole lines in place: a line lies
//! within one page of the file, so that a process that is killed leaves it old or new. A process has one line; a line with
//! spaces is for the next one. Lines of processes that ended are blanked by whoever looks next, as a driver frees what a dead
//! process held. All that take part must see each other under their numbers: one machine, one container.
//!
//! Taking part in Python:
//!
//! ```python
//! import fcntl, os
//! with open(os.environ["OMNIMIND_SIMULATED_CARD"], "r+b") as book:
//!     fcntl.flock(book, fcntl.LOCK_EX)
//!     header, *lines = book.read().splitlines()
//!     free = int(header.split()[2]) - sum(int(line.split()[2]) for line in lines if line.strip())
//!     started = open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]
//!     if free >= 4096:  # else: out of memory
//!         at = next((i for i, line in enumerate(lines, 1) if not line.strip()), len(lines) + 1)
//!         book.seek(128 * at)
//!         book.write(f"{os.getpid()} {started} 4096 python".encode().ljust(127) + b"\n")
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::started;
use super::space::GRANULE_BYTES;
use crate::command_line::{command_line, presentable};
use crate::error::{Error, Result};
use crate::info::GpuProcess;

const LINE_BYTES: usize = 128;
const MOST_BYTES: usize = 1 << 20;
const MAGIC: &str = "omnimind-card";
const VERSION: &str = "1";
/// No card is larger: 64 TiB. Addresses of simulated cards have room for so much.
const MOST_CAPACITY_BYTES: u64 = 1 << 46;
/// How long to wait for another process that has the book locked. A turn takes microseconds; who takes longer was stopped.
const PATIENCE: Duration = Duration::from_secs(20);
const BETWEEN_TRIES: Duration = Duration::from_micros(200);
const PROC: &str = "/proc";

/// What a process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) pid: u32,
    /// In clock ticks since the machine began.
    started: u64,
    pub(super) bytes: u64,
    pub(super) name: String,
}

/// All that a book says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    capacity_bytes: u64,
    rows: Vec<Option<Row>>,
}

/// A book, as one card of this process takes part in it.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    file: File,
    capacity_bytes: u64,
    pid: u32,
    started: u64,
    name: String,
    /// What of this process's row is this card's: a process may have several cards on one book.
    written: u64,
}

/// A book that nobody else reads or writes until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'b> {
    book: &'b mut Book,
    rows: Vec<Option<Row>>,
}

impl Book {
    /// The book at `path`. `capacity_bytes` is for one that is not there yet, and must be that of one that is.
    pub(super) fn open(path: &Path, capacity_bytes: Option<u64>, name: &str) -> Result<Self> {
        let fail = |reason: String| Error::SharedCard { path: path.to_owned(), reason };
        let pid = std::process::id();
        let started = started(Path::new(PROC), pid)
            .ok_or_else(|| fail("this system does not tell when a process began (no /proc)".into()))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(capacity_bytes.is_some());
        let file = options.open(path).map_err(|error| fail(unopened(&error)))?;
        let mut book = Self {
            path: path.to_owned(),
            file,
            capacity_bytes: 0,
            pid,
            started,
            name: fitting(name),
            written: 0,
        };
        book.lock()?;
        let begun = book.begin(capacity_bytes);
        book.unlock();
        book.capacity_bytes = begun?;
        Ok(book)
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Waits until nobody else has the book, and reads it. Processes that ended are no longer in it.
    pub(super) fn turn(&mut self) -> Result<Turn<'_>> {
        if std::process::id() != self.pid {
            return Err(self.fail("it was opened before this process was forked; open it again"));
        }
        self.lock()?;
        let mut turn = Turn { rows: Vec::new(), book: self };
        let said = turn.book.read()?;
        if said.capacity_bytes != turn.book.capacity_bytes {
            return Err(turn.book.fail("its capacity is another than when it was opened"));
        }
        turn.rows = said.rows;
        turn.bury()?;
        Ok(turn)
    }

    /// Writes the first line of a book that is empty, checks one that is not, and returns its capacity.
    fn begin(&mut self, wanted: Option<u64>) -> Result<u64> {
        let wanted = wanted.map(|bytes| bytes - bytes % GRANULE_BYTES);
        let length = self.file.metadata().map_err(|error| self.fail(error.to_string()))?.len();
        match wanted {
            Some(bytes) if bytes > MOST_CAPACITY_BYTES => {
                Err(self.fail(format!("{bytes} bytes are more than a card can have (64 TiB)")))
            }
            Some(bytes) if length == 0 => {
                self.write_line(0, &format!("{MAGIC} {VERSION} {bytes}"))?;
                Ok(bytes)
            }
            _ => match (self.read()?.capacity_bytes, wanted) {
                (there, Some(wanted)) if there != wanted => {
                    Err(self.fail(format!("it is there already, with {there} bytes instead of {wanted}")))
                }
                (there, _) => Ok(there),
            },
        }
    }

    fn lock(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(self
                        .fail("another process has had it locked for 20 seconds; end or continue that one"));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(self.fail(format!("it cannot be locked: {error}")));
                }
            }
        }
    }

    fn unlock(&self) {
        // Closing the file would not do: between `fork` and `exec` a child has the same lock.
        drop(self.file.unlock());
    }

    fn read(&mut self) -> Result<Said> {
        let mut bytes = Vec::new();
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| {
            let limit = MOST_BYTES as u64 + 1;
            Read::by_ref(&mut self.file).take(limit).read_to_end(&mut bytes)
        });
        read.map_err(|error| self.fail(format!("it cannot be read: {error}")))?;
        parse(&bytes).map_err(|what| {
            self.fail(format!("it is damaged ({what}); remove it when nobody uses it, and it is made anew"))
        })
    }

    fn write_line(&mut self, at: usize, text: &str) -> Result<()> {
        let line = format!("{text:<width$}\n", width = LINE_BYTES - 1);
        debug_assert!(text.is_ascii() && line.len() == LINE_BYTES, "{text:?}");
        let written = self
            .file
            .seek(SeekFrom::Start((at * LINE_BYTES) as u64))
            .and_then(|_| self.file.write_all(line.as_bytes()));
        written.map_err(|error| self.fail(format!("it cannot be written: {error}")))
    }

    fn fail(&self, reason: impl Into<String>) -> Error {
        Error::SharedCard { path: self.path.clone(), reason: reason.into() }
    }
}

impl Drop for Book {
    /// What this card held is free for everybody.
    fn drop(&mut self) {
        if self.written > 0
            && let Ok(mut turn) = self.turn()
        {
            drop(turn.settle(0));
        }
    }
}

impl Turn<'_> {
    /// What other processes hold.
    pub(super) fn others(&self) -> Vec<Row> {
        let own = self.book.pid;
        self.rows.iter().flatten().filter(|row| row.pid != own).cloned().collect()
    }

    /// What this process holds through other cards on the same book.
    pub(super) fn beside_bytes(&self) -> u64 {
        self.own().map_or(0, |(_, bytes)| bytes.saturating_sub(self.book.written))
    }

    /// What is left for this card, with what it holds already.
    pub(super) fn limit_bytes(&self) -> u64 {
        let sum = |sum: u64, row: &Row| sum.saturating_add(row.bytes);
        let taken = self.others().iter().fold(self.beside_bytes(), sum);
        self.book.capacity_bytes.saturating_sub(taken)
    }

    /// Writes that this card holds all that is left. Done before memory is taken, and put right by [`settle`](Self::settle): a
    /// book that cannot be written refuses before, and one that cannot be put right says too much, never too little.
    pub(super) fn reserve(&mut self) -> Result<()> {
        self.settle(self.limit_bytes())
    }

    /// Writes that this card holds so many bytes.
    pub(super) fn settle(&mut self, held: u64) -> Result<()> {
        let own = self.own();
        let bytes = self.beside_bytes().saturating_add(held);
        if own.map_or(bytes == 0, |(_, there)| there == bytes) {
            self.book.written = held;
            return Ok(());
        }
        let row = Row { pid: self.book.pid, started: self.book.started, bytes, name: self.book.name.clone() };
        let at = own.map(|(at, _)| at).or_else(|| self.rows.iter().position(Option::is_none));
        let at = at.unwrap_or(self.rows.len());
        if (at + 2) * LINE_BYTES > MOST_BYTES {
            return Err(self.book.fail("no further process has room in it"));
        }
        let text = if bytes == 0 { String::new() } else { row.to_line() };
        self.book.write_line(at + 1, &text)?;
        if at == self.rows.len() {
            self.rows.push(None);
        }
        self.rows[at] = (bytes > 0).then_some(row);
        self.book.written = held;
        Ok(())
    }

    /// Blanks the lines of processes that ended.
    fn bury(&mut self) -> Result<()> {
        for at in 0..self.rows.len() {
            if self.rows[at].as_ref().is_some_and(|row| !self.is_alive(row)) {
                self.book.write_line(at + 1, "")?;
                self.rows[at] = None;
            }
        }
        Ok(())
    }

    /// Whether the process that wrote a line is still there, and not another one with its number.
    fn is_alive(&self, row: &Row) -> bool {
        let own = (row.pid == self.book.pid).then_some(self.book.started);
        own.or_else(|| started(Path::new(PROC), row.pid)) == Some(row.started)
    }

    /// The line of this process, and what it says.
    fn own(&self) -> Option<(usize, u64)> {
        let own = self.book.pid;
        let mut rows = self.rows.iter().enumerate();
        rows.find_map(|(at, row)| row.as_ref().filter(|row| row.pid == own).map(|row| (at, row.bytes)))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.book.unlock();
    }
}

impl Row {
    /// As a probe tells of it.
    pub(super) fn to_process(&self) -> GpuProcess {
        let mut process = GpuProcess::new(self.pid, Some(self.name.clone()), Some(self.bytes));
        process.command_line = command_line(Path::new(PROC), self.pid, &self.name);
        process
    }

    fn to_line(&self) -> String {
        format!("{} {} {} {}", self.pid, self.started, self.bytes, self.name)
    }
}

fn unopened(error: &io::Error) -> String {
    let next =
        if error.kind() == io::ErrorKind::NotFound { "; whoever shares a card makes it first" } else { "" };
    format!("it cannot be opened: {error}{next}")
}

/// A name that has room in a line beside the largest numbers.
fn fitting(name: &str) -> String {
    const NUMBERS_BYTES: usize = 10 + 1 + 20 + 1 + 20 + 1;
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let name: String = name.chars().map(plain).take(LINE_BYTES - 1 - NUMBERS_BYTES).collect();
    let name = name.trim().to_owned();
    if name.is_empty() { "?".to_owned() } else { name }
}

/// Reads a book; the error says where it is damaged.
fn parse(bytes: &[u8]) -> Result<Said, String> {
    if bytes.len() > MOST_BYTES || !bytes.len().is_multiple_of(LINE_BYTES) {
        return Err(format!(
            "{} bytes are no whole number of lines of {LINE_BYTES} up to 1 MiB",
            bytes.len()
        ));
    }
    let (lines, _) = bytes.as_chunks::<LINE_BYTES>();
    let mut lines = lines.iter().enumerate().map(|(at, line)| {
        let [text @ .., b'\n'] = line else { return Err(format!("line {} does not end", at + 1)) };
        let text = str::from_utf8(text).map_err(|_| format!("line {} is no text", at + 1))?;
        if text.contains('\n') { Err(format!("line {} is short", at + 1)) } else { Ok((at + 1, text)) }
    });
    let (_, header) = lines.next().ok_or("it is empty")??;
    let capacity_bytes = match header.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [MAGIC, VERSION, capacity] => capacity.parse().ok().filter(|&bytes| bytes <= MOST_CAPACITY_BYTES),
        _ => None,
    };
    let capacity_bytes = capacity_bytes.ok_or("its first line is not that of a card")?;
    let rows =
        lines.map(|line| line.and_then(|(at, text)| parse_row(at, text))).collect::<Result<Vec<_>, _>>()?;
    let mut seen: Vec<_> = rows.iter().flatten().map(|row: &Row| (row.pid, row.started)).collect();
    seen.sort_unstable();
    match seen.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("process {} has two lines", pair[0].0)),
        None => Ok(Said { capacity_bytes, rows }),
    }
}

fn parse_row(at: usize, text: &str) -> Result<Option<Row>, String> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let mut fields = text.splitn(4, ' ');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let numbers = (number().and_then(|pid| u32::try_from(pid).ok()), number(), number());
    let (Some(pid), Some(started), Some(bytes)) = numbers else {
        return Err(format!("line {at} does not name a process and its bytes"));
    };
    Ok(Some(Row { pid, started, bytes, name: presentable(fields.next().unwrap_or("?")) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> String {
        format!("{text:<127}\n")
    }

    #[test]
    fn what_is_said_is_read() {
        let text = line("omnimind-card 1 4096") + &line("7 99 512 a b") + &line("") + &line("8 100 1024 c");
        let said = parse(text.as_bytes()).unwrap();
        assert_eq!(said.capacity_bytes, 4096);
        let row = |pid, started, bytes, name: &str| Row { pid, started, bytes, name: name.to_owned() };
        assert_eq!(said.rows, [Some(row(7, 99, 512, "a b")), None, Some(row(8, 100, 1024, "c"))]);
    }

    #[test]
    fn every_way_to_be_damaged_has_its_words() {
        let header = line("omnimind-card 1 4096");
        for (text, words) in [
            (String::new(), "empty"),
            (line("omnimind-card 2 4096"), "first line"),
            (line("omnimind-card 1 -1"), "first line"),
            (line("omnimind-card 1 99999999999999999"), "first line"),
            (header.clone() + "7 99 512 a\n", "whole number of lines"),
            (header.clone() + &line("7 99 x a"), "line 2 does not name"),
            (header.clone() + &line("99999999999 1 2 a"), "line 2 does not name"),
            (header.clone() + &line("7 99 1 a") + &line("7 99 1 a"), "process 7 has two lines"),
            (header.clone() + &line("7 99 1\na"), "line 2 is short"),
            (header.clone() + &"x".repeat(LINE_BYTES), "line 2 does not end"),
            (header.repeat(MOST_BYTES / LINE_BYTES + 1), "up to 1 MiB"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{words:?} is missing from {error:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_book_reading_it_ends(
            rows in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u64>(), ".{0,12}"), 0..6),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            let mut bytes = line("omnimind-card 1 4096").into_bytes();
            for (pid, started, bytes_held, name) in &rows {
                let row = Row { pid: *pid, started: *started, bytes: *bytes_held, name: fitting(name) };
                bytes.extend(line(&row.to_line()).into_bytes());
            }
            let whole = parse(&bytes);
            let distinct: std::collections::HashSet<_> = rows.iter().map(|row| (row.0, row.1)).collect();
            prop_assert_eq!(whole.is_ok(), distinct.len() == rows.len());
            if let Ok(said) = whole {
                let read: Vec<_> = said.rows.iter().flatten().map(|row| (row.pid, row.started, row.bytes)).collect();
                let written: Vec<_> = rows.iter().map(|row| (row.0, row.1, row.2)).collect();
                prop_assert_eq!(read, written);
            }
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Err(words) = parse(&bytes) {
                prop_assert!(!words.is_empty());
            }
        }
    }
}
