//! The same code compiled twice: for the baseline of the target, and for AVX2 with BMI where the processor has them.
//!
//! There are no intrinsics: the loops are written so that compilers vectorise them, so both forms give the same
//! bytes by construction. This module only chooses; what runs is in [`super::float`] and [`super::planes`].

// Calling code compiled for features of the processor is unsafe; it happens here only, behind `Level`.
#![allow(unsafe_code)]

use super::float::{self, Brain, Double, Half, Layout, Single};
use super::planes;
use super::reader::Reader;
use crate::{DType, Result};

/// Which form runs. The faster one cannot be had where the processor lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    avx2: bool,
}

impl Level {
    /// Runs everywhere.
    #[cfg(test)]
    pub(super) const PORTABLE: Self = Self { avx2: false };

    /// The best that this processor runs.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt");
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = false;
        Self { avx2 }
    }
}

macro_rules! twice {
    ($(#[$doc:meta])* fn $name:ident $(<$layout:ident>)? ($($arg:ident: $type:ty),*) -> $result:ty = $body:path) => {
        $(#[$doc])*
        fn $name $(<$layout: Layout>)? (level: Level, $($arg: $type),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
                fn fast $(<$layout: Layout>)? ($($arg: $type),*) -> $result {
                    $body($($arg),*)
                }
                if level.avx2 {
                    // SAFETY: only `Level::detect` sets `avx2`, after it found every feature that `fast` enables.
                    return unsafe { fast $(::<$layout>)? ($($arg),*) };
                }
            }
            let _ = level;
            $body($($arg),*)
        }
    };
}

twice! { fn float_encode_as<L>(bytes: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> bool = float::encode::<L> }
twice! { fn float_decode_as<L>(reader: &mut Reader<'_>, scratch: &mut Vec<u16>, out: &mut [u8]) -> Result<()> = float::decode::<L> }
twice! { fn plane_encode_as(plane: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> () = planes::huffman_encode }
twice! { fn plane_decode_as(reader: &mut Reader<'_>, scratch: &mut Vec<u16>, plane: &mut [u8]) -> Result<()> = planes::huffman_decode }

impl Level {
    /// [`float::encode`] for this type; `false` for types that are no floats.
    pub(super) fn float_encode(
        self,
        dtype: DType,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> bool {
        match dtype {
            DType::F16 => float_encode_as::<Half>(self, bytes, scratch, out),
            DType::BF16 => float_encode_as::<Brain>(self, bytes, scratch, out),
            DType::F32 => float_encode_as::<Single>(self, bytes, scratch, out),
            DType::F64 => float_encode_as::<Double>(self, bytes, scratch, out),
            _ => false,
        }
    }

    /// [`float::decode`] for this type.
    pub(super) fn float_decode(
        self,
        dtype: DType,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u16>,
        out: &mut [u8],
    ) -> Result<()> {
        match dtype {
            DType::F16 => float_decode_as::<Half>(self, reader, scratch, out),
            DType::BF16 => float_decode_as::<Brain>(self, reader, scratch, out),
            DType::F32 => float_decode_as::<Single>(self, reader, scratch, out),
            DType::F64 => float_decode_as::<Double>(self, reader, scratch, out),
            _ => Err(crate::Error::Damaged("exact chunk of integers is coded as floats")),
        }
    }

    /// [`planes::huffman_encode`].
    pub(super) fn plane_encode(self, plane: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        plane_encode_as(self, plane, scratch, out);
    }

    /// [`planes::huffman_decode`].
    pub(super) fn plane_decode(
        self,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u16>,
        plane: &mut [u8],
    ) -> Result<()> {
        plane_decode_as(self, reader, scratch, plane)
    }
}
