//! A model in memory, and passes of the codec over it. Reads and writes safetensors files; knows nothing of stores.

use std::path::Path;

use anyhow::{Context, Result, bail};
use safetensors::{Dtype, SafeTensors, tensor::TensorView as FileTensor};
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
    file_dtype: Dtype,
}

/// All tensors of a file.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// In the order of their names.
    pub tensors: Vec<Tensor>,
}

impl Model {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// If it cannot be read or holds an element type that the codec does not know.
    pub fn load(path: &Path) -> Result<Self> {
        let file = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let mut tensors = Vec::new();
        for (name, tensor) in SafeTensors::deserialize(&file)?.iter() {
            let dtype = ours(tensor.dtype()).with_context(|| format!("tensor {name}"))?;
            let (shape, bytes) = (tensor.shape().to_vec(), tensor.data().to_vec());
            tensors.push(Tensor { name: name.to_owned(), dtype, shape, bytes, file_dtype: tensor.dtype() });
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { tensors })
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
        let mut restored = Vec::new();
        for tensor in &self.tensors {
            restored.push(tally.pass(&codec, tensor.view()?, policy)?);
        }
        let views = self.tensors.iter().zip(&restored).map(|(tensor, bytes)| {
            let view = FileTensor::new(tensor.file_dtype, tensor.shape.clone(), bytes)?;
            Ok((tensor.name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        // transformers looks for this entry and refuses files without it.
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        safetensors::serialize_to_file(views, Some(metadata), out)?;
        Ok(tally.finish())
    }
}

impl Tensor {
    pub(crate) fn view(&self) -> Result<TensorView<'_>> {
        Ok(TensorView::new(self.dtype, &self.shape, &self.bytes)?)
    }
}

fn ours(dtype: Dtype) -> Result<DType> {
    Ok(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        other => bail!("element type {other:?} is not measured"),
    })
}
