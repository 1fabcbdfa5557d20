//! Symbols to bit streams and back: the symbols of a chunk are cut into eight segments, one stream each.
//!
//! One stream alone waits for each table look-up (about 7 cycles); eight side by side keep the core busy, and a
//! look-up gives two symbols where both codes fit into it, which is nearly always so for weights.
//! A reader holds 63 bits with a marker bit above them: shifting out codes lets the marker sink, so the number
//! of leading zeros counts what was consumed and no counter is kept per symbol.

use super::huffman::{ALPHABET, Code, MAX_BITS, Pairs, TABLE};
use super::reader::Reader;
use crate::{Error, Result};
use std::mem::take;

/// Bit streams of one code.
pub(super) const STREAMS: usize = 8;
/// Look-ups between two refills: 5 × 11 bits fit the 56 bits that a refill guarantees.
const LOOK_UPS: usize = 5;
const _: () = assert!(LOOK_UPS as u32 * MAX_BITS <= 56);
/// Symbols that are written in place between two refills, with a margin for the unused half of a pair.
const WINDOW: usize = 18;
/// Codes appended between two writes; what is held then stays clear of the lowest 8 bits.
const BURST: usize = 4;
const _: () = assert!(BURST as u32 * MAX_BITS + 7 <= 56);

/// Symbols in each segment but the last.
fn segment(count: usize) -> usize {
    count.div_ceil(STREAMS).max(1)
}

/// Bytes that the length of a stream takes: enough for the longest there could be.
fn length_bytes(code: &Code, count: usize) -> usize {
    match code {
        Code::Single(_) => 0,
        Code::Lengths(_) => {
            let longest = (segment(count) * MAX_BITS as usize).div_ceil(8);
            (usize::BITS - longest.leading_zeros()).div_ceil(8) as usize
        }
    }
}

/// The newest code is at the top of `held`; those before were shifted down to make room, so that appending is a shift
/// and an or by the same table entry, and no code needs to be moved to its place.
#[derive(Clone, Copy, Default)]
struct BitWriter {
    held: u64,
    /// Bits held that are not written yet, in the low 8 bits; above them, anything.
    bits: u64,
    /// Where the next byte goes.
    at: usize,
}

impl BitWriter {
    /// The length in the entry's low 8 bits is left where it is: it never rises above bit 7, and what is written
    /// starts at bit 8 or higher.
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

    /// Fills the last byte up with zeros, so that the next stream starts on a byte.
    fn end_stream(&mut self, buffer: &mut [u8]) {
        if self.bits & 255 > 0 {
            self.flush(buffer);
        }
        if self.bits > 0 {
            buffer[self.at] = (self.held >> (64 - self.bits)) as u8;
            self.at += 1;
        }
        *self = Self { at: self.at, ..Self::default() };
    }
}

/// Writes symbols in a given code.
pub(super) struct Encoder {
    table: Box<[u64; ALPHABET]>,
    writer: BitWriter,
    buffer: Vec<u8>,
    /// Where the streams written so far end.
    ends: [usize; STREAMS],
    stream: usize,
    segment: usize,
    /// Symbols that the current stream still takes.
    left: usize,
    length_bytes: usize,
}

impl Encoder {
    /// For `count` symbols. `buffer` is scratch whose contents do not matter.
    pub(super) fn new(code: &Code, count: usize, mut buffer: Vec<u8>) -> Self {
        // A margin per stream for the last byte, and one for writing eight bytes at once.
        let room = count / 8 * MAX_BITS as usize + 2 * MAX_BITS as usize + STREAMS + 8;
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let segment = segment(count);
        Self {
            table: code.encoding(),
            writer: BitWriter::default(),
            buffer,
            ends: [0; STREAMS],
            stream: 0,
            segment,
            left: segment,
            length_bytes: length_bytes(code, count),
        }
    }

    /// Appends symbols: `count` in all calls together.
    #[inline(always)]
    pub(super) fn push(&mut self, symbols: &[u16]) {
        let mut rest = symbols;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.left.min(rest.len()));
            rest = later;
            let mut writer = self.writer;
            let (bursts, last) = now.as_chunks::<BURST>();
            for burst in bursts {
                for symbol in burst {
                    writer.push(self.table[usize::from(*symbol) % ALPHABET]);
                }
                writer.flush(&mut self.buffer);
            }
            for symbol in last {
                writer.push(self.table[usize::from(*symbol) % ALPHABET]);
            }
            if !last.is_empty() {
                writer.flush(&mut self.buffer);
            }
            self.writer = writer;
            self.left -= now.len();
            if self.left == 0 {
                self.end_stream();
            }
        }
    }

    fn end_stream(&mut self) {
        self.writer.end_stream(&mut self.buffer);
        if let Some(end) = self.ends.get_mut(self.stream) {
            *end = self.writer.at;
        }
        self.stream += 1;
        self.left = self.segment;
    }

    /// Makes room for the length of each stream; returns where.
    pub(super) fn reserve_lengths(&self, out: &mut Vec<u8>) -> usize {
        let at = out.len();
        out.resize(at + self.length_bytes * STREAMS, 0);
        at
    }

    /// Appends the streams, writes their lengths at `lengths_at`, and gives the scratch back.
    pub(super) fn finish(mut self, lengths_at: usize, out: &mut Vec<u8>) -> Vec<u8> {
        while self.stream < STREAMS {
            self.end_stream();
        }
        if self.length_bytes > 0 {
            let mut start = 0;
            for (field, end) in out[lengths_at..].chunks_exact_mut(self.length_bytes).zip(self.ends) {
                let length = (end - start) as u64;
                field.copy_from_slice(&length.to_le_bytes()[..self.length_bytes]);
                start = end;
            }
            out.extend_from_slice(&self.buffer[..start]);
        }
        self.buffer
    }
}

