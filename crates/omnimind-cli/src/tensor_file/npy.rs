//! The `.npy` format: one array with a header that is a Python dictionary. Only arrays that are plain, little-endian
//! and row-major are read; every other kind is refused with the line of Python that converts it.
//!
//! Source of the format: `numpy/lib/format.py`, versions 1.0 to 3.0.

use omnimind_memory::DType;

use super::error::Fault;
use super::{Place, Tensor, byte_count};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// `NumPy` itself refuses headers beyond 10,000 bytes unless told otherwise.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// `NumPy` allows 64.
const MAX_DIMENSIONS: usize = 64;

const CONVERT_ORDER: &str = "save it in row-major order: np.save(path, np.ascontiguousarray(array))";
const CONVERT_BYTES: &str =
    "save it little-endian: np.save(path, array.astype(array.dtype.newbyteorder('<')))";
const CONVERT_COMPLEX: &str =
    "save real and imaginary part as two arrays: np.savez(path, re=z.real, im=z.imag)";
const CONVERT_OTHER: &str =
    "save plain numbers of float16 to float64, an integer type or bool, or bfloat16 as .safetensors";

/// The array of a whole `.npy` file.
pub(super) fn tensor(name: &str, file: &[u8]) -> Result<Tensor, Fault> {
    let Header { dtype, shape, data } = header(file)?;
    let present = file.len() - data;
    let Some(claimed) = byte_count(dtype, &shape) else {
        return Err(Fault::Damaged(format!(
            "the header claims the shape {shape:?}, more than any machine can hold"
        )));
    };
    if present != claimed {
        return Err(Fault::Damaged(format!(
            "the header claims {claimed} bytes of elements ({dtype} {shape:?}), but {present} follow it"
        )));
    }
    Ok(Tensor { name: name.to_owned(), dtype, shape, place: Place::File(data..file.len()) })
}

#[derive(Debug)]
struct Header {
    dtype: DType,
    shape: Vec<usize>,
    /// Where the elements begin.
    data: usize,
}

fn header(file: &[u8]) -> Result<Header, Fault> {
    let damaged = |reason: &str| Fault::Damaged(reason.to_owned());
    if !file.starts_with(MAGIC) {
        return Err(damaged("does not begin as a .npy file"));
    }
    let (length, begin) = match *file.get(6..).unwrap_or_default() {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        [version, ..] if version > 3 || version == 0 => {
            return Err(Fault::Unsupported {
                reason: format!(".npy version {version}"),
                next: "save it with np.save",
            });
        }
        _ => return Err(damaged("ends within the header")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(Fault::Damaged(format!(
            "claims a header of {length} bytes; {MAX_HEADER_BYTES} is the limit"
        )));
    }
    let data = begin + length;
    let text = file.get(begin..data).ok_or_else(|| damaged("ends within the header"))?;
    let text = std::str::from_utf8(text).map_err(|_| damaged("the header is not UTF-8"))?;
    let fields = Parser { rest: text }
        .fields()
        .map_err(|reason| Fault::Damaged(format!("in the header: {reason}")))?;
    let dtype = dtype(&fields.descr)?;
    // With fewer than two dimensions, both orders are the same.
    if fields.fortran_order && fields.shape.len() > 1 {
        return Err(Fault::Unsupported {
            reason: "is in column-major (Fortran) order".into(),
            next: CONVERT_ORDER,
        });
    }
    Ok(Header { dtype, shape: fields.shape, data })
}

fn dtype(descr: &Descr) -> Result<DType, Fault> {
    let descr = match descr {
        Descr::Plain(descr) => descr.as_str(),
        Descr::Structured => {
            return Err(Fault::Unsupported {
                reason: "is a structured array".into(),
                next: "save each field as its own array: np.savez(path, **{n: a[n] for n in a.dtype.names})",
            });
        }
    };
    let unsupported =
        |reason: &str, next| Fault::Unsupported { reason: format!("{reason} ({descr:?})"), next };
    let (order, kind) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), kind)) => (order, kind),
        _ => ("<", descr),
    };
    let dtype = match kind {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        "c8" | "c16" | "c32" => return Err(unsupported("holds complex numbers", CONVERT_COMPLEX)),
        "O" => {
            return Err(unsupported(
                "holds pickled Python objects, which run code when they are loaded",
                "save plain numbers",
            ));
        }
        _ => return Err(unsupported("holds elements of an unsupported type", CONVERT_OTHER)),
    };
    if order == ">" && dtype.size_bytes() > 1 {
        return Err(unsupported("is big-endian", CONVERT_BYTES));
    }
    Ok(dtype)
}

/// The header of an array, for the writer. `None` for types that `NumPy` has no name for.
pub(super) fn encode_header(dtype: DType, shape: &[usize]) -> Option<Vec<u8>> {
    let descr = match dtype {
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
        _ => return None,
    };
    let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    // NumPy aligns the elements to 64 bytes and ends the header with a newline.
    let padding = (64 - (10 + text.len() + 1) % 64) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    Some(header)
}

enum Descr {
    Plain(String),
    Structured,
}

