//! Bytes that are mapped from a file or owned. The only place where the crate trusts the system about memory.
#![allow(unsafe_code)] // A memory map cannot be made without.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// Bytes, wherever they are.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file for reading.
    pub(super) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only and private to this process. Should another process cut the file short
        // meanwhile, the system ends this one with SIGBUS: before the store's commit, so nothing half-made remains.
        // A change of content is a change of bytes, all of which are valid; every offset was checked against the
        // length of the map.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
