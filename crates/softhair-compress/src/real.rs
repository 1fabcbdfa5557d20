//! The two floating-point types that lossy families compute in. Halves are widened to `f32` first.

use std::borrow::Cow;

/// `f32` or `f64`, with what the codecs need of them.
pub(crate) trait Real: Copy + PartialOrd + Send + Sync + Default + std::fmt::Debug + 'static {
    /// Bytes of one value.
    const BYTES: usize;
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn is_finite(self) -> bool;
    /// +0, not −0.
    fn is_positive_zero(self) -> bool;
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
    ($type:ty) => {
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

real!(f32);
real!(f64);
