//! Length-limited canonical Huffman codes: lengths from counts, lengths to and from bytes, and the tables that
//! encoder and decoder run on. The bit streams themselves are in [`super::streams`].
//!
//! Codes are written least significant bit first, so a code is stored bit-reversed. Everything is integer
//! arithmetic with a fixed order of ties, so that every machine writes the same bytes.

use super::reader::Reader;
use crate::{Error, Result};

/// Longest code in bits. On weights 12 would save 0.007 bits a symbol, but allow fewer look-ups between refills, and
/// its table of pairs would take half of L1.
pub(super) const MAX_BITS: u32 = 11;
/// Entries of a decoding table.
pub(super) const TABLE: usize = 1 << MAX_BITS;
/// Most symbols an alphabet may have.
pub(super) const ALPHABET: usize = 1 << 12;
/// Low bits of a decoding entry that hold the code length; six, because x86 shifts count modulo 64.
const LENGTH_FIELD: u32 = 6;
const LENGTH_MASK: u32 = (1 << LENGTH_FIELD) - 1;
/// Most different symbols in one code: what the upper bits of a decoding entry can tell apart.
pub(super) const MAX_PRESENT: usize = 1 << (16 - LENGTH_FIELD);

const KRAFT_ONE: u32 = 1 << MAX_BITS;
/// Nibbles beyond the lengths 0 to 11: runs of absent symbols.
const SHORT_RUN: u8 = 13;
const LONG_RUN: u8 = 14;
const SHORT_RUN_MIN: usize = 2;
const LONG_RUN_MIN: usize = SHORT_RUN_MIN + 16;
const LONG_RUN_MAX: usize = LONG_RUN_MIN + 255;

/// Decoding tables.
pub(super) struct Pairs {
    /// One symbol: its value in the upper 10 bits, the length of its code in the lower 6.
    pub(super) singles: Box<[u16; TABLE]>,
    /// As many symbols as the bits hold whole codes, at most two. Lower half: the first value, and the length of both
    /// codes. Upper half: the second value, and how many there are.
    pub(super) pairs: Box<[u32; TABLE]>,
}

/// A code over an alphabet of up to [`ALPHABET`] symbols.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Code {
    /// Only this symbol occurs: it takes no bits at all.
    Single(u16),
    /// Length of each symbol's code in bits; 0 where the symbol does not occur. The code is complete.
    Lengths(Vec<u8>),
}

impl Code {
    /// The best code for these counts within [`MAX_BITS`]; `None` if nothing occurs or too many symbols do.
    pub(super) fn from_counts(counts: &[u32]) -> Option<Self> {
        let mut leaves: Vec<(u32, u16)> = counts
            .iter()
            .zip(0u16..)
            .filter(|(count, _)| **count > 0)
            .map(|(count, symbol)| (*count, symbol))
            .collect();
        if leaves.len() > MAX_PRESENT {
            return None;
        }
        leaves.sort_unstable();
        let single = leaves.first()?.1;
        if leaves.len() == 1 {
            return Some(Self::Single(single));
        }
        let mut lengths = vec![0; counts.len()];
        for ((_, symbol), length) in leaves.iter().zip(package_merge(&leaves)) {
            lengths[usize::from(*symbol)] = length;
        }
        Some(Self::Lengths(lengths))
    }

    /// Bits that symbols of these counts take in this code.
    pub(super) fn bits(&self, counts: &[u32]) -> u64 {
        match self {
            Self::Single(_) => 0,
            Self::Lengths(lengths) => {
                counts.iter().zip(lengths).map(|(count, length)| u64::from(*count) * u64::from(*length)).sum()
            }
        }
    }

