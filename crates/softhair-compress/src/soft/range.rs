//! A range coder (Martin 1979, in the carry-propagating form of Schindler) with adaptive models, and beside it a plain
//! stream for bits that nothing is known about. It knows symbols and probabilities, not residuals.
//!
//! `low` and `range` have 64 bits and 32 are moved at a time, so that renormalising is rare and predictable. The plain
//! stream saves the range coder a multiplication and a division per sign.

/// Symbols of one [`Model`].
pub(super) const SYMBOLS: usize = 16;
/// Cumulative frequencies are parts of `1 << MODEL_BITS`.
const MODEL_BITS: u32 = 15;
/// Probabilities of a [`Bit`] are parts of `1 << BIT_BITS`.
const BIT_BITS: u32 = 16;
/// Below this the coder moves 32 bits out or in.
const REFILL: u64 = 1 << 32;

/// Where the boundaries go if a symbol is certain. They grow by one per symbol, which keeps every frequency at least one.
const TARGETS: [[i16; SYMBOLS]; SYMBOLS] = {
    let mut targets = [[0; SYMBOLS]; SYMBOLS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let mut i = 0;
        while i < SYMBOLS {
            targets[symbol][i] = if i >= symbol { i16::MAX - (SYMBOLS - 1 - i) as i16 } else { i as i16 + 1 };
            i += 1;
        }
        symbol += 1;
    }
    targets
};

/// How slowly probabilities move (a shift) after so many symbols: fast at first.
const RATES: [u8; 128] = {
    let mut rates = [7; 128];
    let mut seen = 0;
    while seen < 120 {
        rates[seen] = if seen < 12 {
            4
        } else if seen < 40 {
            5
        } else {
            6
        };
        seen += 1;
    }
    rates
};

/// Adaptive probabilities of sixteen symbols: a mixture that moves towards each symbol seen (as in Daala and AV1).
#[derive(Clone)]
pub(super) struct Model {
    /// `cumulative[i]`: frequency of symbols up to and including `i`. The last is the whole and never moves.
    cumulative: [i16; SYMBOLS],
    seen: u8,
}

impl Model {
    /// Starts near a distribution in which each symbol is half as frequent as the one before.
    pub(super) fn new() -> Self {
        let mut cumulative = [0; SYMBOLS];
        for (i, c) in cumulative.iter_mut().enumerate() {
            *c = if i < 10 {
                i16::MAX - (i16::MAX >> (i + 1))
            } else {
                i16::MAX - 5 * (SYMBOLS - 1 - i) as i16
            };
        }
        Self { cumulative, seen: 0 }
    }

    #[inline]
    fn bounds(&self, symbol: usize) -> (u64, u64) {
        let below = if symbol == 0 { 0 } else { self.cumulative[symbol - 1] as u64 };
        let end = if symbol == SYMBOLS - 1 { 1 << MODEL_BITS } else { self.cumulative[symbol] as u64 };
        (below, end)
    }

    /// Moves every boundary a part of the way to where it would be if `symbol` were certain.
    #[inline]
    fn update(&mut self, symbol: usize) {
        let rate = RATES[usize::from(self.seen)];
        self.seen = (self.seen + 1).min(RATES.len() as u8 - 1);
        for (c, target) in self.cumulative.iter_mut().zip(TARGETS[symbol]) {
            *c += (target - *c) >> rate;
        }
    }
}

/// Adaptive probability of one bit being set.
#[derive(Clone, Copy)]
pub(super) struct Bit {
    set: u16,
    seen: u8,
}

impl Bit {
    pub(super) const fn new() -> Self {
        Self { set: 1 << (BIT_BITS - 1), seen: 0 }
    }

    #[inline]
    fn update(&mut self, bit: bool) {
        let rate = 3 + u32::from(self.seen > 6) + u32::from(self.seen > 20) + u32::from(self.seen > 60);
        self.seen = self.seen.saturating_add(1);
        if bit {
            self.set += (u16::MAX - 15 - self.set.min(u16::MAX - 15)) >> rate;
        } else {
            self.set -= (self.set - self.set.min(16)) >> rate;
        }
    }
}

/// What an encoder and a decoder have in common, so that a format is written once for both directions.
pub(super) trait Coder {
    /// Codes a symbol below [`SYMBOLS`]; a decoder ignores the argument.
    fn symbol(&mut self, model: &mut Model, symbol: usize) -> usize;
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool;
    /// Codes the `count` (at most 16) low bits of `bits` as equally likely.
    fn raw(&mut self, count: u32, bits: u32) -> u32;

    /// Up to 64 equally likely bits.
    fn raw_wide(&mut self, count: u32, bits: u64) -> u64 {
        let mut value = 0;
        let mut done = 0;
        while done < count {
            let part = (count - done).min(16);
            value |= u64::from(self.raw(part, (bits >> done) as u32 & ((1 << part) - 1))) << done;
            done += part;
        }
        value
    }

    /// A number with an adaptive count of bits in front (Elias gamma).
    fn number(&mut self, lengths: &mut [Bit; 64], value: u64) -> u64 {
        let value = value.saturating_add(1);
        let length = value.ilog2() as usize;
        let mut found = 0;
        while found < 63 && self.bit(&mut lengths[found], found < length) {
            found += 1;
        }
        let rest = self.raw_wide(found as u32, value & ((1 << length) - 1));
        ((1 << found) | rest) - 1
    }
}

