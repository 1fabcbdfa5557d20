//! Reading a bundle: the header at once, the frames as a stream. Knows nothing of seals.

use std::io::{self, Read};

use super::header::MAX_HEADER_BYTES;
use super::{BundleHeader, MAGIC, TensorEntry, VERSION};
use crate::error::{Error, Result};

/// Reads a bundle. Holds the header in memory, and of a frame nothing.
#[derive(Debug)]
pub struct BundleReader<R> {
    source: R,
    header: BundleHeader,
    begun: usize,
    left_in_frame: u64,
}

impl<R: Read> BundleReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::NotABundle`], [`Error::HeaderTooLarge`], [`Error::BundleCut`], or what `source` says.
    pub fn new(mut source: R) -> Result<Self> {
        let magic: [u8; 4] = read_array(&mut source, || "its first bytes".into())?;
        if magic != MAGIC {
            return Err(Error::NotABundle { reason: "it does not begin with OMSB".into() });
        }
        let version = u16::from_le_bytes(read_array(&mut source, || "its first bytes".into())?);
        if version != VERSION {
            return Err(Error::NotABundle {
                reason: format!(
                    "it has version {version}, and this program reads {VERSION}; use a newer one"
                ),
            });
        }
        let size = u32::from_le_bytes(read_array(&mut source, || "its first bytes".into())?);
        if size > MAX_HEADER_BYTES {
            return Err(Error::HeaderTooLarge { bytes: size.into(), limit: MAX_HEADER_BYTES.into() });
        }
        let mut bytes = Vec::new();
        source.by_ref().take(size.into()).read_to_end(&mut bytes)?;
        if bytes.len() < size as usize {
            return Err(Error::BundleCut { what: "its header".into() });
        }
        let header = BundleHeader::from_bytes(&bytes)?;
        Ok(Self { source, header, begun: 0, left_in_frame: 0 })
    }

    /// What the bundle holds.
    #[must_use]
    pub fn header(&self) -> &BundleHeader {
        &self.header
    }

    /// The next frame, in the order of the header; what is left of the one before is skipped.
    /// `None` after the last one, and only where the bundle ends there: then, and not before, all of it is
    /// known to be whole.
    ///
    /// # Errors
    /// [`Error::BundleCut`], [`Error::TrailingBytes`], or what the source says.
    pub fn next_frame(&mut self) -> Result<Option<FrameReader<'_, R>>> {
        self.skip_rest()?;
        let Some(entry) = self.header.tensors.get(self.begun) else {
            return match io::copy(&mut self.source.by_ref().take(1), &mut io::sink())? {
                0 => Ok(None),
                _ => Err(Error::TrailingBytes),
            };
        };
        let size = read_array(&mut self.source, || format!("the size of the frame of {:?}", entry.name))?;
        self.left_in_frame = u64::from_le_bytes(size);
        self.begun += 1;
        Ok(Some(FrameReader {
            frame_bytes: self.left_in_frame,
            entry,
            left: &mut self.left_in_frame,
            source: &mut self.source,
        }))
    }

    fn skip_rest(&mut self) -> Result<()> {
        let skipped = io::copy(&mut self.source.by_ref().take(self.left_in_frame), &mut io::sink())?;
        self.left_in_frame -= skipped;
        if self.left_in_frame > 0 {
            let name = self.header.tensors.get(self.begun - 1).map_or("", |entry| &entry.name);
            return Err(cut_frame(name));
        }
        Ok(())
    }
}

/// One frame: reads up to its end, and no further.
#[derive(Debug)]
pub struct FrameReader<'a, R> {
    source: &'a mut R,
    entry: &'a TensorEntry,
    frame_bytes: u64,
    left: &'a mut u64,
}

impl<R> FrameReader<'_, R> {
    /// The tensor that the frame belongs to.
    #[must_use]
    pub fn entry(&self) -> &TensorEntry {
        self.entry
    }

    /// Size of the frame in bytes, as its writer says. It is not checked before it is read: do not allocate
    /// by it.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.frame_bytes
    }
}

impl<R: Read> Read for FrameReader<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wanted = out.len().min(usize::try_from(*self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut out[..wanted])?;
        if count == 0 {
            return Err(cut_frame(&self.entry.name).into());
        }
        *self.left -= count as u64;
        Ok(count)
    }
}

fn cut_frame(name: &str) -> Error {
    Error::BundleCut { what: format!("the frame of {name:?}") }
}

/// Exactly `N` bytes. A source that ends before is a bundle that was cut; its own errors stay what they are.
fn read_array<const N: usize>(source: &mut impl Read, what: impl Fn() -> String) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match source.read(&mut bytes[filled..]) {
            Ok(0) => return Err(Error::BundleCut { what: what() }),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
