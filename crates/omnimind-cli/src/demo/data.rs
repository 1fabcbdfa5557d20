//! What the demo works with: real weights and real sentence embeddings from the repository, and versions of those
//! weights as fine-tuning makes them. Everything is the same in every run.

use std::path::{Path, PathBuf};

use omnimind_memory::DType;

use crate::failure::Failure;
use crate::tensor_file::{TensorFile, read_vectors};

const WEIGHTS: &str = "minilm-slice.safetensors";
const EMBEDDINGS: &str = "sentence-embeddings.npy";
/// How far fine-tuning moves a weight, relative to its size.
const FINE_TUNING: f32 = 0.03;

/// A tensor in host memory.
#[derive(Debug, Clone)]
pub(super) struct HostTensor {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Data {
    pub(super) weights: Vec<HostTensor>,
    pub(super) embeddings: HostTensor,
    /// The same, as vectors.
    pub(super) sentences: Vec<Vec<f32>>,
}

impl Data {
    pub(super) fn load(directory: Option<&Path>) -> Result<Self, Failure> {
        let directory = find(directory)?;
        let file = TensorFile::open(&directory.join(WEIGHTS))?;
        let path = directory.join(EMBEDDINGS);
        let mut embeddings = tensors(&TensorFile::open(&path)?);
        let embeddings =
            embeddings.pop().ok_or_else(|| Failure::NotFound(format!("{path:?} holds no array")))?;
        Ok(Self { weights: tensors(&file), embeddings, sentences: read_vectors(&path)? })
    }

    /// The weights as some fine-tuning left them: attention matrices moved a little, the vocabulary as it was.
    pub(super) fn fine_tuned(&self, seed: u64) -> Vec<HostTensor> {
        let mut noise = Noise(seed);
        let mut weights = self.weights.clone();
        for tensor in &mut weights {
            if tensor.dtype == DType::F32 && tensor.shape.len() == 2 && tensor.name.contains("attention") {
                for element in tensor.bytes.as_chunks_mut::<4>().0 {
                    let moved = f32::from_le_bytes(*element) * (1.0 + FINE_TUNING * noise.next());
                    *element = moved.to_le_bytes();
                }
            }
        }
        weights
    }

    /// Two different sentences that mean nearly the same: the first is what a memory is stored under, the second is
    /// what happens later.
    pub(super) fn kindred_sentences(&self) -> (usize, usize) {
        const STORED: usize = 200;
        let mut best = (0.0, 0, 0);
        for (one, stored) in self.sentences.iter().enumerate().take(STORED) {
            for (other, later) in self.sentences.iter().enumerate().skip(STORED) {
                let similarity: f32 = stored.iter().zip(later).map(|(a, b)| a * b).sum();
                // Closer than this they are the same sentence.
                if similarity > best.0 && similarity < 0.97 {
                    best = (similarity, one, other);
                }
            }
        }
        (best.1, best.2)
    }

    /// The other sentence that is nearest to one.
    #[cfg(all(unix, feature = "homomorphic"))]
    pub(super) fn nearest_to(&self, row: usize) -> usize {
        let Some(wanted) = self.sentences.get(row) else { return row };
        let similarity = |other: &[f32]| wanted.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let others = self.sentences.iter().enumerate().filter(|(other, _)| *other != row);
        let nearest = others.max_by(|(_, a), (_, b)| similarity(a).total_cmp(&similarity(b)));
        nearest.map_or(row, |(other, _)| other)
    }
}

fn tensors(file: &TensorFile) -> Vec<HostTensor> {
    let tensors = file.tensors().iter().enumerate();
    tensors
        .map(|(at, tensor)| HostTensor {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            bytes: file.bytes(at).to_vec(),
        })
        .collect()
}

/// Where the data are: where the user says, else in the repository that this was built from.
fn find(directory: Option<&Path>) -> Result<PathBuf, Failure> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let candidates =
        directory.map_or_else(|| vec![repository, PathBuf::from("tests/data")], |dir| vec![dir.to_owned()]);
    let complete = |dir: &&PathBuf| dir.join(WEIGHTS).is_file() && dir.join(EMBEDDINGS).is_file();
    if let Some(found) = candidates.iter().find(complete) {
        return Ok(found.clone());
    }
    Err(Failure::NotFound(format!(
        "{WEIGHTS} and {EMBEDDINGS} are not in {:?}; run the demo from a checkout of the repository, or say where they \
         are with --data DIR",
        candidates.last().cloned().unwrap_or_default()
    )))
}

/// Uniform numbers from -1 to 1 (splitmix64): the same in every run and on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
