//! Reads small files again and again with the same memory.

use std::fmt::{Display, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What is read at once. Nearly all files are shorter.
const PIECE: usize = 8 << 10;
/// What is read of a file at most; the rest is left. Lists of processes are the longest: these are 100 000 of them.
const MOST: usize = 1 << 20;

/// Memory for a path and the contents of a file.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    path: String,
    bytes: Vec<u8>,
}

impl Reader {
    /// All of a file, up to 1 MiB.
    pub(crate) fn all(&mut self, path: &Path) -> io::Result<&[u8]> {
        read(path, &mut self.bytes, |_, read| read == 0)
    }

    /// All of a file that the kernel writes at once: a read that does not fill the buffer was the last.
    pub(crate) fn once(&mut self, path: &Path) -> io::Result<&[u8]> {
        read(path, &mut self.bytes, |room, read| read < room)
    }

    /// As [`once`](Self::once), for the file of a process.
    pub(crate) fn of_process(&mut self, proc: &Path, pid: impl Display, file: &str) -> io::Result<&[u8]> {
        self.path.clear();
        // Paths that are not UTF-8 are not those of a kernel's files, and are not found.
        let written = write!(self.path, "{}/{pid}/{file}", proc.display());
        written.map_err(io::Error::other)?;
        read(Path::new(&self.path), &mut self.bytes, |room, read| read < room)
    }
}

fn read<'a>(
    path: &Path,
    bytes: &'a mut Vec<u8>,
    ended: impl Fn(usize, usize) -> bool,
) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    let mut filled = 0;
    while filled < MOST {
        if bytes.len() < filled + PIECE {
            bytes.resize(filled + PIECE, 0);
        }
        let room = bytes.len().min(MOST) - filled;
        let Some(free) = bytes.get_mut(filled..filled + room) else { break };
        match file.read(free) {
            Ok(read) => {
                filled += read;
                if ended(room, read) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes.get(..filled).unwrap_or_default())
}

/// The path that a cgroup's name, such as `/system.slice/a.service`, has below a root.
pub(crate) fn below(root: &Path, name: &str) -> PathBuf {
    root.join(name.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_are_read_whole_up_to_the_most() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut reader = Reader::default();
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, MOST, MOST + 1, 3] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let expected = &bytes[..length.min(MOST)];
            assert!(reader.all(&path).unwrap() == expected, "{length}");
            assert!(reader.once(&path).unwrap() == expected, "{length}");
        }
        assert!(reader.all(&directory.path().join("none")).is_err());
    }
}
