//! The two floating-point types that lossy families compute in. Halves are widened to `f32` first.

use std::borrow::Cow;

/// `f32` or `f64`, with what the codecs need of them.
pub(crate) trait Real:
    Copy
    + PartialOrd
    + Send
    + Sync
    + Default
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + 'static
{
    /// Bytes of one value.
    const BYTES: usize;
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn is_finite(self) -> bool;
    /// +0, not −0.
    fn is_positive_zero(self) -> bool;
    /// Half a unit in the last place of 1.
    const HALF_ULP: f64;
    /// Far enough below overflow that sums of many values stay finite.
    const LARGEST: f64;
    /// Far enough above underflow that an inverse is finite and a small part of it normal.
    const SMALLEST: f64;
    fn from_i32(value: i32) -> Self;
    fn abs(self) -> Self;
    /// The bit pattern, zero-extended.
    fn bits(self) -> u64;
    /// The value whose bit pattern is the low bits.
    fn from_bits(bits: u64) -> Self;
    /// The nearest integer, and what it is as a value; zero beyond ±2^30 and for NaN.
    fn nearest(self) -> (Self, i32);
    /// The largest magnitude, and whether all are below `limit` and none is -0.0. Only meaningful if so.
    fn survey(values: &[Self], limit: Self) -> (Self, bool);
    /// Writes the value little-endian at the end of `out`.
    fn write_le(self, out: &mut Vec<u8>);
    /// Writes the value little-endian over exactly [`Self::BYTES`] bytes.
    fn store_le(self, out: &mut [u8]);
    /// Reads a value from exactly [`Self::BYTES`] bytes; shorter input reads as zero-extended.
    fn read_le(bytes: &[u8]) -> Self;
    /// All values in `bytes`; a view where alignment and byte order allow.
    fn slice_le(bytes: &[u8]) -> Cow<'_, [Self]>;
    /// `bytes` as values to write; `None` where alignment or byte order do not allow it.
    fn slice_le_mut(bytes: &mut [u8]) -> Option<&mut [Self]>;
}

macro_rules! real {
    ($type:ty, $int:ty, $half_ulp:expr, $largest:expr, $smallest:expr) => {
        impl Real for $type {
            const BYTES: usize = size_of::<$type>();
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn is_finite(self) -> bool {
                self.is_finite()
            }
            fn is_positive_zero(self) -> bool {
                self.to_bits() == 0
            }
            const HALF_ULP: f64 = $half_ulp;
            const LARGEST: f64 = $largest;
            const SMALLEST: f64 = $smallest;
            #[inline]
            fn abs(self) -> Self {
                self.abs()
            }
            #[inline]
            fn from_i32(value: i32) -> Self {
                value as $type
            }
            #[inline]
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
            fn from_bits(bits: u64) -> Self {
                <$type>::from_bits(bits as _)
            }
            #[inline]
            fn nearest(self) -> (Self, i32) {
                // Not `round`, which calls into libm and does not vectorise.
                let small = if self.abs() < 1_073_741_824.0 { self } else { 0.0 };
                let whole = (small + <$type>::copysign(0.5, small)) as i32;
                (whole as $type, whole)
            }
            fn survey(values: &[Self], limit: Self) -> (Self, bool) {
                // Magnitudes are ordered like their bits, and a maximum of integers vectorises.
                let (mut largest, mut negative_zeros) = (0, 0);
                for value in values {
                    let bits = value.to_bits() as $int;
                    largest = largest.max(bits & <$int>::MAX);
                    negative_zeros |= <$int>::from(bits == <$int>::MIN);
                }
                let largest = <$type>::from_bits(largest as _);
                (largest, largest < limit && negative_zeros == 0)
            }
            fn write_le(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn store_le(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_le_bytes());
            }
            fn read_le(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$type>()];
                let count = bytes.len().min(raw.len());
                raw[..count].copy_from_slice(&bytes[..count]);
                Self::from_le_bytes(raw)
            }
            fn slice_le_mut(bytes: &mut [u8]) -> Option<&mut [Self]> {
                bytemuck::try_cast_slice_mut(bytes).ok().filter(|_| cfg!(target_endian = "little"))
            }
            fn slice_le(bytes: &[u8]) -> Cow<'_, [Self]> {
                match bytemuck::try_cast_slice(bytes) {
                    Ok(values) if cfg!(target_endian = "little") => Cow::Borrowed(values),
                    _ => bytes.chunks_exact(Self::BYTES).map(Self::read_le).collect(),
                }
            }
        }
    };
}

real!(f32, i32, 1.0 / 16_777_216.0, 1e30, 1e-30);
real!(f64, i64, 1.0 / 9_007_199_254_740_992.0, 1e300, 1e-300);