pub(super) struct Encoder {
    low: u64,
    range: u64,
    bytes: Vec<u8>,
    /// Bits not yet in `plain`, lowest first.
    pending: u64,
    pending_bits: u32,
    plain: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { low: 0, range: u64::MAX, bytes: Vec::new(), pending: 0, pending_bits: 0, plain: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.plain.len()
    }

    #[inline]
    fn narrow(&mut self, below: u64, end: u64, bits: u32) {
        let part = self.range >> bits;
        let (low, carry) = self.low.overflowing_add(part * below);
        self.low = low;
        if carry {
            self.carry();
        }
        self.range = part * (end - below);
        if self.range < REFILL {
            self.bytes.extend_from_slice(&((self.low >> 32) as u32).to_be_bytes());
            self.low <<= 32;
            self.range <<= 32;
        }
    }

    #[cold]
    fn carry(&mut self) {
        for byte in self.bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    /// Appends the length of the range-coded stream (u32), that stream and the plain one. Both end where only zeros
    /// follow, which is what a decoder reads beyond their end.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        self.plain.extend_from_slice(&self.pending.to_le_bytes());
        for zeros in (0..64).rev() {
            let mask = (1_u64 << zeros) - 1;
            let (up, carry) = self.low.overflowing_add(mask);
            let value = up & !mask;
            if value.wrapping_sub(self.low) < self.range {
                if carry {
                    self.carry();
                }
                self.bytes.extend_from_slice(&value.to_be_bytes());
                break;
            }
        }
        for stream in [&mut self.bytes, &mut self.plain] {
            while stream.last() == Some(&0) {
                stream.pop();
            }
        }
        out.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(&self.plain);
    }
}

impl Coder for Encoder {
    #[inline]
    fn symbol(&mut self, model: &mut Model, symbol: usize) -> usize {
        let (below, end) = model.bounds(symbol);
        self.narrow(below, end, MODEL_BITS);
        model.update(symbol);
        symbol
    }

    #[inline]
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool {
        let set = u64::from(model.set);
        let (below, end) = if bit { (0, set) } else { (set, 1 << BIT_BITS) };
        self.narrow(below, end, BIT_BITS);
        model.update(bit);
        bit
    }

    #[inline]
    fn raw(&mut self, count: u32, bits: u32) -> u32 {
        self.pending |= u64::from(bits) << self.pending_bits;
        self.pending_bits += count;
        if self.pending_bits >= 32 {
            self.plain.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.pending_bits -= 32;
        }
        bits
    }
}

pub(super) struct Decoder<'a> {
    code: u64,
    range: u64,
    rest: &'a [u8],
    /// Bits taken from `plain` but not used, lowest first.
    pending: u64,
    pending_bits: u32,
    plain: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// `None` if the bytes are shorter than they say.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let (length, streams) = bytes.split_first_chunk()?;
        let (rest, plain) = streams.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let mut decoder = Self { code: 0, range: u64::MAX, rest, pending: 0, pending_bits: 0, plain };
        decoder.refill();
        decoder.refill();
        Some(decoder)
    }

    #[inline]
    fn refill(&mut self) {
        self.code = self.code << 32 | u64::from(u32::from_be_bytes(next_word(&mut self.rest)));
    }

    /// `part * below` is at most `code`, whatever the bytes: the callers search for it.
    #[inline]
    fn narrow(&mut self, part: u64, below: u64, end: u64) {
        self.code -= part * below;
        self.range = part * (end - below);
        if self.range < REFILL {
            self.refill();
            self.range <<= 32;
        }
    }
}

impl Coder for Decoder<'_> {
    #[inline]
    fn symbol(&mut self, model: &mut Model, _: usize) -> usize {
        let part = self.range >> MODEL_BITS;
        // Zero is by far the most frequent symbol and needs no division.
        let symbol = if self.code < part * model.cumulative[0] as u64 {
            0
        } else {
            let at = (self.code / part).min(i16::MAX as u64) as i16;
            model.cumulative[..SYMBOLS - 1].iter().map(|&c| i16::from(c <= at)).sum::<i16>() as usize
        };
        let (below, end) = model.bounds(symbol);
        self.narrow(part, below, end);
        model.update(symbol);
        symbol
    }

    #[inline]
    fn bit(&mut self, model: &mut Bit, _: bool) -> bool {
        let part = self.range >> BIT_BITS;
        let set = u64::from(model.set);
        let bit = self.code < part * set;
        if bit {
            self.narrow(part, 0, set);
        } else {
            self.narrow(part, set, 1 << BIT_BITS);
        }
        model.update(bit);
        bit
    }

    #[inline]
    fn raw(&mut self, count: u32, _: u32) -> u32 {
        if self.pending_bits < count {
            self.pending |= u64::from(u32::from_le_bytes(next_word(&mut self.plain))) << self.pending_bits;
            self.pending_bits += 32;
        }
        let bits = self.pending as u32 & ((1 << count) - 1);
        self.pending >>= count;
        self.pending_bits -= count;
        bits
    }
}

/// Takes four bytes, zeros if there are none left.
#[inline]
fn next_word(bytes: &mut &[u8]) -> [u8; 4] {
    if let Some((word, rest)) = bytes.split_first_chunk() {
        *bytes = rest;
        return *word;
    }
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    *bytes = &[];
    word
}
