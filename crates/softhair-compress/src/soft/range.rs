//! A range coder (Martin 1979, in the carry-propagating form of Schindler) with adaptive models. It knows symbols and
//! probabilities, not residuals.
//!
//! `low` and `range` have 64 bits and 32 are moved at a time, so that renormalising is rare and predictable.

/// Symbols of one [`Model`].
pub(super) const SYMBOLS: usize = 16;
/// Cumulative frequencies are parts of `1 << MODEL_BITS`.
const MODEL_BITS: u32 = 15;
/// Probabilities of a [`Bit`] are parts of `1 << BIT_BITS`.
const BIT_BITS: u32 = 16;
/// Below this the coder moves 32 bits out or in.
const REFILL: u64 = 1 << 32;

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
            *c = if i < 10 { i16::MAX - (i16::MAX >> (i + 1)) } else { i16::MAX - 5 * (SYMBOLS - 1 - i) as i16 };
        }
        Self { cumulative, seen: 0 }
    }

    #[inline]
    fn bounds(&self, symbol: usize) -> (u64, u64) {
        let below = if symbol == 0 { 0 } else { self.cumulative[symbol - 1] as u64 };
        let end = if symbol == SYMBOLS - 1 { 1 << MODEL_BITS } else { self.cumulative[symbol] as u64 };
        (below, end)
    }

    /// Moves every boundary a part of the way to where it would be if `symbol` were certain. Targets grow by one per
    /// symbol, which keeps every frequency at least one.
    #[inline]
    fn update(&mut self, symbol: usize) {
        let rate = 4 + u32::from(self.seen > 12) + u32::from(self.seen > 40) + u32::from(self.seen > 120);
        self.seen = self.seen.saturating_add(1);
        for (i, c) in self.cumulative.iter_mut().enumerate() {
            let target = if i >= symbol { i16::MAX - (SYMBOLS - 1 - i) as i16 } else { i as i16 + 1 };
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
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { low: 0, range: u64::MAX, bytes: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
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

    /// The bytes. A decoder reads zeros beyond their end, so the value with the most trailing zeros is chosen.
    pub(super) fn finish(mut self) -> Vec<u8> {
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
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
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
        self.narrow(u64::from(bits), u64::from(bits) + 1, count);
        bits
    }
}

pub(super) struct Decoder<'a> {
    code: u64,
    range: u64,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { code: 0, range: u64::MAX, rest: bytes };
        decoder.refill();
        decoder.refill();
        decoder
    }

    #[inline]
    fn refill(&mut self) {
        let word = if let Some((word, rest)) = self.rest.split_first_chunk::<4>() {
            self.rest = rest;
            u32::from_be_bytes(*word)
        } else {
            let mut word = [0; 4];
            word[..self.rest.len()].copy_from_slice(self.rest);
            self.rest = &[];
            u32::from_be_bytes(word)
        };
        self.code = self.code << 32 | u64::from(word);
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
        let mut symbol = 0;
        while symbol < SYMBOLS - 1 && part * model.cumulative[symbol] as u64 <= self.code {
            symbol += 1;
        }
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
        let part = self.range >> count;
        let bits = (self.code / part).min((1 << count) - 1);
        self.narrow(part, bits, bits + 1);
        bits as u32
    }
}
