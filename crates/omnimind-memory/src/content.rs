//! The content hash of a memory (R5): what makes two memories the same one. Hashing only; nothing is read from
//! devices or written here.
//!
//! BLAKE3 in key-derivation mode under [`DOMAIN`], over this encoding (integers little-endian, texts preceded by their
//! length in bytes as u64):
//!
//! | field | encoding |
//! |---|---|
//! | layer, kind, bound asked for | text each |
//! | signature | u64 count, then f32 each; count 0 if there is none |
//! | number of tensors | u64 |
//! | per tensor, in the byte order of the names: name, element type | text each |
//! | — rank, extents | u64, u64 each |
//! | — BLAKE3 of the raw bytes | 32 bytes |
//!
//! Metadata, context and time are not content: the same tensors consolidated again are the same memory. A signature is,
//! because otherwise one that is given later would be dropped without a word.

use memory_store::ContentHash;

/// Key-derivation context; a change of the encoding needs a new one.
pub const DOMAIN: &str = "omnimind-memory 2026-11 content of a memory v1";

/// A tensor as the content hash sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TensorContent<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: &'a str,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes_hash: blake3::Hash,
}

/// A memory as the content hash sees it.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    pub(crate) layer: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) bound: &'a str,
    pub(crate) signature: &'a [f32],
    pub(crate) tensors: Vec<TensorContent<'a>>,
}

impl Content<'_> {
    /// The content hash; the order of the tensors does not matter.
    pub(crate) fn hash(mut self) -> ContentHash {
        self.tensors.sort_unstable_by_key(|tensor| tensor.name);
        let mut encoder = Encoder(blake3::Hasher::new_derive_key(DOMAIN));
        encoder.text(self.layer).text(self.kind).text(self.bound);
        encoder.count(self.signature.len());
        for value in self.signature {
            encoder.0.update(&value.to_le_bytes());
        }
        encoder.count(self.tensors.len());
        for tensor in &self.tensors {
            encoder.text(tensor.name).text(tensor.dtype).count(tensor.shape.len());
            for &extent in tensor.shape {
                encoder.count(extent);
            }
            encoder.0.update(tensor.bytes_hash.as_bytes());
        }
        ContentHash::from_bytes(*encoder.0.finalize().as_bytes())
    }
}

struct Encoder(blake3::Hasher);

impl Encoder {
    fn count(&mut self, count: usize) -> &mut Self {
        self.0.update(&(count as u64).to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len()).0.update(text.as_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Tensor = (String, Vec<usize>, Vec<u8>);

    fn hash(layer: &str, kind: &str, bound: &str, signature: &[f32], tensors: &[Tensor]) -> ContentHash {
        let tensors = tensors
            .iter()
            .map(|(name, shape, bytes)| TensorContent {
                name,
                dtype: "U8",
                shape,
                bytes_hash: blake3::hash(bytes),
            })
            .collect();
        Content { layer, kind, bound, signature, tensors }.hash()
    }

    fn tensors() -> impl Strategy<Value = Vec<Tensor>> {
        let tensor =
            (proptest::collection::vec(0..9_usize, 0..4), proptest::collection::vec(any::<u8>(), 0..20));
        proptest::collection::btree_map("[a-c.]{1,4}", tensor, 1..6)
            .prop_map(|map| map.into_iter().map(|(name, (shape, bytes))| (name, shape, bytes)).collect())
    }

    proptest! {
        #[test]
        fn the_hash_does_not_depend_on_the_order_of_the_tensors(tensors in tensors(), rotate in 0..6_usize) {
            // R5
            let mut turned = tensors.clone();
            turned.rotate_left(rotate % tensors.len());
            prop_assert_eq!(hash("l", "k", "b", &[], &tensors), hash("l", "k", "b", &[], &turned));
        }

        #[test]
        fn different_tensors_have_different_hashes(a in tensors(), b in tensors()) {
            // R5
            prop_assert_eq!(hash("l", "k", "b", &[], &a) == hash("l", "k", "b", &[], &b), a == b);
        }

        #[test]
        fn text_cannot_move_between_fields(a in "[xy]{0,3}", b in "[xy]{0,3}", c in "[xy]{0,3}", d in "[xy]{0,3}") {
            // R5
            prop_assert_eq!(hash(&a, &b, "", &[], &[]) == hash(&c, &d, "", &[], &[]), (a, b) == (c, d));
        }
    }

    #[test]
    fn layer_type_bound_and_signature_are_part_of_the_content() {
        // R5
        let tensors = vec![("w".to_owned(), vec![3], vec![1, 2, 3])];
        let all = [
            hash("preconscious", "model", "default", &[], &tensors),
            hash("unconscious", "model", "default", &[], &tensors),
            hash("preconscious", "buffer", "default", &[], &tensors),
            hash("preconscious", "model", "exact", &[], &tensors),
            hash("preconscious", "model", "default", &[1.0], &tensors),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
