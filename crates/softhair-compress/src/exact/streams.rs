//! Symbols to interleaved bit streams and back: symbol `i` goes to stream `i % STREAMS`.
//!
//! One stream alone waits for each table look-up (about 7 cycles a symbol); eight keep the core busy.
//! A reader holds 63 bits with a marker bit above them: shifting out codes lets the marker sink, so the number
//! of leading zeros counts what was consumed and no counter is kept per symbol.

use super::huffman::{ALPHABET, Code, MAX_BITS, TABLE};
use super::reader::Reader;
use crate::{Error, Result};

/// Bit streams of one code.
pub(super) const STREAMS: usize = 8;
/// Codes taken between two refills: 4 × 12 bits fit the 56 bits that a refill guarantees.
const BURST: usize = 4;
/// Symbols that one pass over all streams takes.
pub(super) const ROUND: usize = STREAMS * BURST;
const _: () = assert!(BURST as u32 * MAX_BITS <= 56);

/// The newest code is at the top of `held`; those before were shifted down to make room, so that appending is a shift
/// and an or by the same table entry, and no code needs to be moved to its place.
#[derive(Clone, Copy, Default)]
struct BitWriter {
    held: u64,
    /// Bits held that are not written yet, in the low 8 bits; above them, anything.
    bits: u64,
    at: usize,
}

impl BitWriter {
    /// The length in the entry's low 8 bits is left where it is: it never rises above bit 7, and what is written
    /// starts at bit 9 or higher.
    #[inline(always)]
    fn push(&mut self, entry: u64) {
        self.held = self.held >> (entry & 63) | entry;
        self.bits = self.bits.wrapping_add(entry);
    }

    /// Writes whole bytes; less than eight bits stay held.
    #[inline(always)]
    fn flush(&mut self, buffer: &mut [u8]) {
        let bits = self.bits & 255;
        let word = self.held >> ((64 - bits) & 63);
        if let Some(window) = buffer.get_mut(self.at..self.at + 8) {
            window.copy_from_slice(&word.to_le_bytes());
        }
        self.at += bits as usize >> 3;
        self.bits = bits & 7;
    }

    /// Bytes that the stream takes once flushed.
    fn length(&self) -> usize {
        self.at + (self.bits & 255).div_ceil(8) as usize
    }

    /// Writes the last bits, filled up with zeros.
    fn finish(&mut self, buffer: &mut [u8]) {
        if self.bits & 255 > 0 {
            self.flush(buffer);
        }
        if self.bits > 0 {
            buffer[self.at] = (self.held >> (64 - self.bits)) as u8;
        }
    }
}

/// Writes symbols in a given code.
pub(super) struct Encoder {
    table: Box<[u64; ALPHABET]>,
    writers: [BitWriter; STREAMS],
    buffer: Vec<u8>,
    /// Bytes of `buffer` that each stream has for itself.
    room: usize,
    /// Bytes that the length of a stream takes.
    length_bytes: usize,
}

/// Bytes of the longest stream of `count` symbols.
fn longest(code: &Code, count: usize) -> usize {
    match code {
        Code::Single(_) => 0,
        Code::Lengths(_) => (count.div_ceil(STREAMS) * MAX_BITS as usize).div_ceil(8),
    }
}

/// Bytes that hold any number up to `longest`.
fn length_bytes(longest: usize) -> usize {
    (usize::BITS - longest.leading_zeros()).div_ceil(8) as usize
}

impl Encoder {
    /// For at most `count` symbols. `buffer` is scratch whose contents do not matter.
    pub(super) fn new(code: &Code, count: usize, mut buffer: Vec<u8>) -> Self {
        let longest = longest(code, count);
        let room = longest + 8;
        if buffer.len() < room * STREAMS {
            buffer.resize(room * STREAMS, 0);
        }
        Self {
            table: code.encoding(),
            writers: [BitWriter::default(); STREAMS],
            buffer,
            room,
            length_bytes: length_bytes(longest),
        }
    }

    /// Appends symbols; only the last call may bring a number that is not a multiple of [`ROUND`].
    #[inline(always)]
    pub(super) fn push(&mut self, symbols: &[u16]) {
        let (rounds, rest) = symbols.as_chunks::<ROUND>();
        for (stream, buffer) in self.buffer.chunks_exact_mut(self.room).take(STREAMS).enumerate() {
            let mut writer = self.writers[stream];
            for round in rounds {
                for step in 0..BURST {
                    writer.push(self.table[usize::from(round[step * STREAMS + stream]) % ALPHABET]);
                }
                writer.flush(buffer);
            }
            for symbol in rest.iter().skip(stream).step_by(STREAMS) {
                writer.push(self.table[usize::from(*symbol) % ALPHABET]);
                writer.flush(buffer);
            }
            self.writers[stream] = writer;
        }
    }

    /// Makes room for the length of each stream; returns where.
    pub(super) fn reserve_lengths(&self, out: &mut Vec<u8>) -> usize {
        let at = out.len();
        out.resize(at + self.length_bytes * STREAMS, 0);
        at
    }

