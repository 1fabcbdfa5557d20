//! The data sets that `index/dataset.py` writes: normalised vectors, one after the other, and how many.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A folder with a data set.
#[derive(Debug)]
pub struct DataSet {
    folder: PathBuf,
    meta: Meta,
}

#[derive(Debug, Deserialize)]
struct Meta {
    rows: usize,
    queries: usize,
    dimension: usize,
}

/// Vectors of one dimension, in memory.
#[derive(Debug, Clone, Default)]
pub struct Vectors {
    dimension: usize,
    elements: Vec<f32>,
}

impl DataSet {
    /// Finds out what is in a folder.
    ///
    /// # Errors
    /// If there is no data set.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("meta.json");
        let meta = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let meta: Meta = serde_json::from_slice(&meta).with_context(|| format!("in {}", path.display()))?;
        ensure!(meta.dimension > 0, "{} says that vectors are empty", path.display());
        Ok(Self { folder: folder.to_path_buf(), meta })
    }

    /// Some of the vectors that are searched.
    ///
    /// # Errors
    /// If there are fewer, or they cannot be read.
    pub fn database(&self, rows: Range<usize>) -> Result<Vectors> {
        ensure!(rows.end <= self.meta.rows, "{} vectors, {} were wanted", self.meta.rows, rows.end);
        self.read("database.f32", rows)
    }

    /// The vectors that are searched for.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn queries(&self) -> Result<Vectors> {
        self.read("queries.f32", 0..self.meta.queries)
    }

    fn read(&self, name: &str, rows: Range<usize>) -> Result<Vectors> {
        let (path, dimension) = (self.folder.join(name), self.meta.dimension);
        let mut bytes = vec![0; rows.len() * dimension * size_of::<f32>()];
        let mut read = || -> std::io::Result<()> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start((rows.start * dimension * size_of::<f32>()) as u64))?;
            file.read_exact(&mut bytes)
        };
        read().with_context(|| format!("reading {}", path.display()))?;
        let elements = bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
        Ok(Vectors { dimension, elements })
    }
}

impl Vectors {
    /// One after the other.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        // A chunk of no elements is refused; where there are no vectors, there is no dimension.
        self.elements.chunks_exact(self.dimension.max(1))
    }

    /// The first `count`, or all if there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let elements = self.elements.iter().take(count * self.dimension).copied().collect();
        Self { dimension: self.dimension, elements }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }
}
