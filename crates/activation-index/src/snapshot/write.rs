//! Writing a snapshot, section after section; the header comes last, so that what is cut short is no snapshot.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use bytemuck::Pod;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::error::IndexError;

use super::layout::{ALIGNMENT, HEADER_BYTES, Header, Kind, Section};

/// A snapshot in the making.
pub(super) struct Writer<W> {
    out: W,
    at: u64,
    sections: Vec<Section>,
}

impl<W: Write + Seek> Writer<W> {
    pub(super) fn new(mut out: W) -> Result<Self, IndexError> {
        out.write_all(&[0; HEADER_BYTES]).map_err(|e| failed(&e))?;
        Ok(Self { out, at: HEADER_BYTES as u64, sections: Vec::new() })
    }

    /// Writes a section that is at hand; `dimension` is 0 if it belongs to no column.
    pub(super) fn section<T: Pod>(
        &mut self,
        kind: Kind,
        dimension: usize,
        elements: &[T],
    ) -> Result<(), IndexError> {
        self.stream(kind, dimension, |write| write(bytemuck::cast_slice(elements)))
    }

    /// Writes a section in pieces.
    pub(super) fn stream(
        &mut self,
        kind: Kind,
        dimension: usize,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), IndexError>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let padding = self.at.next_multiple_of(ALIGNMENT as u64) - self.at;
        self.out.write_all(&[0; ALIGNMENT][..padding as usize]).map_err(|e| failed(&e))?;
        self.at += padding;
        let (mut bytes, mut check) = (0, Xxh3Default::new());
        fill(&mut |piece| {
            check.update(piece);
            bytes += piece.len() as u64;
            self.out.write_all(piece).map_err(|e| failed(&e))
        })?;
        let (at, dimension) = (self.at, dimension as u32);
        self.sections.push(Section { kind: kind as u32, dimension, at, bytes, check: check.digest() });
        self.at += bytes;
        Ok(())
    }

    /// Writes the table of sections and the header, whose places in the file are filled in here.
    pub(super) fn finish(mut self, header: Header) -> Result<W, IndexError> {
        let table: Vec<u8> = self.sections.iter().flat_map(Section::encode).collect();
        let header = Header {
            sections_at: self.at,
            sections: self.sections.len() as u64,
            file_bytes: self.at + table.len() as u64,
            sections_check: xxh3_64(&table),
            ..header
        };
        let mut write = || {
            self.out.write_all(&table)?;
            self.out.seek(SeekFrom::Start(0))?;
            self.out.write_all(&header.encode())?;
            self.out.flush()
        };
        write().map_err(|e| failed(&e))?;
        Ok(self.out)
    }
}

fn failed(error: &io::Error) -> IndexError {
    IndexError::io("write", Path::new("the new snapshot"), error)
}