    /// Appends the streams, writes their lengths at `lengths_at`, and gives the scratch back.
    pub(super) fn finish(mut self, lengths_at: usize, out: &mut Vec<u8>) -> Vec<u8> {
        for (stream, buffer) in self.buffer.chunks_exact_mut(self.room).take(STREAMS).enumerate() {
            let writer = &mut self.writers[stream];
            let length = writer.length();
            writer.finish(buffer);
            out.extend_from_slice(&buffer[..length]);
            let field = lengths_at + stream * self.length_bytes;
            out[field..field + self.length_bytes]
                .copy_from_slice(&(length as u64).to_le_bytes()[..self.length_bytes]);
        }
        self.buffer
    }
}

/// Reads symbols back.
pub(super) struct Decoder<'a> {
    table: Box<[u16; TABLE]>,
    single: bool,
    data: &'a [u8],
    ends: [usize; STREAMS],
    at: [u32; STREAMS],
    held: [u64; STREAMS],
}

const MARKER: u64 = 1 << 63;

impl<'a> Decoder<'a> {
    /// Takes the streams of `count` symbols from the end of `reader`, and their lengths from its start; what lies
    /// between is left. `value` is what [`Code::decoding`] asks for.
    pub(super) fn new(
        code: &Code,
        count: usize,
        reader: &mut Reader<'a>,
        value: impl Fn(u16, u16) -> u16,
    ) -> Result<Self> {
        let mut ends = [0; STREAMS];
        let single = matches!(code, Code::Single(_));
        let mut total = 0usize;
        let length_bytes = length_bytes(longest(code, count));
        for end in &mut ends {
            let mut length = [0; 8];
            length[..length_bytes].copy_from_slice(reader.take(length_bytes)?);
            total = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX).saturating_add(total);
            *end = total;
        }
        let data = reader.take_back(total)?;
        let mut at = [0u32; STREAMS];
        for (start, end) in at[1..].iter_mut().zip(ends) {
            *start = u32::try_from(end).map_err(|_| Error::Damaged("a bit stream is too long"))?;
        }
        let held = at.map(|start| load(data, start));
        Ok(Self { table: code.decoding(value), single, data, ends, at, held })
    }

    /// Fills `out` with table entries: the value in the upper 10 bits, anything in the lower 6.
    /// Only the last call may ask for a number that is not a multiple of [`ROUND`].
    #[inline(always)]
    pub(super) fn fill(&mut self, out: &mut [u16]) {
        if self.single {
            out.fill(self.table[0]);
            return;
        }
        let (mut at, mut held) = (self.at, self.held);
        let (data, table) = (self.data, &*self.table);
        let (rounds, rest) = out.as_chunks_mut::<ROUND>();
        for round in rounds {
            // Stream by stream: the processor overlaps them by itself, and only one needs registers.
            for stream in 0..STREAMS {
                let mut bits = held[stream];
                for step in 0..BURST {
                    let entry = table[bits as usize % TABLE];
                    round[step * STREAMS + stream] = entry;
                    bits >>= entry & 63;
                }
                refill(data, &mut at[stream], &mut bits);
                held[stream] = bits;
            }
        }
        for (index, slot) in rest.iter_mut().enumerate() {
            let stream = index % STREAMS;
            let entry = table[held[stream] as usize % TABLE];
            *slot = entry;
            held[stream] >>= entry & 63;
            refill(data, &mut at[stream], &mut held[stream]);
        }
        (self.at, self.held) = (at, held);
    }

    /// # Errors
    /// `Damaged` unless every stream was read exactly to its end and filled up with zeros.
    pub(super) fn finish(&self) -> Result<()> {
        if self.single {
            return Ok(());
        }
        for stream in 0..STREAMS {
            let used_bits = self.held[stream].leading_zeros();
            let end = self.at[stream] as usize + usize::from(used_bits > 0);
            let padding_is_zero = used_bits == 0 || self.held[stream] as u8 & (255 >> used_bits) == 0;
            if end != self.ends[stream] || used_bits > 7 || !padding_is_zero {
                return Err(Error::Damaged("a bit stream does not end where it should"));
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn refill(data: &[u8], at: &mut u32, held: &mut u64) {
    let consumed = held.leading_zeros();
    *at = at.wrapping_add(consumed >> 3);
    *held = load(data, *at) >> (consumed & 7);
}

/// 63 bits from byte `at` on, with the marker; zeros beyond the end.
#[inline(always)]
fn load(data: &[u8], at: u32) -> u64 {
    // 32 bits, because then the compiler sees that `at + 8` does not overflow.
    let at = at as usize;
    let word = match data.get(at..at + 8) {
        Some(window) => {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(window);
            u64::from_le_bytes(bytes)
        }
        None => load_at_the_end(data, at),
    };
    word | MARKER
}

#[cold]
fn load_at_the_end(data: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    if let Some(left) = data.get(at..) {
        let count = left.len().min(8);
        bytes[..count].copy_from_slice(&left[..count]);
    }
    u64::from_le_bytes(bytes)
}