/// Reads symbols back.
pub(super) struct Decoder<'a> {
    tables: Pairs,
    single: bool,
    data: &'a [u8],
    ends: [usize; STREAMS],
    readers: [BitReader; STREAMS],
}

#[derive(Clone, Copy, Default)]
struct BitReader {
    held: u64,
    at: u32,
}

const MARKER: u64 = 1 << 63;

impl BitReader {
    fn new(data: &[u8], at: u32) -> Self {
        Self { held: load(data, at), at }
    }

    /// The index of the next table entry.
    #[inline(always)]
    fn peek(self) -> usize {
        self.held as usize % TABLE
    }

    /// Drops as many bits as the low 6 bits of `entry` say.
    #[inline(always)]
    fn drop_bits(&mut self, entry: u32) {
        self.held >>= entry & 63;
    }

    #[inline(always)]
    fn refill(&mut self, data: &[u8]) {
        let consumed = self.held.leading_zeros();
        self.at = self.at.wrapping_add(consumed >> 3);
        self.held = load(data, self.at) >> (consumed & 7);
    }

    /// Right after a refill: whether the stream ended at `end`, filled up with zeros.
    fn ended_at(self, end: usize) -> bool {
        match self.held.leading_zeros() {
            0 => self.at as usize == end,
            used @ 1..=7 => self.at as usize + 1 == end && self.held as u8 & (255 >> used) == 0,
            _ => false,
        }
    }
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

impl<'a> Decoder<'a> {
    /// Takes the streams of `count` symbols from the end of `reader`, and their lengths from its start; what lies
    /// between is left. `value` is what [`Code::decoding`] asks for.
    pub(super) fn new(
        code: &Code,
        count: usize,
        reader: &mut Reader<'a>,
        value: impl Fn(u16, u16) -> u16,
    ) -> Result<Self> {
        let length_bytes = length_bytes(code, count);
        let mut ends = [0; STREAMS];
        let mut starts = [0u32; STREAMS];
        let mut total = 0usize;
        for (start, end) in starts.iter_mut().zip(&mut ends) {
            *start = u32::try_from(total).map_err(|_| Error::Damaged("a bit stream is too long"))?;
            let mut length = [0; 8];
            length[..length_bytes].copy_from_slice(reader.take(length_bytes)?);
            total = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX).saturating_add(total);
            *end = total;
        }
        let data = reader.take_back(total)?;
        let readers = starts.map(|start| BitReader::new(data, start));
        Ok(Self {
            tables: code.decoding(value),
            single: matches!(code, Code::Single(_)),
            data,
            ends,
            readers,
        })
    }

    /// Fills `out`, which takes all symbols, with table entries: the value in the upper 10 bits, anything in the
    /// lower 6.
    ///
    /// # Errors
    /// `Damaged` unless every stream was read exactly to its end and filled up with zeros.
    #[inline(always)]
    pub(super) fn fill(self, out: &mut [u16]) -> Result<()> {
        let Self { tables: Pairs { singles, pairs }, single, data, ends, mut readers } = self;
        if single {
            out.fill(singles[0]);
            return Ok(());
        }
        let mut segments: [&mut [u16]; STREAMS] = Default::default();
        for (slot, segment) in segments.iter_mut().zip(out.chunks_mut(segment(out.len()))) {
            *slot = segment;
        }
        // Stream by stream: the processor overlaps them by itself, and only one at a time needs registers.
        'all: loop {
            for (segment, reader) in segments.iter_mut().zip(&mut readers) {
                let count = step(&pairs, data, reader, segment);
                if count == 0 {
                    break 'all;
                }
                *segment = &mut take(segment)[count..];
            }
        }
        let mut complete = true;
        for ((segment, reader), end) in segments.iter_mut().zip(&mut readers).zip(ends) {
            loop {
                let count = step(&pairs, data, reader, segment);
                if count == 0 {
                    break;
                }
                *segment = &mut take(segment)[count..];
            }
            for slot in segment.iter_mut() {
                *slot = singles[reader.peek()];
                reader.drop_bits(u32::from(*slot));
                reader.refill(data);
            }
            complete &= reader.ended_at(end);
        }
        if complete { Ok(()) } else { Err(Error::Damaged("a bit stream does not end where it should")) }
    }
}

/// Writes five look-ups' worth of symbols to the front of `segment`; says how many, 0 if it is too short for that.
#[inline(always)]
fn step(pairs: &[u32; TABLE], data: &[u8], reader: &mut BitReader, segment: &mut [u16]) -> usize {
    let Some(window) = segment.first_chunk_mut::<WINDOW>() else { return 0 };
    let mut now = *reader;
    let mut written = 0u32;
    for _ in 0..LOOK_UPS {
        let entry = pairs[now.peek()];
        let at = (written & 15) as usize;
        window[at] = entry as u16;
        window[at + 1] = (entry >> 16) as u16;
        now.drop_bits(entry);
        written = written.wrapping_add(entry >> 16);
    }
    now.refill(data);
    *reader = now;
    (written & 15) as usize
}
