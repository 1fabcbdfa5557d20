//! The name of a memory or of an object: 32 bytes of BLAKE3, written as 64 hexadecimal digits.
//!
//! What goes into the hash of a memory is the caller's business; the hash of an object is that of its bytes.

use crate::error::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A BLAKE3 hash. Ordered as its bytes, and so as its hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A hash computed elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ContentHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match blake3::Hash::from_hex(text) {
            Ok(hash) => Ok(Self(*hash.as_bytes())),
            Err(_) => {
                Err(Error::InvalidHash { text: text.into(), reason: "64 hexadecimal digits are wanted" })
            }
        }
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Names an object and says how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// BLAKE3 of the object's bytes as stored.
    pub hash: ContentHash,
    /// How many there are.
    pub bytes: u64,
}

/// The range of hashes that begin with `prefix`, both ends included.
pub(crate) fn prefix_range(prefix: &str) -> Result<(ContentHash, ContentHash), Error> {
    let bad = |reason| Err(Error::InvalidHash { text: prefix.into(), reason });
    if prefix.len() > 64 {
        return bad("it has more than 64 digits");
    }
    if !prefix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return bad("only the digits 0-9 and a-f are allowed");
    }
    if prefix.len() < 4 {
        return bad("give at least 4 digits");
    }
    let low = format!("{prefix:0<64}").to_ascii_lowercase();
    let high = format!("{prefix:f<64}").to_ascii_lowercase();
    Ok((low.parse()?, high.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_from_what_it_prints() {
        let hash = ContentHash::of(b"x");
        assert_eq!(hash.to_string().parse::<ContentHash>().unwrap(), hash);
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json, format!("\"{hash}\""));
        assert_eq!(serde_json::from_str::<ContentHash>(&json).unwrap(), hash);
        assert!("xyz".parse::<ContentHash>().is_err());
    }

    #[test]
    fn a_prefix_spans_exactly_the_hashes_that_begin_with_it() {
        let (low, high) = prefix_range("ABCde").unwrap();
        assert!(low.to_string().starts_with("abcde0000"));
        assert!(high.to_string().starts_with("abcdeffff"));
        for bad in ["abc", "", "abcg", "é€é", &"a".repeat(65)] {
            assert!(matches!(prefix_range(bad), Err(Error::InvalidHash { .. })), "{bad}");
        }
    }
}
