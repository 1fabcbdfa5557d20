//! Opening: sealed bytes in, plaintext out. A chunk is authenticated before a byte of it is returned.
//!
//! `age` reads a hostile beginning without limit; here it is read first, with one.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor};

use crate::error::{Error, Result};

/// What a sealed stream begins with, and the only version there is.
const FIRST_LINE: &[u8] = b"age-encryption.org/v1\n";
/// The beginning takes some 200 to 600 bytes; this leaves room for a hundred recipients.
const MAX_BEGINNING_BYTES: usize = 16 * 1024;
/// Random bytes between the beginning and the first chunk.
const NONCE_BYTES: u64 = 16;
/// Plaintext of one chunk.
const CHUNK_BYTES: u64 = 64 * 1024;
/// What authenticates a chunk, at its end.
const TAG_BYTES: u64 = 16;

/// Gives the plaintext of a sealed stream. Its errors hold an [`Error`], which `Error::from` takes out.
pub struct OpenReader<R: Read> {
    inner: StreamReader<io::Chain<Cursor<Vec<u8>>, Watched<R>>>,
    watch: Arc<Watch>,
    beginning_bytes: u64,
    plain_bytes: u64,
    flaw: Option<Flaw>,
}

/// What was found wrong, so that it can be said again.
#[derive(Debug, Clone, Copy)]
enum Flaw {
    Truncated { at_byte: u64 },
    Damaged { from_byte: u64, to_byte: u64, at_end: bool },
    SourceFailed,
}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Truncated { at_byte } => Self::Truncated { at_byte },
            Flaw::Damaged { from_byte, to_byte, at_end } => Self::Damaged { from_byte, to_byte, at_end },
            Flaw::SourceFailed => Self::Io(io::Error::other("reading the sealed bytes failed before")),
        }
    }
}

impl<R: Read> OpenReader<R> {
    /// Opens with the first of the identities that fits, and says which one that is.
    pub(crate) fn new<'a>(
        identities: impl Iterator<Item = &'a age::x25519::Identity>,
        sealed: R,
    ) -> Result<(usize, Self)> {
        let mut source = BufReader::new(sealed);
        let beginning = read_beginning(&mut source)?;
        let beginning_bytes = beginning.len() as u64;
        // First with nothing behind it: `age` goes on reading where a line makes no sense, without limit.
        let nonce = [0; NONCE_BYTES as usize];
        if let Err(error) = Decryptor::new_buffered(Cursor::new(&beginning).chain(&nonce[..])) {
            return Err(match error {
                DecryptError::Io(_) => Error::NotSealed { reason: "its beginning is not what age writes" },
                other => refused(other),
            });
        }
        let watch = Arc::new(Watch::default());
        let whole = Cursor::new(beginning).chain(Watched { inner: source, watch: Arc::clone(&watch) });
        let decryptor = Decryptor::new_buffered(whole).map_err(|error| match error {
            DecryptError::Io(_) if watch.ended() => {
                Error::Truncated { at_byte: beginning_bytes + watch.bytes() }
            }
            other => refused(other),
        })?;
        if decryptor.is_scrypt() {
            return Err(Error::NotSealed { reason: "it is encrypted with a passphrase" });
        }
        // `age` asks for the next identity only if the one before does not fit.
        let mut asked = 0;
        let counted = identities.map(|identity| {
            asked += 1;
            identity as &dyn age::Identity
        });
        let inner = decryptor.decrypt(counted).map_err(refused)?;
        Ok((asked - 1, Self { inner, watch, beginning_bytes, plain_bytes: 0, flaw: None }))
    }

    /// What `age` could not make sense of, and where.
    fn diagnose(&self) -> Flaw {
        if self.watch.failed() {
            return Flaw::SourceFailed;
        }
        let chunk = self.plain_bytes / CHUNK_BYTES;
        let from_byte = self.beginning_bytes + NONCE_BYTES + chunk * (CHUNK_BYTES + TAG_BYTES);
        let to_byte = self.beginning_bytes + self.watch.bytes();
        let at_end = self.watch.ended();
        if at_end && to_byte <= from_byte {
            return Flaw::Truncated { at_byte: to_byte };
        }
        Flaw::Damaged { from_byte, to_byte, at_end }
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(flaw) = self.flaw {
            return Err(Error::from(flaw).into());
        }
        match self.inner.read(out) {
            Ok(count) => {
                self.plain_bytes += count as u64;
                Ok(count)
            }
            Err(error) => {
                let flaw = self.diagnose();
                self.flaw = Some(flaw);
                // The source knows best what is wrong with it.
                Err(if matches!(flaw, Flaw::SourceFailed) { error } else { Error::from(flaw).into() })
            }
        }
    }
}