    /// First and last symbol (u16 each), then one nibble per symbol between, low nibble first:
    /// 0 to 11 a length; 13 and a nibble n: n + 2 absent symbols; 14 and two nibbles n: n + 18 absent symbols.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Single(symbol) => {
                out.extend_from_slice(&symbol.to_le_bytes());
                out.extend_from_slice(&symbol.to_le_bytes());
            }
            Self::Lengths(lengths) => {
                let first = lengths.iter().position(|length| *length > 0).unwrap_or(0);
                let last = lengths.iter().rposition(|length| *length > 0).unwrap_or(0);
                out.extend_from_slice(&(first as u16).to_le_bytes());
                out.extend_from_slice(&(last as u16).to_le_bytes());
                let nibbles = run_lengths(&lengths[first..=last]);
                out.extend(nibbles.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4));
            }
        }
    }

    /// Reads what [`Self::write`] wrote for an alphabet of `alphabet` symbols.
    ///
    /// # Errors
    /// `Damaged` unless the code is complete: no bit pattern without a symbol, none with two.
    pub(super) fn read(reader: &mut Reader<'_>, alphabet: usize) -> Result<Self> {
        let (first, last) = (reader.u16()?, reader.u16()?);
        let (start, end) = (usize::from(first), usize::from(last));
        if start > end || end >= alphabet || alphabet > ALPHABET {
            return Err(Error::Damaged("code table names symbols outside its alphabet"));
        }
        if start == end {
            return Ok(Self::Single(first));
        }
        let mut lengths = vec![0; alphabet];
        let mut nibbles = Nibbles { reader, high: None };
        let mut at = start;
        while at <= end {
            let run = match nibbles.next()? {
                SHORT_RUN => SHORT_RUN_MIN + usize::from(nibbles.next()?),
                LONG_RUN => LONG_RUN_MIN + usize::from(nibbles.next()? | nibbles.next()? << 4),
                length if u32::from(length) <= MAX_BITS => {
                    lengths[at] = length;
                    1
                }
                _ => return Err(Error::Damaged("code table has an unknown length")),
            };
            at += run;
        }
        if at != end + 1 || lengths[start] == 0 || lengths[end] == 0 {
            return Err(Error::Damaged("code table ends in the wrong place"));
        }
        if nibbles.high.is_some_and(|padding| padding != 0) {
            return Err(Error::Damaged("code table has padding that is not zero"));
        }
        if kraft(&lengths) != u64::from(KRAFT_ONE) {
            return Err(Error::Damaged("code table is over- or under-subscribed"));
        }
        if lengths.iter().filter(|length| **length > 0).count() > MAX_PRESENT {
            return Err(Error::Damaged("code table has too many symbols"));
        }
        Ok(Self::Lengths(lengths))
    }

    /// For each symbol, its code in the highest bits, and the length in the low 8 bits.
    pub(super) fn encoding(&self) -> Box<[u64; ALPHABET]> {
        #[allow(clippy::large_stack_arrays)] // Boxed at once; an array spares the encoder its bounds checks.
        let mut table = Box::new([0; ALPHABET]);
        if let Self::Lengths(lengths) = self {
            for_each_code(lengths, |symbol, code, length| {
                table[symbol] = u64::from(code) << (64 - u32::from(length)) | u64::from(length);
            });
        }
        table
    }

    /// Tables by the next [`MAX_BITS`] bits; `value` says of (symbol, rank among those present) what goes to the
    /// upper 10 bits of a half.
    pub(super) fn decoding(&self, value: impl Fn(u16, u16) -> u16) -> Pairs {
        let mut singles = Box::new([0u16; TABLE]);
        let mut pairs = Box::new([0u32; TABLE]);
        match self {
            Self::Single(symbol) => singles.fill(value(*symbol, 0)),
            Self::Lengths(lengths) => {
                let mut ranks = vec![0u16; lengths.len()];
                let mut next = 0;
                for (rank, length) in ranks.iter_mut().zip(lengths) {
                    *rank = next;
                    next += u16::from(*length > 0);
                }
                for_each_code(lengths, |symbol, code, length| {
                    let entry = value(symbol as u16, ranks[symbol]) | u16::from(length);
                    // Every index that ends in the code.
                    let mut index = code as usize;
                    while let Some(slot) = singles.get_mut(index) {
                        *slot = entry;
                        index += 1 << length;
                    }
                });
                for (index, pair) in pairs.iter_mut().enumerate() {
                    let first = u32::from(singles[index]);
                    let second = u32::from(singles[index >> (first & LENGTH_MASK) & (TABLE - 1)]);
                    let both = (first & LENGTH_MASK) + (second & LENGTH_MASK);
                    let two = (second & !LENGTH_MASK | 2) << 16 | (first & !LENGTH_MASK) | both;
                    *pair = if both <= MAX_BITS { two } else { 1 << 16 | first };
                }
            }
        }
        Pairs { singles, pairs }
    }

    /// The symbols that occur, ascending.
    pub(super) fn present(&self) -> Vec<u16> {
        match self {
            Self::Single(symbol) => vec![*symbol],
            Self::Lengths(lengths) => {
                (0u16..).zip(lengths).filter(|(_, length)| **length > 0).map(|(symbol, _)| symbol).collect()
            }
        }
    }
}

