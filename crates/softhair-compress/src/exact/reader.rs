//! A cursor over untrusted bytes: every read is checked, none allocates.

use crate::{Error, Result};

/// Built only when it is needed: a ready-made error would have to be dropped on every good read.
#[cold]
fn too_short() -> Error {
    Error::Damaged("exact chunk ends too early")
}

/// What is left of a payload.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(too_short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes `count` bytes from the end.
    pub(super) fn take_back(&mut self, count: usize) -> Result<&'a [u8]> {
        let middle = self.rest.len().checked_sub(count).ok_or_else(too_short)?;
        let (rest, taken) = self.rest.split_at(middle);
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(*self.array()?))
    }

    /// A length in LEB128: seven bits a byte, low bits first, at most five bytes.
    pub(super) fn length(&mut self) -> Result<usize> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return usize::try_from(value).map_err(|_| too_short());
            }
        }
        Err(Error::Damaged("exact chunk has a length without end"))
    }

    /// Takes everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// # Errors
    /// `Damaged` if anything is left.
    pub(super) fn finish(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Damaged("exact chunk has bytes left over")) }
    }
}

/// Writes what [`Reader::length`] reads.
pub(super) fn write_length(length: usize, out: &mut Vec<u8>) {
    let mut left = length;
    while left >= 128 {
        out.push((left & 127) as u8 | 128);
        left >>= 7;
    }
    out.push(left as u8);
}
