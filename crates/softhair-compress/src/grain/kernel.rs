//! The hot loops behind function pointers, so that the fastest one that this processor has is chosen once.

use super::{
    BLOCK, GROUP,
    bits::{BitReader, BitWriter},
    pack,
    quantise::{Block, Grain, Quantised},
    shape::Shape,
};

/// One implementation of the hot loops. All give the same bytes.
pub(crate) struct Kernel<T> {
    pub(super) largest_magnitude: fn(&[T]) -> T,
    pub(super) squared_norm: fn(&Block<T>, T) -> T,
    pub(super) quantise: fn(&Block<T>, T, T) -> Quantised<T>,
    /// Appends the first groups of a block.
    pub(super) pack: fn(&Quantised<T>, usize, Shape, &mut Vec<u8>, &mut BitWriter),
    /// Reads as many groups as `fixed` holds.
    pub(super) restore: fn(&[u8], Shape, &mut BitReader<'_>, T, &mut Block<T>),
}

impl<T: Grain> Kernel<T> {
    /// Plain Rust: the reference.
    pub(super) const PORTABLE: Self = Self {
        largest_magnitude: T::largest_magnitude,
        squared_norm: T::squared_norm,
        quantise: T::quantise,
        pack: pack_groups,
        restore: restore_groups,
    };
}

fn pack_groups<T>(
    block: &Quantised<T>,
    groups: usize,
    shape: Shape,
    fixed: &mut Vec<u8>,
    variable: &mut BitWriter,
) {
    let magnitudes = block.magnitudes.as_chunks::<GROUP>().0;
    for (magnitudes, &signs) in magnitudes.iter().zip(&block.signs).take(groups) {
        pack::pack(magnitudes, signs, shape, fixed, variable);
    }
}

fn restore_groups<T: Grain>(
    fixed: &[u8],
    shape: Shape,
    variable: &mut BitReader<'_>,
    step: T,
    block: &mut [T; BLOCK],
) {
    let mut magnitudes = [0; GROUP];
    for (fixed, values) in fixed.chunks_exact(shape.fixed_bytes()).zip(block.as_chunks_mut::<GROUP>().0) {
        let signs = pack::unpack(fixed, shape, variable, &mut magnitudes);
        for (i, (value, &magnitude)) in values.iter_mut().zip(&magnitudes).enumerate() {
            *value = T::restore(magnitude, (signs >> i) & 1 == 1, step);
        }
    }
}

/// Where the fastest kernel of a type comes from.
pub(crate) trait Kernels: Grain {
    fn fastest() -> Kernel<Self>;
}

impl Kernels for f32 {
    fn fastest() -> Kernel<Self> {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = super::avx2::kernel() {
            return kernel;
        }
        Kernel::PORTABLE
    }
}

impl Kernels for f64 {
    fn fastest() -> Kernel<Self> {
        Kernel::PORTABLE
    }
}
