//! The header of a bundle, to bytes and back. The only place that knows bincode.

use bincode::config::{self, Config};
use bincode::{Decode, Encode};
use serde::Serialize;

use crate::error::{Error, Result};

/// Largest header that is written or read.
pub const MAX_HEADER_BYTES: u32 = 16 << 20;

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Default, Encode, Decode, Serialize)]
pub struct BundleHeader {
    /// Type of the item, such as `model`.
    pub kind: String,
    /// Whatever the caller wants to keep with it, as JSON text. Not looked into here.
    pub metadata: String,
    /// The item's embedding, where it has one.
    pub signature: Option<Vec<f32>>,
    /// The tensors, in the order of their frames.
    pub tensors: Vec<TensorEntry>,
}

/// One tensor of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct TensorEntry {
    /// Its name in the item.
    pub name: String,
    /// Its size before compression, in bytes.
    pub original_bytes: u64,
}

fn settings() -> impl Config {
    config::standard().with_little_endian().with_fixed_int_encoding()
}

impl BundleHeader {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = bincode::encode_to_vec(self, settings()).map_err(|error| not_a_bundle(&error))?;
        if bytes.len() > MAX_HEADER_BYTES as usize {
            return Err(Error::HeaderTooLarge {
                bytes: bytes.len() as u64,
                limit: u64::from(MAX_HEADER_BYTES),
            });
        }
        Ok(bytes)
    }

    /// From bytes that are all there. What they claim to hold is allocated only up to some times their own
    /// size:
    /// a list element takes 16 bytes here and 32 in memory at the most.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() <= 0x2000 {
            decode(bytes, settings_with_limit::<0x8000>())
        } else if bytes.len() <= 0x4_0000 {
            decode(bytes, settings_with_limit::<0x10_0000>())
        } else {
            decode(bytes, settings_with_limit::<{ 4 * MAX_HEADER_BYTES as usize }>())
        }
    }
}

fn settings_with_limit<const LIMIT: usize>() -> impl Config {
    config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

fn decode(bytes: &[u8], settings: impl Config) -> Result<BundleHeader> {
    let (header, used) = bincode::decode_from_slice(bytes, settings).map_err(|error| not_a_bundle(&error))?;
    if used == bytes.len() {
        Ok(header)
    } else {
        Err(Error::NotABundle {
            reason: format!("its header has {} bytes more than it needs", bytes.len() - used),
        })
    }
}

fn not_a_bundle(error: &dyn std::fmt::Display) -> Error {
    Error::NotABundle { reason: format!("its header makes no sense: {error}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_those_the_documentation_names() {
        let header = BundleHeader {
            kind: "m".into(),
            metadata: "{}".into(),
            signature: Some(vec![1.0]),
            tensors: vec![TensorEntry { name: "w".into(), original_bytes: 258 }],
        };
        #[rustfmt::skip]
        let expected = [
            1, 0, 0, 0, 0, 0, 0, 0, b'm',
            2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}',
            1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3f,
            1, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, 0, 0, 0, 0, b'w', 2, 1, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(header.to_bytes().unwrap(), expected);
    }

    #[test]
    fn a_header_of_nothing_but_short_entries_is_read_at_every_size() {
        // What is in memory is larger than its bytes: the limits must leave room for that.
        for count in [0, 1, 500, 510, 520, 16_000, 16_400, 1_000_000] {
            let entry = TensorEntry { name: String::new(), original_bytes: 0 };
            let header = BundleHeader { tensors: vec![entry; count], ..BundleHeader::default() };
            let bytes = header.to_bytes().unwrap();
            assert_eq!(BundleHeader::from_bytes(&bytes).unwrap(), header, "{count}");
        }
    }

    #[test]
    fn a_header_that_is_too_large_is_refused_when_it_is_written() {
        let header =
            BundleHeader { metadata: " ".repeat(MAX_HEADER_BYTES as usize), ..BundleHeader::default() };
        assert!(matches!(header.to_bytes(), Err(Error::HeaderTooLarge { .. })));
    }

    #[test]
    fn a_length_that_is_not_there_is_refused() {
        for claimed in [u64::MAX, 1 << 60, 1 << 30, 100] {
            let mut bytes = claimed.to_le_bytes().to_vec();
            assert!(BundleHeader::from_bytes(&bytes).is_err());
            bytes.splice(0..0, [0; 17]);
            assert!(BundleHeader::from_bytes(&bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(header) = BundleHeader::from_bytes(&bytes) {
                prop_assert_eq!(header.to_bytes().unwrap(), bytes);
            }
        }
    }
}