impl<R: Read> fmt::Debug for OpenReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenReader")
            .field("plain_bytes", &self.plain_bytes)
            .field("flaw", &self.flaw)
            .finish_non_exhaustive()
    }
}

fn refused(error: DecryptError) -> Error {
    match error {
        DecryptError::NoMatchingKeys => Error::WrongKey,
        DecryptError::InvalidMac | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            Error::BeginningChanged
        }
        DecryptError::Io(error) => Error::from(error),
        _ => Error::NotSealed { reason: "its beginning is not what age writes" },
    }
}

/// Everything up to and with the line that authenticates the beginning.
fn read_beginning(source: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut beginning = Vec::new();
    read_line(source, &mut beginning, FIRST_LINE.len())?;
    if beginning != FIRST_LINE {
        return Err(what_is_it(&beginning));
    }
    loop {
        let line = beginning.len();
        read_line(source, &mut beginning, MAX_BEGINNING_BYTES)?;
        if !beginning[line..].ends_with(b"\n") {
            return Err(if beginning.len() < MAX_BEGINNING_BYTES {
                Error::Truncated { at_byte: beginning.len() as u64 }
            } else {
                Error::NotSealed { reason: "its beginning is far longer than age makes it" }
            });
        }
        if beginning[line..].starts_with(b"---") {
            return Ok(beginning);
        }
    }
}

/// Appends a line; without its end where the source or `limit` ends first.
fn read_line(source: &mut impl BufRead, line: &mut Vec<u8>, limit: usize) -> Result<()> {
    let room = limit.saturating_sub(line.len()) as u64;
    source.take(room).read_until(b'\n', line)?;
    Ok(())
}

fn what_is_it(start: &[u8]) -> Error {
    if start.is_empty() {
        return Error::NotSealed { reason: "it is empty" };
    }
    if FIRST_LINE.starts_with(start) {
        return Error::Truncated { at_byte: start.len() as u64 };
    }
    let reason = if start.starts_with(b"-----BEGIN AGE ENCRYP") {
        "it is ASCII-armoured age; remove the armour first"
    } else if start.starts_with(b"age-encryption.org/") {
        "it is of an age version that is not v1"
    } else {
        "it does not begin as age does"
    };
    Error::NotSealed { reason }
}

/// What happened to the source, told to the one who must explain a failure.
#[derive(Debug, Default)]
struct Watch {
    bytes: AtomicU64,
    ended: AtomicBool,
    failed: AtomicBool,
}

impl Watch {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The source, watched: counts bytes, and remembers its end and its failure.
struct Watched<R> {
    inner: BufReader<R>,
    watch: Arc<Watch>,
}

impl<R> Watched<R> {
    fn note_failure(watch: &Watch, error: &io::Error) {
        if error.kind() != io::ErrorKind::Interrupted {
            watch.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out).inspect_err(|error| Self::note_failure(&self.watch, error))?;
        self.watch.bytes.fetch_add(count as u64, Ordering::Relaxed);
        if count == 0 && !out.is_empty() {
            self.watch.ended.store(true, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl<R: Read> BufRead for Watched<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buffered = self.inner.fill_buf().inspect_err(|error| Self::note_failure(&self.watch, error))?;
        if buffered.is_empty() {
            self.watch.ended.store(true, Ordering::Relaxed);
        }
        Ok(buffered)
    }

    fn consume(&mut self, count: usize) {
        self.watch.bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.inner.consume(count);
    }
}
