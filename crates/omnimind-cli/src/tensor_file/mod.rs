//! Files of tensors: `.safetensors`, `.npy` and `.npz`, read with nothing taken on trust, and written whole or not
//! at all. Knows nothing of memories, stores or bounds.
//!
//! Every length that a file claims is compared with the bytes that are there before anything is allocated. Files are
//! mapped, not loaded, so a model larger than the host's memory can be read.
//!
//! ```
//! use omnimind_cli::tensor_file::TensorFile;
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("ramp.npy");
//! let mut file = b"\x93NUMPY\x01\x00\x3e\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }    \n".to_vec();
//! file.extend_from_slice(&[0; 8]);
//! std::fs::write(&path, file)?;
//!
//! let file = TensorFile::open(&path)?;
//! assert_eq!(file.tensors()[0].shape, [2]);
//! assert_eq!(file.bytes(0).len(), 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod map;
mod npy;
mod npz;
mod safetensors;
mod vector;
mod write;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use omnimind_memory::DType;

pub use error::TensorFileError;
pub use vector::read_vectors;
pub use write::{TensorFileWriter, TensorPlace, TensorSpec, WriteMode};

use error::Fault;
use map::Bytes;

/// How the tensors lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON header and one buffer.
    Safetensors,
    /// One `NumPy` array.
    Npy,
    /// A zip archive of `NumPy` arrays.
    Npz,
}

impl Format {
    /// The name, as in messages and in the metadata of a memory.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Npz => "npz",
        }
    }

    /// Recognised by how the file begins: its name may say anything.
    fn sniff(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(npy::MAGIC) {
            return Some(Self::Npy);
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            return Some(Self::Npz);
        }
        (bytes.get(8) == Some(&b'{')).then_some(Self::Safetensors)
    }

    fn of_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        [Self::Safetensors, Self::Npy, Self::Npz].into_iter().find(|format| format.name() == extension)
    }
}

/// One tensor of a [`TensorFile`].
#[derive(Debug)]
pub struct Tensor {
    /// Its name; for a `.npy` file the name of the file without the extension.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension, outermost first.
    pub shape: Vec<usize>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In the mapped file.
    File(Range<usize>),
    /// Unpacked from an archive.
    Unpacked { bytes: Bytes, range: Range<usize> },
}

/// A file whose tensors were all found and checked; their elements are read from the map when they are asked for.
#[derive(Debug)]
pub struct TensorFile {
    format: Format,
    bytes: Bytes,
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Opens and checks a file.
    ///
    /// # Errors
    /// With the file, the reason and the next step, if it is no regular file, of no known format, damaged, or holds
    /// something that no memory can hold.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let io = |source| TensorFileError::Io { path: path.to_owned(), source };
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let about = fs::metadata(path).map_err(io)?;
        if about.is_dir() {
            return Err(TensorFileError::Directory { path: path.to_owned() });
        }
        if !about.is_file() {
            return Err(TensorFileError::NotAFile { path: path.to_owned() });
        }
        if about.len() == 0 {
            return Err(TensorFileError::Empty { path: path.to_owned() });
        }
        let bytes = Bytes::map(&File::open(path).map_err(io)?).map_err(io)?;
        let name = path.file_stem().map_or_else(|| "tensor".into(), |stem| stem.to_string_lossy());
        Self::parse(&name, Format::of_extension(path), bytes).map_err(|fault| fault.of(path))
    }

    /// Checks bytes that came from elsewhere. `name` becomes the name of the tensor of a `.npy` file, and stands in
    /// errors where the path would.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, TensorFileError> {
        Self::parse(name, None, Bytes::Owned(bytes)).map_err(|fault| fault.of(&PathBuf::from(name)))
    }

    fn parse(name: &str, expected: Option<Format>, bytes: Bytes) -> Result<Self, Fault> {
        // Where the bytes look like nothing, the reader of what the name promises says best what is wrong.
        let format = Format::sniff(&bytes).or(expected).ok_or(Fault::UnknownFormat)?;
        let (tensors, metadata) = match format {
            Format::Safetensors => safetensors::tensors(&bytes)?,
            Format::Npy => (vec![npy::tensor(name, &bytes)?], BTreeMap::new()),
            Format::Npz => (npz::tensors(&bytes)?, BTreeMap::new()),
        };
        Ok(Self { format, bytes, tensors, metadata })
    }

    /// How the tensors lie in the file.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The tensors, in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The little-endian, row-major elements of the tensor at `index`; empty if there is none.
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u8] {
        let found = self.tensors.get(index).and_then(|tensor| match &tensor.place {
            Place::File(range) => self.bytes.get(range.clone()),
            Place::Unpacked { bytes, range } => bytes.get(range.clone()),
        });
        found.unwrap_or_default()
    }

    /// What the file says about itself: the `__metadata__` of a `.safetensors` file.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// Bytes of a tensor of this type and shape, if they can be counted.
