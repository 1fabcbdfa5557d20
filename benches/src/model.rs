//! A model in memory, and passes of the codec over it. Reads and writes safetensors files; knows nothing of stores.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use omnimind_cli::tensor_file::{TensorFile, TensorFileWriter, TensorSpec, WriteMode};
use softhair_compress::{Codec, DType, Policy, TensorView};

use crate::Tally;

/// One tensor, as read.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Little-endian elements.
    pub bytes: Vec<u8>,
}

/// All tensors of a file.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// In the order of the file.
    pub tensors: Vec<Tensor>,
}

impl Model {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let read = |(index, tensor): (usize, &omnimind_cli::tensor_file::Tensor)| Tensor {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            bytes: file.bytes(index).to_vec(),
        };
        Ok(Self { tensors: file.tensors().iter().enumerate().map(read).collect() })
    }

    /// One pass of the codec over every tensor.
    ///
    /// # Errors
    /// If the codec fails or breaks its bound.
    pub fn pass(&self, policy: Policy) -> Result<Tally> {
        let (codec, mut tally) = (Codec::new(), Tally::default());
        for tensor in &self.tensors {
            tally.pass(&codec, tensor.view()?, policy).with_context(|| format!("tensor {}", tensor.name))?;
        }
        Ok(tally.finish())
    }

    /// Writes the model as it is after a pass of the codec, as a safetensors file.
    ///
    /// # Errors
    /// If the codec fails or the file cannot be written.
    pub fn write_restored(&self, policy: Policy, out: &Path) -> Result<Tally> {
        let (codec, mut tally) = (Codec::new(), Tally::default());
        let specs = self.tensors.iter().map(|tensor| {
            let (name, dtype, shape) = (tensor.name.clone(), tensor.dtype, tensor.shape.clone());
            TensorSpec { name, dtype, shape }
        });
        // transformers looks for this entry and refuses files without it.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let mut file =
            TensorFileWriter::create(out, WriteMode::Replace, &specs.collect::<Vec<_>>(), &metadata)?;
        for tensor in &self.tensors {
            let restored = tally.pass(&codec, tensor.view()?, policy)?;
            let mut place = file.tensor(&tensor.name)?;
            place.write_all(&restored)?;
            place.finish()?;
        }
        file.finish()?;
        Ok(tally.finish())
    }
}

impl Tensor {
    pub(crate) fn view(&self) -> Result<TensorView<'_>> {
        Ok(TensorView::new(self.dtype, &self.shape, &self.bytes)?)
    }
}
