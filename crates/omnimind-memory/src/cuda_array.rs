//! Tensors that come as a `__cuda_array_interface__`: what Numba, `CuPy`, `PyTorch` and others say of memory on a card, as a
//! dictionary. It names no card and no owner, so the caller does.
#![expect(unsafe_code, reason = "the address in the dictionary is the caller's to vouch for")]

use serde::Deserialize;
use softhair_compress::DType;

use crate::{
    Error, NamedTensor, Result,
    layout::{Dense, Strides},
};

/// The dictionary, versions 2 and 3, as `json.dumps(tensor.__cuda_array_interface__)` writes it.
///
/// ```
/// use omnimind_memory::CudaArrayInterface;
///
/// let json = r#"{"shape": [2, 3], "typestr": "<f4", "data": [4096, false], "strides": null, "version": 2}"#;
/// let array: CudaArrayInterface = serde_json::from_str(json)?;
/// assert_eq!(array.check("w")?.byte_count(), 24);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CudaArrayInterface {
    /// Elements along each dimension.
    pub shape: Vec<i64>,
    /// Byte order, kind and size of the elements, for example `<f4`.
    pub typestr: String,
    /// Address of the first element, and whether it may only be read.
    pub data: (u64, bool),
    /// Bytes from one element to the next along each dimension; none for row-major.
    #[serde(default)]
    pub strides: Option<Vec<i64>>,
    /// Version of the interface.
    pub version: u32,
    /// The stream on which the memory was last written; none if nothing needs to be waited for.
    #[serde(default)]
    pub stream: Option<u64>,
    /// Which elements are valid; only arrays without a mask are taken.
    #[serde(default)]
    pub mask: Option<serde_json::Value>,
}

/// A dictionary that makes sense: a dense, row-major array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaArray {
    name: String,
    dense: Dense,
}

impl CudaArrayInterface {
    /// Whether it can be consolidated. Follows no pointer.
    ///
    /// # Errors
    /// [`Error::Foreign`] with the reason.
    pub fn check(&self, name: impl Into<String>) -> Result<CudaArray> {
        let name = name.into();
        match self.dense() {
            Ok(dense) => Ok(CudaArray { name, dense }),
            Err(reason) => Err(Error::Foreign { tensor: name, reason }),
        }
    }

    fn dense(&self) -> Result<Dense, String> {
        if !matches!(self.version, 2 | 3) {
            return Err(format!("its interface is of version {}, and only 2 and 3 are known", self.version));
        }
        if self.mask.as_ref().is_some_and(|mask| !mask.is_null()) {
            return Err("it has a mask; fill in the masked elements first".to_owned());
        }
        if self.stream == Some(0) {
            return Err("its stream is 0, which means none in particular; export it again".to_owned());
        }
        let dtype = dtype(&self.typestr)?;
        let strides = self.strides.as_deref().map(|steps| Strides { steps, unit_bytes: 1 });
        Dense::check(dtype, &self.shape, strides, self.data.0, 0)
    }
}

impl CudaArray {
    /// Bytes of all elements.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        self.dense.bytes
    }

    /// The tensor, in memory of card `device`; see [`NamedTensor::borrowed`] for what happens to `owner`.
    ///
    /// # Safety
    /// As [`NamedTensor::borrowed`]; work on the stream that the dictionary names is done.
    #[must_use]
    pub unsafe fn tensor(self, device: u32, owner: impl Send + 'static) -> NamedTensor<'static> {
        NamedTensor::foreign(self.name, self.dense, Some(device), owner)
    }
}

