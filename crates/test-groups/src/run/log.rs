//! The log of a group: all that its runner and its tests printed, as it came.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One file; several tests may write at once.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    /// Who wrote last.
    writer: String,
    line_begins: bool,
    failure: Option<String>,
}

impl Log {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        let inner = Inner { file, writer: String::new(), line_begins: true, failure: None };
        Ok(Self { path: path.to_owned(), inner: Mutex::new(inner) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What `writer` printed. Where another wrote before, a line says who it is now.
    pub(crate) fn write(&self, writer: &str, bytes: &[u8]) {
        let mut inner = self.inner();
        if inner.writer != writer {
            let line = format!("{}--- {writer}\n", if inner.line_begins { "" } else { "\n" });
            inner.put(line.as_bytes());
            writer.clone_into(&mut inner.writer);
        }
        inner.put(bytes);
    }

    /// A line of our own.
    pub(crate) fn line(&self, text: &str) {
        let mut inner = self.inner();
        let line = format!("{}=== {text}\n", if inner.line_begins { "" } else { "\n" });
        inner.writer.clear();
        inner.put(line.as_bytes());
    }

    /// Writes what is still on its way. Returns why not all of it is in the file, if that is so.
    pub(crate) fn finish(&self) -> Option<String> {
        let mut inner = self.inner();
        if let Err(error) = inner.file.flush() {
            inner.failed(&error);
        }
        inner.failure.as_ref().map(|why| format!("the log {} is not complete: {why}", self.path.display()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, bytes: &[u8]) {
        if self.failure.is_none()
            && let Err(error) = self.file.write_all(bytes)
        {
            self.failed(&error);
        }
        if let Some(last) = bytes.last() {
            self.line_begins = *last == b'\n';
        }
    }

    /// A full disk ends the log, not the tests.
    fn failed(&mut self, error: &io::Error) {
        self.failure.get_or_insert_with(|| error.to_string());
    }
}
