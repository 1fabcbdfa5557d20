//! Writing a frame where nothing can be written twice. The codec writes a frame's header last, over the place left for it,
//! but into a sealed stream there is no way back, and to keep the frame on the disk meanwhile would leave it in the clear.
//! So it is compressed twice: a [`Rehearsal`] keeps only the header, a [`Performance`] writes the frame with it in front.

use std::io::{self, Seek, SeekFrom, Write};

/// Most bytes of a frame's header: 96, and 8 for each of 32 dimensions.
const HEAD_BYTES: usize = 96 + 8 * 32;

/// Forgets all but the beginning and the length.
#[derive(Debug, Default)]
pub(crate) struct Rehearsal {
    head: Vec<u8>,
    bytes: u64,
    at: u64,
}

impl Rehearsal {
    /// The first `count` bytes, and the number of all.
    pub(crate) fn into_head(mut self, count: usize) -> Head {
        self.head.truncate(count);
        Head { head: self.head, bytes: self.bytes }
    }
}

/// What a rehearsal has shown of a frame.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    head: Vec<u8>,
    bytes: u64,
}

impl Head {
    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for Rehearsal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(at) = usize::try_from(self.at)
            && at < HEAD_BYTES
        {
            let kept = bytes.len().min(HEAD_BYTES - at);
            self.head.resize(self.head.len().max(at + kept), 0);
            self.head[at..at + kept].copy_from_slice(&bytes[..kept]);
        }
        self.at += bytes.len() as u64;
        self.bytes = self.bytes.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Rehearsal {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = position(to, self.at, self.bytes)?;
        Ok(self.at)
    }
}

/// Writes in order into `out`, with the head known beforehand in the place of what is written there first. What is
/// written over the head later must be the head.
#[derive(Debug)]
pub(crate) struct Performance<'a, W> {
    out: W,
    head: &'a Head,
    at: u64,
    written: u64,
}

impl<'a, W: Write> Performance<'a, W> {
    pub(crate) fn new(out: W, head: &'a Head) -> Self {
        Self { out, head, at: 0, written: 0 }
    }

    /// The head from `at` on, at most `count` bytes of it.
    fn head_from(&self, at: u64, count: usize) -> &'a [u8] {
        let head = &self.head.head;
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(head.len());
        &head[at..head.len().min(at.saturating_add(count))]
    }
}

impl<W: Write> Write for Performance<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let head = self.head_from(self.at, bytes.len());
        let count = if self.at < self.written {
            if head.is_empty() || !bytes.starts_with(head) {
                return Err(io::Error::other("the frame is not the one that was rehearsed"));
            }
            head.len()
        } else {
            let bytes = if head.is_empty() { bytes } else { head };
            let count = self.out.write(bytes)?;
            self.written += count as u64;
            count
        };
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Seek for Performance<'_, W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = position(to, self.at, self.written)?;
        if self.at > self.written {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.at)
    }
}

fn position(to: SeekFrom, at: u64, end: u64) -> io::Result<u64> {
    let position = match to {
        SeekFrom::Start(position) => Some(position),
        SeekFrom::Current(by) => at.checked_add_signed(by),
        SeekFrom::End(by) => end.checked_add_signed(by),
    };
    position.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softhair_compress::{Codec, DType, Policy, TensorView};

    use super::*;

    proptest! {
        #[test]
        fn a_performance_gives_the_bytes_of_the_frame(rows in 0..40_usize, columns in 1..40_usize, seed in any::<u32>()) {
            // R19
            let noise = |at: usize| (at as u32).wrapping_mul(seed | 1) as f32 / 1e9;
            let bytes: Vec<u8> = (0..rows * columns).flat_map(|at| noise(at).to_le_bytes()).collect();
            let shape = [rows, columns];
            let view = TensorView::new(DType::F32, &shape, &bytes).unwrap();
            let expected = Codec::new().compress(view, Policy::Default).unwrap().into_bytes();

            let mut rehearsal = Rehearsal::default();
            let header = Codec::new().compress_to(view, Policy::Default, &mut rehearsal).unwrap();
            let head = rehearsal.into_head(header.header_bytes());
            prop_assert_eq!(head.frame_bytes(), expected.len() as u64);
            let mut out = Vec::new();
            let mut performance = Performance::new(&mut out, &head);
            Codec::new().compress_to(view, Policy::Default, &mut performance).unwrap();
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn another_frame_than_the_rehearsed_one_is_an_error() {
        let view = |bytes| TensorView::new(DType::U8, &[4], bytes).unwrap();
        let mut rehearsal = Rehearsal::default();
        let header = Codec::new().compress_to(view(&[1, 2, 3, 4]), Policy::Exact, &mut rehearsal).unwrap();
        let head = rehearsal.into_head(header.header_bytes());
        let mut performance = Performance::new(Vec::new(), &head);
        assert!(Codec::new().compress_to(view(&[1, 2, 3, 5]), Policy::Exact, &mut performance).is_err());
    }
}
