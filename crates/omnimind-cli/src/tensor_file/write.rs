//! Writes `.safetensors` and `.npy` files, tensor by tensor as they arrive. A file appears whole under its name, or
//! not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use omnimind_memory::DType;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::{Format, TensorFileError, byte_count, npy};

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, unique within the file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension, outermost first.
    pub shape: Vec<usize>,
}

/// What to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Leave it alone and fail.
    CreateNew,
    /// Replace it, once the new one is whole.
    Replace,
}

/// A file in the making: a temporary beside its final place until [`TensorFileWriter::finish`].
#[derive(Debug)]
pub struct TensorFileWriter {
    path: PathBuf,
    mode: WriteMode,
    file: NamedTempFile,
    places: HashMap<String, (u64, u64)>,
    bytes: u64,
}

impl TensorFileWriter {
    /// Begins a file for exactly these tensors; the ending of `path` says in which format.
    ///
    /// # Errors
    /// If the file exists and may not be replaced, the format cannot hold the tensors, or the directory cannot be
    /// written to. Nothing is left behind.
    pub fn create(
        path: &Path,
        mode: WriteMode,
        tensors: &[TensorSpec],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, TensorFileError> {
        if mode == WriteMode::CreateNew && path.symlink_metadata().is_ok() {
            return Err(TensorFileError::Exists { path: path.to_owned() });
        }
        if path.is_dir() {
            return Err(TensorFileError::Directory { path: path.to_owned() });
        }
        let (header, places) = match (Format::of_extension(path), tensors) {
            (Some(Format::Safetensors), _) => safetensors_layout(tensors, metadata),
            (Some(Format::Npy), [tensor]) => npy_layout(tensor),
            (Some(Format::Npy), _) => {
                Err(("a .npy file holds one tensor, but this memory has more", tensors.len()))
            }
            (Some(Format::Npz) | None, _) => {
                Err(("only .safetensors and .npy files can be written", tensors.len()))
            }
        }
        .map_err(|(reason, count)| TensorFileError::Unsupported {
            path: path.to_owned(),
            reason: format!("{reason} ({count} tensors)"),
            next: "give a name that ends in .safetensors".to_owned(),
        })?;
        let bytes = places.values().map(|(begin, length)| begin + length).max().unwrap_or_default();
        let write = |source| TensorFileError::Write { path: path.to_owned(), source };
        let mut file = temporary_beside(path).map_err(write)?;
        file.write_all(&header).map_err(write)?;
        Ok(Self { path: path.to_owned(), mode, file, places, bytes: bytes.max(header.len() as u64) })
    }

    /// The place of one tensor, to write its elements to.
    ///
    /// # Errors
    /// If the tensor was not announced or was written before, or the system refuses.
    pub fn tensor(&mut self, name: &str) -> Result<TensorPlace<'_>, TensorFileError> {
        let write = |source| TensorFileError::Write { path: self.path.clone(), source };
        let (begin, length) = self
            .places
            .remove(name)
            .ok_or_else(|| write(io::Error::other(format!("tensor {name:?} was not expected"))))?;
        self.file.seek(SeekFrom::Start(begin)).map_err(write)?;
        Ok(TensorPlace {
            path: &self.path,
            file: self.file.as_file_mut(),
            name: name.to_owned(),
            left: length,
            failed: None,
        })
    }

    /// Makes the file durable and visible, and says how many bytes it has.
    ///
    /// # Errors
    /// If a tensor is missing, the file came into being meanwhile and may not be replaced, or the system refuses.
    pub fn finish(self) -> Result<u64, TensorFileError> {
        let Self { path, mode, file, places, bytes } = self;
        let write = |source| TensorFileError::Write { path: path.clone(), source };
        if let Some(name) = places.keys().next() {
            return Err(write(io::Error::other(format!("tensor {name:?} did not arrive"))));
        }
        file.as_file().sync_all().map_err(write)?;
        let placed = match mode {
            WriteMode::CreateNew => file.persist_noclobber(&path),
            WriteMode::Replace => file.persist(&path),
        };
        placed.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => TensorFileError::Exists { path: path.clone() },
            _ => write(error.error),
        })?;
        File::open(directory_of(&path)).and_then(|directory| directory.sync_all()).map_err(write)?;
        Ok(bytes)
    }
}

/// Where the elements of one tensor go; exactly as many bytes as were announced.
#[derive(Debug)]
pub struct TensorPlace<'a> {
    path: &'a Path,
    file: &'a mut File,
    name: String,
    left: u64,
    failed: Option<io::Error>,
}

impl TensorPlace<'_> {
    /// Says whether all went well. Who writes through other layers learns here what went wrong at the bottom.
    ///
    /// # Errors
    /// The first failure of a write, or too few bytes.
    pub fn finish(self) -> Result<(), TensorFileError> {
        let short = || {
            (self.left > 0)
                .then(|| io::Error::other(format!("tensor {:?} lacks {} bytes", self.name, self.left)))
        };
        match self.failed.or_else(short) {
            None => Ok(()),
            Some(source) => Err(TensorFileError::Write { path: self.path.to_owned(), source }),
        }
    }

    /// Whether a write failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }
}

impl Write for TensorPlace<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if bytes.len() as u64 > self.left {
            Err(io::Error::other(format!("tensor {:?} has more bytes than announced", self.name)))
        } else {
            self.file.write(bytes)
        };
        match written {
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed.get_or_insert(error);
                Err(told)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".omnimind-").suffix(".partial");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any other new file: the umask takes away what it should.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory_of(path))
}