struct Fields {
    descr: Descr,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads the one dictionary that a header is: strings, `True`, `False` and tuples of integers, nothing else.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn fields(mut self) -> Result<Fields, String> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let key = self.string()?;
            self.expect(':')?;
            let fresh = match key.as_str() {
                "descr" => descr.replace(self.descr()?).is_none(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.shape()?).is_none(),
                _ => return Err(format!("unknown key {key:?}")),
            };
            if !fresh {
                return Err(format!("{key:?} is given twice"));
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.rest.trim_matches([' ', '\n', '\0']).is_empty() {
            return Err("something follows the dictionary".into());
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Fields { descr, fortran_order, shape }),
            (None, ..) => Err("'descr' is missing".into()),
            (_, None, _) => Err("'fortran_order' is missing".into()),
            (.., None) => Err("'shape' is missing".into()),
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(format!("{wanted:?} is missing")) }
    }

    fn string(&mut self) -> Result<String, String> {
        let quote =
            ['\'', '"'].into_iter().find(|&quote| self.take(quote)).ok_or("a quoted name is missing")?;
        let (text, rest) = self.rest.split_once(quote).ok_or("a quoted name does not end")?;
        self.rest = rest;
        Ok(text.to_owned())
    }

    fn descr(&mut self) -> Result<Descr, String> {
        self.rest = self.rest.trim_start();
        if !self.rest.starts_with('[') {
            return self.string().map(Descr::Plain);
        }
        // Refused later with a better reason; skipped here so that the rest is still checked.
        let mut depth = 0_usize;
        for (at, symbol) in self.rest.char_indices() {
            match symbol {
                '[' | '(' => depth += 1,
                ']' | ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                self.rest = &self.rest[at + symbol.len_utf8()..];
                return Ok(Descr::Structured);
            }
        }
        Err("'descr' does not end".into())
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err("'fortran_order' is neither True nor False".into())
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        let mut shape = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            self.rest = self.rest.trim_start();
            let end = self.rest.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            if digits.is_empty() {
                return Err("'shape' holds something that is no extent".into());
            }
            // Python 2 wrote long integers as 3L.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            shape.push(
                digits.parse().map_err(|_| format!("an extent of {digits} is more than can be counted"))?,
            );
            if shape.len() > MAX_DIMENSIONS {
                return Err(format!("'shape' has more than {MAX_DIMENSIONS} dimensions"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, elements: usize) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&[1, 0]);
        file.extend_from_slice(&(header.len() as u16).to_le_bytes());
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + elements, 7);
        file
    }

    fn reason(header: &str, elements: usize) -> String {
        tensor("x", &file(header, elements)).unwrap_err().of("x.npy".as_ref()).to_string()
    }

    #[test]
    fn headers_as_numpy_writes_them_are_read() {
        for (header, dtype, shape, bytes) in [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", DType::F32, vec![2, 3], 24),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", DType::F64, vec![], 8),
            ("{'descr': '|b1', 'fortran_order': True, 'shape': (5,), }\n", DType::Bool, vec![5], 5),
            ("{\"shape\": (0L, 9L), 'fortran_order': False,'descr':'<i2'}", DType::I16, vec![0, 9], 0),
        ] {
            let read = tensor("x", &file(header, bytes)).unwrap();
            assert_eq!((read.dtype, read.shape), (dtype, shape), "{header}");
        }
    }

    #[test]
    fn arrays_that_no_memory_can_hold_are_refused_with_the_way_to_convert_them() {
        for (descr, word) in [
            ("'>f4'", "newbyteorder"),
            ("'<c8'", "z.real"),
            ("'|O'", "pickled"),
            ("'|V2'", "bfloat16"),
            ("'<U7'", "unsupported"),
            ("[('a', '<f4'), ('b', '<i4')]", "each field"),
        ] {
            let message =
                reason(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n"), 4);
            assert!(message.contains(word) && message.contains("x.npy"), "{message}");
        }
        let fortran = reason("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }\n", 4);
        assert!(fortran.contains("ascontiguousarray"), "{fortran}");
    }

    #[test]
    fn a_header_that_lies_is_found_before_anything_is_allocated() {
        for (shape, word) in [
            ("(1152921504606846976,)", "claims"),
            ("(1152921504606846976, 1152921504606846976)", "any machine"),
            ("(99999999999999999999999,)", "counted"),
            ("(-1,)", "no extent"),
            ("(3,)", "12 bytes"),
            ("(1, 1", "no extent"),
        ] {
            let message =
                reason(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"), 4);
            assert!(message.contains(word), "{shape}: {message}");
        }
        for header in ["", "{", "{}", "{'descr': '<f4'", "{'descr': '<f4', 'descr': '<f4'}", "{'x': 1}", "[]"]
        {
            assert!(reason(header, 4).contains("header"), "{header}");
        }
        for cut in 0..10 {
            assert!(tensor("x", &file("{}", 0)[..cut]).is_err());
        }
        let mut long = MAGIC.to_vec();
        long.extend_from_slice(&[2, 0, 255, 255, 255, 255]);
        assert!(tensor("x", &long).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(shape in proptest::collection::vec(0..5_usize, 0..5), code in 0..13_u8) {
            let dtype = DType::from_code(code).unwrap();
            let Some(mut bytes) = encode_header(dtype, &shape) else {
                prop_assert_eq!(dtype, DType::BF16);
                return Ok(());
            };
            prop_assert_eq!(bytes.len() % 64, 0);
            bytes.resize(bytes.len() + byte_count(dtype, &shape).unwrap(), 1);
            let read = tensor("x", &bytes).unwrap();
            prop_assert_eq!((read.dtype, read.shape), (dtype, shape));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(flips in proptest::collection::vec((0..200_usize, any::<u8>()), 1..8), cut in 0..200_usize) {
            let mut bytes = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", 24);
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(cut);
            drop(tensor("x", &bytes));
        }
    }
}
