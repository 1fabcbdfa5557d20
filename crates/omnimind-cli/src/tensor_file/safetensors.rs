//! The `.safetensors` format: a JSON header and one buffer. As its specification demands, the tensors cover the
//! buffer without gaps or overlaps, and no name comes twice.
//!
//! Source of the format: the README of `huggingface/safetensors`. Its own crate adds up claimed sizes before it
//! compares them with the file, which overflows, and keeps the last of two tensors of one name; hence this reader.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use omnimind_memory::DType;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::error::Fault;
use super::{Place, Tensor, byte_count};

const LENGTH_BYTES: usize = 8;
/// The limit of the format's own reader.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The tensors of a whole file, in the order of their bytes, and what the file says about itself.
pub(super) fn tensors(file: &[u8]) -> Result<(Vec<Tensor>, BTreeMap<String, String>), Fault> {
    let (header, data) = split(file).map_err(Fault::Damaged)?;
    let text = std::str::from_utf8(header).map_err(|error| {
        Fault::Damaged(format!(
            "the header is not UTF-8 (a tensor's name, most likely) at byte {}",
            error.valid_up_to()
        ))
    })?;
    let mut header: Header = serde_json::from_str(text)
        .map_err(|error| Fault::Damaged(format!("the header is not as it should be: {error}")))?;
    header.tensors.sort_by(|(a, this), (b, that)| (this.data_offsets, a).cmp(&(that.data_offsets, b)));
    let begin_of_data = LENGTH_BYTES + text.len();
    let mut covered = 0;
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for (name, info) in header.tensors {
        let tensor = tensor(name, info, covered, data.len(), begin_of_data)?;
        if let Place::File(range) = &tensor.place {
            covered = range.end - begin_of_data;
        }
        tensors.push(tensor);
    }
    if covered != data.len() {
        return Err(Fault::Damaged(format!("{} bytes at the end belong to no tensor", data.len() - covered)));
    }
    Ok((tensors, header.metadata))
}

fn split(file: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (length, rest) = file
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| format!("is {} bytes long, too short for a header", file.len()))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(format!("claims a header of {length} bytes; {MAX_HEADER_BYTES} is the limit"));
    }
    rest.split_at_checked(length as usize)
        .ok_or_else(|| format!("claims a header of {length} bytes, but {} follow", rest.len()))
}

fn tensor(name: String, info: Info, covered: usize, present: usize, shift: usize) -> Result<Tensor, Fault> {
    let (begin, end) = info.data_offsets;
    let damaged = |reason: String| Err(Fault::Damaged(format!("tensor {name:?} {reason}")));
    let Some(dtype) = DType::from_name(&info.dtype) else {
        return Err(Fault::Unsupported {
            reason: format!("tensor {name:?} is of type {:?}", info.dtype),
            next: "convert it to F32, F64, F16, BF16, an integer type or BOOL",
        });
    };
    if begin > end || end > present {
        return damaged(format!("claims the bytes {begin} to {end} of {present}"));
    }
    if begin < covered {
        return damaged(format!("overlaps another: it begins at byte {begin}, which is before {covered}"));
    }
    if begin > covered {
        return damaged(format!("leaves a gap before it: bytes {covered} to {begin} belong to no tensor"));
    }
    if byte_count(dtype, &info.shape) != Some(end - begin) {
        return damaged(format!(
            "of type {dtype} and shape {:?} does not fit into its {} bytes",
            info.shape,
            end - begin
        ));
    }
    Ok(Tensor { name, dtype, shape: info.shape, place: Place::File(shift + begin..shift + end) })
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

struct Header {
    tensors: Vec<(String, Info)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header { tensors: Vec::new(), metadata: BTreeMap::new() };
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("{name:?} comes twice")));
            }
            if name == "__metadata__" {
                header.metadata = map.next_value()?;
            } else {
                header.tensors.push((name, map.next_value()?));
            }
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 7);
        file
    }

    fn entry(name: &str, shape: &str, begin: u64, end: u64) -> String {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    }

    fn reason(bytes: &[u8]) -> String {
        tensors(bytes).unwrap_err().of("m.safetensors".as_ref()).to_string()
    }

    #[test]
    fn tensors_come_in_the_order_of_their_bytes_with_the_metadata() {
        let header = format!(
            r#"{{"__metadata__":{{"k":"v"}},{},{},{}}}"#,
            entry("b", "[2]", 4, 12),
            entry("a", "[]", 0, 4),
            entry("c", "[0,3]", 12, 12)
        );
        let (tensors, metadata) = tensors(&file(&header, 12)).unwrap();
        let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!((names, metadata["k"].as_str()), (vec!["a", "b", "c"], "v"));
    }

    #[test]
    fn a_header_that_lies_is_answered_with_the_tensor_and_the_reason() {
        let huge = 1_u64 << 60;
        for (entries, data, word) in [
            (vec![entry("a", "[1152921504606846976]", 0, 4)], 4, "does not fit"),
            (vec![entry("a", "[1152921504606846976,1152921504606846976]", 0, 4)], 4, "does not fit"),
            (vec![entry("a", "[1]", 0, huge)], 4, "claims the bytes"),
            (vec![entry("a", "[1]", 8, 4)], 8, "claims the bytes"),
            (vec![entry("a", "[2]", 0, 8), entry("b", "[1]", 4, 8)], 8, "overlaps"),
            (vec![entry("a", "[1]", 0, 4), entry("b", "[1]", 8, 12)], 12, "gap"),
            (vec![entry("a", "[1]", 0, 4)], 5, "belong to no tensor"),
            (vec![entry("a", "[1]", 0, 4), entry("a", "[1]", 4, 8)], 8, "twice"),
            (vec![r#""a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}"#.to_owned()], 8, "C64"),
            (vec![r#""a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}"#.to_owned()], 8, "header"),
            (vec!["\"a\":1".to_owned()], 8, "header"),
        ] {
            let message = reason(&file(&format!("{{{}}}", entries.join(",")), data));
            assert!(message.contains(word) && message.contains("m.safetensors"), "{word}: {message}");
        }
        assert!(reason(&[1, 2, 3]).contains("too short"));
        assert!(reason(&u64::MAX.to_le_bytes()).contains("limit"));
        assert!(reason(&[9, 0, 0, 0, 0, 0, 0, 0, b'{']).contains("follow"));
        let mut not_utf8 = file(&format!("{{{}}}", entry("abc", "[1]", 0, 4)), 4);
        not_utf8[10] = 0xff;
        assert!(reason(&not_utf8).contains("UTF-8"));
        assert!(reason(&file(&"[".repeat(10_000), 0)).contains("header"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8), cut in any::<proptest::sample::Index>()) {
            let header = format!("{{{},{}}}", entry("a", "[2,3]", 0, 24), entry("b", "[1]", 24, 28));
            let mut bytes = file(&header, 28);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            drop(tensors(&bytes));
            bytes.truncate(cut.index(bytes.len()));
            drop(tensors(&bytes));
        }
    }
}