/// The bytes before the elements, and where each tensor begins and how long it is.
type Layout = (Vec<u8>, HashMap<String, (u64, u64)>);
type Refusal = (&'static str, usize);

fn npy_layout(tensor: &TensorSpec) -> Result<Layout, Refusal> {
    let header = npy::encode_header(tensor.dtype, &tensor.shape).ok_or(("NumPy has no bfloat16", 1))?;
    let length = byte_count(tensor.dtype, &tensor.shape).ok_or(("the tensor is too large", 1))?;
    let place = (header.len() as u64, length as u64);
    Ok((header, HashMap::from([(tensor.name.clone(), place)])))
}

fn safetensors_layout(
    tensors: &[TensorSpec],
    metadata: &BTreeMap<String, String>,
) -> Result<Layout, Refusal> {
    // Wide elements first, so that everything is aligned to its element; then by name, so that equal contents give
    // equal files.
    let mut order: Vec<&TensorSpec> = tensors.iter().collect();
    order.sort_by_key(|tensor| (std::cmp::Reverse(tensor.dtype.size_bytes()), &tensor.name));
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut ends = Vec::with_capacity(order.len());
    let mut end = 0_usize;
    for tensor in &order {
        let begin = end;
        end = byte_count(tensor.dtype, &tensor.shape)
            .and_then(|length| begin.checked_add(length))
            .ok_or(("the tensors are too large", tensors.len()))?;
        ends.push((begin as u64, (end - begin) as u64));
        let entry =
            json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [begin, end]});
        if header.insert(tensor.name.clone(), entry).is_some() {
            return Err(("two tensors have the same name", tensors.len()));
        }
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    let data = bytes.len() as u64;
    let places =
        order.iter().zip(ends).map(|(tensor, (begin, length))| (tensor.name.clone(), (data + begin, length)));
    let places = places.collect();
    Ok((bytes, places))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::TensorFile;
    use super::*;

    fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
    }

    fn names_in(dir: &Path) -> Vec<String> {
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_written_in_any_order_is_read_back_and_by_the_crate_of_the_format(
            tensors in proptest::collection::btree_map("[a-z.\"é]{1,6}", (0..13_u8, proptest::collection::vec(0..4_usize, 0..4)), 0..6),
        ) {
            let specs: Vec<_> = tensors
                .iter()
                .map(|(name, (code, shape))| spec(name, DType::from_code(*code).unwrap(), shape))
                .collect();
            let bytes = |spec: &TensorSpec| vec![spec.name.len() as u8; byte_count(spec.dtype, &spec.shape).unwrap()];
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("m.safetensors");
            let metadata = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
            let mut writer = TensorFileWriter::create(&path, WriteMode::CreateNew, &specs, &metadata).unwrap();
            for spec in specs.iter().rev() {
                let mut place = writer.tensor(&spec.name).unwrap();
                place.write_all(&bytes(spec)).unwrap();
                place.finish().unwrap();
            }
            let length = writer.finish().unwrap();
            prop_assert_eq!(length, path.metadata().unwrap().len());

            let ours = TensorFile::open(&path).unwrap();
            prop_assert_eq!(ours.metadata(), &metadata);
            let whole = std::fs::read(&path).unwrap();
            let theirs = safetensors::SafeTensors::deserialize(&whole).unwrap();
            prop_assert_eq!(ours.tensors().len(), specs.len());
            for (index, tensor) in ours.tensors().iter().enumerate() {
                let spec = specs.iter().find(|spec| spec.name == tensor.name).unwrap();
                prop_assert_eq!((tensor.dtype, &tensor.shape), (spec.dtype, &spec.shape));
                prop_assert_eq!(ours.bytes(index), bytes(spec));
                prop_assert_eq!(theirs.tensor(&tensor.name).unwrap().data(), bytes(spec));
            }
            prop_assert_eq!(names_in(dir.path()), ["m.safetensors"]);
        }
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_when_asked_and_only_by_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        std::fs::write(&path, "precious").unwrap();
        let specs = [spec("x", DType::F32, &[2])];
        let create = |mode| TensorFileWriter::create(&path, mode, &specs, &BTreeMap::new());
        assert!(matches!(create(WriteMode::CreateNew), Err(TensorFileError::Exists { .. })));
        for wrong in [7, 9] {
            let mut writer = create(WriteMode::Replace).unwrap();
            let mut place = writer.tensor("x").unwrap();
            assert_eq!(place.write_all(&vec![0; wrong]).is_err(), wrong == 9);
            assert!(place.finish().is_err());
            assert!(writer.tensor("x").is_err());
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let writer = create(WriteMode::Replace).unwrap();
        assert!(writer.finish().unwrap_err().to_string().contains("did not arrive"));
        assert_eq!(names_in(dir.path()), ["x.npy"]);
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let two = [spec("x", DType::F32, &[2]), spec("y", DType::F32, &[2])];
        let brain = [spec("x", DType::BF16, &[2])];
        let same = [spec("x", DType::F32, &[2]), spec("x", DType::F32, &[2])];
        let cases: [(&str, &[TensorSpec]); 5] =
            [("a.npy", &two), ("a.npy", &brain), ("a.safetensors", &same), ("a.npz", &two), ("a.pt", &two)];
        for (name, specs) in cases {
            let refused =
                TensorFileWriter::create(&dir.path().join(name), WriteMode::Replace, specs, &BTreeMap::new());
            assert!(matches!(refused, Err(TensorFileError::Unsupported { .. })), "{name}");
        }
        assert!(names_in(dir.path()).is_empty());
    }
}