/// The element type of an array interface's type string.
fn dtype(typestr: &str) -> Result<DType, String> {
    let other =
        || format!("elements of type {typestr:?} are not supported; convert them, or view them as integers");
    let (order, rest) = typestr.split_at_checked(1).ok_or_else(other)?;
    let (kind, size) = rest.split_at_checked(1).ok_or_else(other)?;
    let dtype = match (kind, size) {
        ("b", "1") => DType::Bool,
        ("i", "1") => DType::I8,
        ("i", "2") => DType::I16,
        ("i", "4") => DType::I32,
        ("i", "8") => DType::I64,
        ("u", "1") => DType::U8,
        ("u", "2") => DType::U16,
        ("u", "4") => DType::U32,
        ("u", "8") => DType::U64,
        ("f", "2") => DType::F16,
        ("f", "4") => DType::F32,
        ("f", "8") => DType::F64,
        ("V", "2") => {
            return Err("its type is \"V2\", two bytes of anything; bfloat16 has no type string, so hand it over by DLPack".to_owned());
        }
        _ => return Err(other()),
    };
    match order {
        "<" | "=" => Ok(dtype),
        "|" if dtype.size_bytes() == 1 => Ok(dtype),
        ">" => Err(format!("its elements are big-endian ({typestr:?}); convert them")),
        _ => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TensorData;

    fn array(typestr: &str) -> CudaArrayInterface {
        CudaArrayInterface {
            shape: vec![2, 3],
            typestr: typestr.to_owned(),
            data: (4096, true),
            strides: None,
            version: 3,
            stream: Some(1),
            mask: None,
        }
    }

    fn reason(array: &CudaArrayInterface) -> String {
        array.check("w").unwrap_err().to_string()
    }

    #[test]
    fn the_dictionary_of_a_framework_becomes_a_tensor_on_the_card_that_the_caller_names() {
        let json = r#"{"typestr": "|b1", "shape": [2, 3], "strides": [3, 1], "data": [139637976727552, false], "version": 2,
            "descr": [["", "|b1"]]}"#;
        let array: CudaArrayInterface = serde_json::from_str(json).unwrap();
        // SAFETY: nobody reads it.
        let tensor = unsafe { array.check("mask").unwrap().tensor(1, ()) };
        assert_eq!((tensor.dtype, tensor.byte_count()), (DType::Bool, 6));
        let TensorData::Borrowed(borrowed) = &tensor.data else { panic!("{tensor:?}") };
        assert_eq!((borrowed.device(), borrowed.address()), (Some(1), 139_637_976_727_552));
    }

    #[test]
    fn what_cannot_be_taken_says_why() {
        assert!(reason(&array("<V2")).contains("bfloat16"));
        assert!(reason(&array(">f4")).contains("big-endian"));
        for unknown in ["", "<", "<f", "<f16", "|f4", "<c8", "<M8", "φ4", "<φ"] {
            assert!(array(unknown).check("w").is_err(), "{unknown}");
        }
        let transposed = CudaArrayInterface { strides: Some(vec![4, 8]), ..array("<f4") };
        assert!(reason(&transposed).contains("[4, 8] (in bytes)"), "{}", reason(&transposed));
        assert!(reason(&CudaArrayInterface { version: 4, ..array("<f4") }).contains("version 4"));
        assert!(reason(&CudaArrayInterface { stream: Some(0), ..array("<f4") }).contains("stream"));
        let masked = CudaArrayInterface { mask: Some(serde_json::json!({"data": 1})), ..array("<f4") };
        assert!(reason(&masked).contains("mask"));
    }

    proptest! {
        #[test]
        fn whatever_a_dictionary_says_is_taken_or_refused(
            shape in prop::collection::vec(prop_oneof![any::<i64>(), 0..9_i64], 0..6),
            typestr in "[<>|=]?[biufVc]?[0-9]{0,2}|.{0,4}",
            data in any::<(u64, bool)>(),
            strides in prop::option::of(prop::collection::vec(any::<i64>(), 0..6)),
            version in 0..5_u32,
            stream in prop::option::of(0..3_u64),
        ) {
            let array = CudaArrayInterface { shape, typestr, data, strides, version, stream, mask: None };
            if let Ok(checked) = array.check("w") {
                prop_assert!(array.data.0.checked_add(checked.byte_count()).is_some());
            }
        }
    }
}