/// Calls `each(symbol, bit-reversed code, length)` in canonical order. Lengths are at most [`MAX_BITS`].
fn for_each_code(lengths: &[u8], mut each: impl FnMut(usize, u32, u8)) {
    let mut of_length = [0u32; MAX_BITS as usize + 1];
    for length in lengths {
        of_length[usize::from(*length)] += 1;
    }
    of_length[0] = 0;
    let mut next = [0u32; MAX_BITS as usize + 2];
    for bits in 1..=MAX_BITS as usize {
        next[bits + 1] = (next[bits] + of_length[bits]) << 1;
    }
    for (symbol, length) in lengths.iter().enumerate() {
        if *length > 0 {
            let code = next[usize::from(*length)];
            next[usize::from(*length)] += 1;
            each(symbol, code.reverse_bits() >> (32 - u32::from(*length)), *length);
        }
    }
}

fn kraft(lengths: &[u8]) -> u64 {
    lengths.iter().filter(|length| **length > 0).map(|length| u64::from(KRAFT_ONE >> length)).sum()
}

/// Lengths of the best code of at most [`MAX_BITS`] (Larmore and Hirschberg, "A fast algorithm for optimal
/// length-limited Huffman codes", 1990). Leaves come by ascending count, at least two, at most `1 << MAX_BITS`.
fn package_merge(leaves: &[(u32, u16)]) -> Vec<u8> {
    // Each level offers every leaf, and packages of two neighbours of the level below, merged by weight.
    let mut levels: Vec<Vec<bool>> = Vec::with_capacity(MAX_BITS as usize);
    let mut packages: Vec<u64> = Vec::new();
    for _ in 0..MAX_BITS {
        let mut weights = Vec::with_capacity(leaves.len() + packages.len());
        let mut is_leaf = Vec::with_capacity(leaves.len() + packages.len());
        let mut offered = packages.iter().copied().peekable();
        for (count, _) in leaves {
            let count = u64::from(*count);
            while let Some(package) = offered.next_if(|package| *package < count) {
                weights.push(package);
                is_leaf.push(false);
            }
            weights.push(count);
            is_leaf.push(true);
        }
        is_leaf.resize(is_leaf.len() + offered.len(), false);
        weights.extend(offered);
        packages.clear();
        packages.extend(weights.chunks_exact(2).map(|pair| pair[0] + pair[1]));
        levels.push(is_leaf);
    }
    // Taking the cheapest 2n - 2 of the last level takes, level by level, so many of the lightest leaves.
    let mut lengths = vec![0u8; leaves.len()];
    let mut taken = 2 * leaves.len() - 2;
    for is_leaf in levels.iter().rev() {
        let taken_leaves = is_leaf[..taken].iter().filter(|leaf| **leaf).count();
        for length in &mut lengths[..taken_leaves] {
            *length += 1;
        }
        taken = 2 * (taken - taken_leaves);
    }
    lengths
}

fn run_lengths(lengths: &[u8]) -> Vec<u8> {
    let mut nibbles = Vec::with_capacity(lengths.len());
    let mut at = 0;
    while at < lengths.len() {
        let run = lengths[at..].iter().take(LONG_RUN_MAX).take_while(|length| **length == 0).count();
        match run {
            0 | 1 => nibbles.push(lengths[at]),
            SHORT_RUN_MIN..LONG_RUN_MIN => nibbles.extend([SHORT_RUN, (run - SHORT_RUN_MIN) as u8]),
            _ => {
                let extra = (run - LONG_RUN_MIN) as u8;
                nibbles.extend([LONG_RUN, extra & 15, extra >> 4]);
            }
        }
        at += run.max(1);
    }
    nibbles
}

struct Nibbles<'r, 'a> {
    reader: &'r mut Reader<'a>,
    high: Option<u8>,
}

impl Nibbles<'_, '_> {
    fn next(&mut self) -> Result<u8> {
        if let Some(high) = self.high.take() {
            return Ok(high);
        }
        let byte = self.reader.u8()?;
        self.high = Some(byte >> 4);
        Ok(byte & 15)
    }
}
