//! Writing one object: bytes in, hash and length out.
//!
//! Up to 1 MiB stays in memory, so that a small object, with whatever seeking it takes to write it, costs the
//! disk one write. A larger one goes to its file as it comes, hashed on the way as long as it is written from
//! front to back; if a writer goes back (to fill in a header), it is hashed by reading it once more.

use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use crate::objects::{Stage, StageFile};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

const IN_MEMORY: u64 = 1 << 20;

/// An object being written, from [`crate::Batch::object`]. Dropped unfinished, it leaves nothing behind.
///
/// Beyond 1 MiB each `write` is a write to the file: write in large pieces.
#[derive(Debug)]
pub struct ObjectWriter<'batch> {
    stage: &'batch dyn Stage,
    form: Form,
    position: u64,
    length: u64,
}

#[derive(Debug)]
enum Form {
    Memory(Vec<u8>),
    // `hashed` bytes from the front have gone into the hasher; none once an earlier byte has changed.
    File { file: Box<dyn StageFile>, hasher: Box<blake3::Hasher>, hashed: Option<u64>, at: u64 },
}

impl<'batch> ObjectWriter<'batch> {
    pub(crate) fn new(stage: &'batch dyn Stage) -> Self {
        Self { stage, form: Form::Memory(Vec::new()), position: 0, length: 0 }
    }

    /// Ends the object and names it. It becomes visible when the batch is committed, if a memory of the
    /// batch refers to it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and other failures of the disk; the object is then gone.
    pub fn finish(self) -> Result<ObjectRef> {
        match self.form {
            Form::Memory(bytes) => {
                let object = ObjectRef { hash: ContentHash::of(&bytes), bytes: self.length };
                let mut file = self.stage.create()?;
                file.write_all(&bytes).map_err(|e| disk("write the object", e))?;
                file.finish(object)?;
                Ok(object)
            }
            Form::File { mut file, mut hasher, hashed, .. } => {
                if hashed != Some(self.length) {
                    hasher.reset();
                    rehash(&mut *file, &mut hasher, self.length).map_err(|e| disk("hash the object", e))?;
                }
                let hash = ContentHash::from_bytes(*hasher.finalize().as_bytes());
                let object = ObjectRef { hash, bytes: self.length };
                file.finish(object)?;
                Ok(object)
            }
        }
    }

    /// Moves what is in memory to a file.
    fn spill(&mut self) -> Result<()> {
        if let Form::Memory(bytes) = &self.form {
            let mut file = self.stage.create()?;
            file.write_all(bytes).map_err(|e| disk("write the object", e))?;
            let mut hasher = Box::new(blake3::Hasher::new());
            hasher.update(bytes);
            let at = bytes.len() as u64;
            self.form = Form::File { file, hasher, hashed: Some(at), at };
        }
        Ok(())
    }
}

impl Write for ObjectWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let end = self
            .position
            .checked_add(buffer.len() as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "an object beyond 2^64 bytes"))?;
        if end > IN_MEMORY {
            self.spill()?;
        }
        let written = match &mut self.form {
            Form::Memory(bytes) => {
                if bytes.len() < end as usize {
                    bytes.resize(end as usize, 0);
                }
                bytes[self.position as usize..end as usize].copy_from_slice(buffer);
                buffer.len()
            }
            Form::File { file, hasher, hashed, at } => {
                if *at != self.position {
                    *at = file.seek(SeekFrom::Start(self.position))?;
                }
                let written = file.write(buffer)?;
                *at += written as u64;
                if *hashed == Some(self.position) {
                    hasher.update(&buffer[..written]);
                    *hashed = Some(*at);
                } else {
                    *hashed = None;
                }
                written
            }
        };
        self.position += written as u64;
        self.length = self.length.max(self.position);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for ObjectWriter<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the object");
        self.position = target.ok_or_else(before)?;
        Ok(self.position)
    }
}

fn rehash(file: &mut dyn StageFile, hasher: &mut blake3::Hasher, length: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 256 << 10];
    let mut done = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) if done == length => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                done += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// An error of the stage names its file itself.
fn disk(action: &'static str, error: io::Error) -> Error {
    Error::io(action, Path::new("a temporary file of the store"), error)
}
