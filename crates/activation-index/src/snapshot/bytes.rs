//! The bytes of a snapshot: mapped from its file, or in memory for an index that has no directory.
#![allow(unsafe_code)] // A memory map cannot be made without.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;

use memmap2::{Mmap, MmapMut};

/// Bytes that begin at the start of a page.
#[derive(Debug)]
pub(super) struct Bytes {
    map: Mmap,
    /// The file they are mapped from, if from one.
    file: Option<File>,
}

impl Bytes {
    /// Maps a whole file for reading.
    pub(super) fn map(file: File) -> io::Result<Self> {
        // SAFETY: the map is read-only, and a snapshot is never changed once it has its name: a newer one replaces it, and
        // the old one lives as long as its map. Whoever changes it all the same changes bytes to bytes, and every number in it
        // is checked where it is used; whoever cuts it short ends the process with SIGBUS.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map, file: Some(file) })
    }

    /// Keeps a copy.
    pub(super) fn copy(bytes: &[u8]) -> io::Result<Self> {
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Self { map: map.make_read_only()?, file: None })
    }

    /// Reads what is asked for rarely, past the map: pages that are read this way do not become part of the process.
    pub(super) fn read_at(&self, at: usize, out: &mut [u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            return file.read_exact_at(out, at as u64);
        }
        let bytes = self.map.get(at..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
