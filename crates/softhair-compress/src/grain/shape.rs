//! Which bits of a quantised magnitude go where.
//!
//! A magnitude is `high · 2^low_bits + low`. The low bits are stored as they are. The high part is stored as a class
//! in unary; some classes are two high values wide and take one bit more.

use super::MAX_CLASS;

/// How many low bits, and how wide the classes of the high part are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) low_bits: u32,
    pub(super) classes: Classes,
}

/// Widths of the classes, in units of 2^`low_bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Classes {
    /// 1, 1, 1 …
    Even,
    /// 2, 1, 1, 1 …
    OneWide,
    /// 2, 2, 1, 1 …
    TwoWide,
    /// One class: the magnitude is below 2^`low_bits`, and there is no unary part.
    Flat,
}

impl Classes {
    const ALL: [Self; 4] = [Self::Even, Self::OneWide, Self::TwoWide, Self::Flat];

    /// Classes at the start that are two units wide.
    pub(super) fn wide(self) -> u32 {
        match self {
            Self::Even | Self::Flat => 0,
            Self::OneWide => 1,
            Self::TwoWide => 2,
        }
    }
}

impl Shape {
    pub(super) fn code(self) -> u8 {
        (self.low_bits as u8) << 2 | self.classes as u8
    }

    /// The shape of that code, if it has no more than `max_low_bits`.
    pub(super) fn from_code(code: u8, max_low_bits: u32) -> Option<Self> {
        let shape = Self { low_bits: u32::from(code >> 2), classes: Classes::ALL[usize::from(code & 3)] };
        (shape.low_bits <= max_low_bits).then_some(shape)
    }

    /// The cheapest shape for a Gaussian of `rms_steps` root mean square, in steps.
    ///
    /// In units of the class width the best thresholds are those that split what is left in halves: `TwoWide`
    /// with a unit of 0.25 to 0.335 rms, `OneWide` up to 0.5. By calculation the code
    /// then costs 0.03 to 0.08 bits more than the entropy.
    pub(super) fn for_rms(rms_steps: f64, max_low_bits: u32) -> Self {
        // Below, zero is so common that it deserves a class of its own.
        if rms_steps < 1.4 {
            return Self { low_bits: 0, classes: Classes::Even };
        }
        // The largest unit 2^k not above half an rms; the exponent of a float is the floor of its logarithm.
        let low_bits = exponent(rms_steps / 2.0).clamp(0, max_low_bits as i32) as u32;
        let unit = f64::from(1u32 << low_bits) / rms_steps;
        let classes = if unit < 0.335 { Classes::TwoWide } else { Classes::OneWide };
        Self { low_bits, classes }
    }

    /// As [`Self::for_rms`], but flat where the largest magnitude shows that it costs less (uniform data).
    pub(super) fn for_block(rms_steps: f64, largest: u32, max_low_bits: u32) -> Self {
        let flat = 32 - largest.leading_zeros();
        // A Gaussian of that size takes log2(rms) + 2.08 bits, sign included; flat takes `flat` + 1.
        let gaussian = rms_steps.max(0.35) * 2.114;
        if flat <= max_low_bits && f64::from(flat) <= gaussian.log2() {
            return Self { low_bits: flat, classes: Classes::Flat };
        }
        Self::for_rms(rms_steps, max_low_bits)
    }

    /// Largest magnitude that the shape can hold; beyond it a value is an exception.
    pub(super) fn largest(self) -> u32 {
        match self.classes {
            Classes::Flat => (1 << self.low_bits) - 1,
            classes => (MAX_CLASS + 1 + classes.wide()) * (1 << self.low_bits) - 1,
        }
    }

    /// Layers of four low bits, stored as 32-bit words for eight lanes.
    pub(super) fn nibble_layers(self) -> usize {
        self.low_bits as usize / 4
    }

    /// Low bits above the nibble layers, stored as 64-bit masks.
    pub(super) fn low_planes(self) -> usize {
        self.low_bits as usize % 4
    }

    /// Bytes of the fixed-length part of one group: signs, low bits, and the first threshold.
    pub(super) fn fixed_bytes(self) -> usize {
        let first_threshold = if self.classes == Classes::Flat { 0 } else { 8 };
        8 + 8 * self.low_bits as usize + first_threshold
    }

    /// The class of a high part.
    pub(super) fn class(self, high: u32) -> u32 {
        let wide = self.classes.wide();
        if high < 2 * wide { high / 2 } else { high - wide }
    }
}

/// Floor of the binary logarithm of a positive normal number.
pub(super) fn exponent(value: f64) -> i32 {
    ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023
}
