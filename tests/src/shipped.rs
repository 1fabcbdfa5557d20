//! The shipped tensors; `data/README.md` says where they come from.

use std::{fs, io::Result, path::Path};

use crate::{StoredTensor, read_rows, read_tensors};

/// Dimensions of a sentence embedding of all-MiniLM-L6-v2.
const EMBEDDING_DIMENSIONS: usize = 384;

/// A part of all-MiniLM-L6-v2: eleven float32 tensors, 3.9 MB.
///
/// # Errors
/// If the file is not there or damaged.
pub fn minilm_slice() -> Result<Vec<StoredTensor>> {
    read_tensors(&shipped("minilm-slice.safetensors")?)
}

/// 2000 embeddings of sentences, 384 values each, of length 1.
///
/// # Errors
/// If the file is not there or damaged.
pub fn sentence_embeddings() -> Result<Vec<Vec<f32>>> {
    read_rows(&shipped("sentence-embeddings.npy")?, EMBEDDING_DIMENSIONS)
}

fn shipped(name: &str) -> Result<Vec<u8>> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name))
}