fn byte_count(dtype: DType, shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(dtype.size_bytes(), |bytes, &extent| bytes.checked_mul(extent))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use proptest::prelude::*;
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn array(shape: &[usize], fill: u8) -> Vec<u8> {
        let mut bytes = npy::encode_header(DType::F32, shape).unwrap();
        bytes.resize(bytes.len() + byte_count(DType::F32, shape).unwrap(), fill);
        bytes
    }

    fn archive(members: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn an_archive_is_read_whether_it_is_stored_or_deflated() {
        let members =
            [("a.npy", array(&[2, 3], 1)), ("dir/b.npy", array(&[3_000_000], 2)), ("c.npy", array(&[], 3))];
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let file = TensorFile::from_bytes("x", archive(&members, method)).unwrap();
            assert_eq!(file.format(), Format::Npz);
            let names: Vec<_> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
            assert_eq!(names, ["a", "dir/b", "c"]);
            assert_eq!(file.tensors()[1].shape, [3_000_000]);
            assert!(file.bytes(1).len() == 12_000_000 && file.bytes(1).iter().all(|&byte| byte == 2));
            assert_eq!(
                (file.bytes(0), file.bytes(2), file.bytes(9)),
                ([1; 24].as_slice(), [3; 4].as_slice(), [].as_slice())
            );
        }
    }

    #[test]
    fn a_member_that_is_changed_is_found_by_its_checksum() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let mut bytes = archive(&[("a.npy", array(&[64], 1))], method);
            let middle = 30 + 5 + 40;
            bytes[middle] ^= 1;
            let error = TensorFile::from_bytes("x.npz", bytes).unwrap_err().to_string();
            assert!(error.contains("x.npz") && error.contains("\"a\""), "{error}");
        }
    }

    #[test]
    fn a_member_that_claims_more_than_deflate_can_reach_is_refused() {
        let mut bytes = archive(&[("a.npy", array(&[64], 1))], CompressionMethod::Deflated);
        // The size that the central directory claims: 24 bytes behind its signature.
        let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[directory + 24..directory + 28].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        let error = TensorFile::from_bytes("x.npz", bytes).unwrap_err().to_string();
        assert!(error.contains("deflate cannot"), "{error}");
    }

    #[test]
    fn archives_of_other_things_are_refused_with_the_way_out() {
        for (name, word) in [("archive/data.pkl", "PyTorch"), ("notes.txt", "np.savez"), (".npy", "np.savez")]
        {
            let bytes = archive(&[(name, b"x".to_vec())], CompressionMethod::Stored);
            let error = TensorFile::from_bytes("x", bytes).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn what_is_no_file_of_tensors_is_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("empty.npy"), "").unwrap();
        std::fs::write(path("note.txt"), "hello, this is text").unwrap();
        std::fs::write(path("short.safetensors"), "abc").unwrap();
        let message = |name: &str| TensorFile::open(&path(name)).unwrap_err().to_string();
        assert!(message("").contains("directory"));
        assert!(message("none.npy").contains("none.npy"));
        assert!(message("empty.npy").contains("empty"));
        assert!(message("note.txt").contains("neither"));
        assert!(message("short.safetensors").contains("too short"));
        assert!(TensorFile::open(Path::new("/dev/null")).unwrap_err().to_string().contains("regular"));
    }

    #[test]
    fn vectors_are_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.npy");
        std::fs::write(&path, array(&[3, 2], 0)).unwrap();
        assert_eq!(read_vectors(&path).unwrap(), vec![vec![0.0, 0.0]; 3]);
        for shape in [vec![], vec![0, 4], vec![4, 0], vec![0], vec![1, 1, 1]] {
            std::fs::write(&path, array(&shape, 0)).unwrap();
            assert!(read_vectors(&path).is_err(), "{shape:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_an_archive_panic(
            deflate in any::<bool>(),
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let method = if deflate { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            let mut bytes = archive(&[("a.npy", array(&[3], 1)), ("b.npy", array(&[2, 2], 1))], method);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            drop(TensorFile::from_bytes("x", bytes.clone()));
            bytes.truncate(cut.index(bytes.len()));
            drop(TensorFile::from_bytes("x", bytes));
        }
    }
}
