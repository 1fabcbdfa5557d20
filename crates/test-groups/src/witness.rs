//! What memory says of itself while tests run: a file of JSON lines (`OMNIMIND_WITNESS`) to which programs append that they
//! consolidated a memory, brought one back, or went on with the processor.
//!
//! ```json
//! {"pid": 71, "at_unix_ms": 1790000000000, "event": "consolidated", "memory": "m-1", "bytes": 1048576}
//! ```
//!
//! Events: `consolidated`, `reactivated`, `rescued`, `cpu_fallback`. Others are passed over, and so are lines that say
//! something else: anybody may write there. `test`, the value of `OMNIMIND_TEST`, says which test it was; without it, the process
//! does.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

/// Where tests find the path of the file.
pub const VARIABLE: &str = "OMNIMIND_WITNESS";

/// A longer line says nothing that is known.
const MOST_LINE_BYTES: usize = 64 << 10;
/// So much is read at once; the rest next time.
const MOST_BYTES_AT_ONCE: u64 = 8 << 20;

/// What a process said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Statement {
    /// Its number.
    pub pid: u32,
    /// When it happened, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What happened.
    pub event: Happening,
    /// Which memory.
    #[serde(default)]
    pub memory: Option<String>,
    /// How many bytes of device memory it was about.
    #[serde(default)]
    pub bytes: u64,
    /// The value of `OMNIMIND_TEST` in that process.
    #[serde(default)]
    pub test: Option<String>,
}

/// What can happen to a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Happening {
    /// It was consolidated: its device memory is free.
    Consolidated,
    /// It was brought back.
    Reactivated,
    /// It was consolidated because memory ran out.
    Rescued,
    /// Something was done with the processor instead of the card.
    CpuFallback,
    /// What a later version says.
    #[serde(other)]
    Other,
}

/// Reads the file as it grows, in bounded memory.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    /// The beginning of a line whose end is not there yet.
    open: Vec<u8>,
    /// That line is too long to be known.
    passing: bool,
}

impl Witness {
    /// Makes the file, so that processes only have to append.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        Ok(Self { file: File::open(path)?, open: Vec::new(), passing: false })
    }

    /// What has been said since the last time.
    pub(crate) fn read(&mut self) -> Vec<Statement> {
        let mut bytes = Vec::new();
        // What cannot be read is not known; the test counts all the same.
        if (&self.file).take(MOST_BYTES_AT_ONCE).read_to_end(&mut bytes).is_err() {
            return Vec::new();
        }
        self.take(&bytes)
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<Statement> {
        let mut statements = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.open.len() + piece.len() > MOST_LINE_BYTES {
                (self.passing, self.open) = (true, Vec::new());
            }
            if !self.passing {
                self.open.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                let statement = serde_json::from_slice::<Statement>(&self.open).ok();
                statements.extend(statement.filter(|statement| statement.event != Happening::Other));
                (self.passing, self.open) = (false, Vec::new());
            }
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn witness() -> (tempfile::TempDir, Witness, File) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness.jsonl");
        let witness = Witness::create(&path).unwrap();
        let writer = File::options().append(true).open(path).unwrap();
        (directory, witness, writer)
    }

    const LINE: &str =
        "{\"pid\":1,\"at_unix_ms\":2,\"event\":\"consolidated\",\"memory\":\"m\",\"bytes\":3,\"later\":[]}\n";

    #[test]
    fn lines_count_once_and_when_they_are_whole() {
        let (_directory, mut witness, mut writer) = witness();
        let (first, second) = LINE.split_at(20);
        writer.write_all(first.as_bytes()).unwrap();
        assert_eq!(witness.read(), []);
        writer.write_all(second.as_bytes()).unwrap();
        let said = witness.read();
        assert_eq!((said.len(), said[0].bytes, said[0].event), (1, 3, Happening::Consolidated));
        assert_eq!(witness.read(), []);
    }

    #[test]
    fn broken_unknown_and_endless_lines_are_passed_over() {
        let (_directory, mut witness, mut writer) = witness();
        writer.write_all(b"\xff\n{}\n{\"pid\":1,\"at_unix_ms\":2,\"event\":\"danced\"}\n").unwrap();
        writer.write_all(&vec![b'{'; MOST_LINE_BYTES * 3]).unwrap();
        writer.write_all(b"\n").unwrap();
        writer.write_all(LINE.as_bytes()).unwrap();
        assert_eq!(witness.read().len(), 1);
        assert!(witness.open.capacity() <= MOST_LINE_BYTES * 2);
    }

    proptest! {
        #[test]
        fn whatever_is_written_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let (_directory, mut witness, _) = witness();
            witness.take(&bytes);
            witness.take(b"\n");
            prop_assert_eq!(witness.take(LINE.as_bytes()).len(), 1);
        }
    }
}
