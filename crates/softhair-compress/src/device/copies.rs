//! A tensor on a card as a stream, through the staging memory of the first lane: for what the processor codes and restores.

use std::io::{self, Read, Write};

use super::{Card, failed};
use crate::Result;

/// Reads from a card, in order.
pub(super) struct Source<'a, C> {
    card: &'a mut C,
    address: u64,
    left: u64,
    /// What of the staging memory was fetched and not yet read.
    ready: std::ops::Range<usize>,
}

impl<'a, C: Card> Source<'a, C> {
    pub(super) fn new(card: &'a mut C, address: u64, bytes: u64) -> Self {
        Self { card, address, left: bytes, ready: 0..0 }
    }
}

impl<C: Card> Read for Source<'_, C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() && self.left > 0 {
            let bytes = self.left.min(self.card.staging_bytes() as u64) as usize;
            self.card.fetch(0, self.address, 0, bytes).map_err(io::Error::other)?;
            (self.address, self.left, self.ready) =
                (self.address + bytes as u64, self.left - bytes as u64, 0..bytes);
        }
        let count = self.ready.len().min(buffer.len());
        let staging = self.card.staging(0).map_err(io::Error::other)?;
        buffer[..count].copy_from_slice(&staging[self.ready.start..self.ready.start + count]);
        self.ready.start += count;
        Ok(count)
    }
}

/// Writes to a card, in order.
pub(super) struct Sink<'a, C> {
    card: &'a mut C,
    address: u64,
    filled: usize,
}

impl<'a, C: Card> Sink<'a, C> {
    pub(super) fn new(card: &'a mut C, address: u64) -> Self {
        Self { card, address, filled: 0 }
    }

    /// Waits until everything is there.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    pub(super) fn finish(mut self) -> Result<()> {
        self.send()
            .and_then(|()| self.card.staging(0).map(|_| ()))
            .map_err(failed("writing a tensor to the card"))
    }

    fn send(&mut self) -> Result<(), C::Error> {
        if self.filled > 0 {
            self.card.send(0, 0, self.address, self.filled)?;
            self.address += self.filled as u64;
            self.filled = 0;
        }
        Ok(())
    }
}

impl<C: Card> Write for Sink<'_, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == self.card.staging_bytes() {
            self.send().map_err(io::Error::other)?;
        }
        let filled = self.filled;
        let staging = self.card.staging(0).map_err(io::Error::other)?;
        let count = bytes.len().min(staging.len() - filled);
        staging[filled..filled + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
