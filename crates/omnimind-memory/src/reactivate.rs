//! Bringing a memory back (R7): into host memory, tensor by tensor as a stream, or onto the device. Who may recall is
//! asked first; damage is reported with the memory it belongs to.

use std::io::{Read, Write};

use memory_store::{ContentHash, Memory, Tensor, VerifiedReader};
use serde::Serialize;
use softhair_compress::{DType, Frame, FrameHeader, FrameReader};

use crate::{Consolidator, Error, ProcessContext, Result, lanes, witness::Event};

/// A memory in host memory.
#[derive(Debug)]
pub struct Reactivated {
    /// What the store knows of it.
    pub memory: Memory,
    /// Its tensors, in the order in which they were consolidated.
    pub tensors: Vec<OwnedTensor>,
    /// Set if the context was not in the activation trace.
    pub warning: Option<TraceWarning>,
}

/// A tensor that was brought back.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedTensor {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension.
    pub shape: Vec<usize>,
    /// Row-major, little-endian elements.
    pub bytes: Vec<u8>,
    /// Largest absolute error, measured while compressing.
    pub max_abs_error: f64,
    /// Relative L2 error, measured while compressing.
    pub rel_l2_error: f64,
}

/// A context recalled a memory in whose activation trace it was not (R7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceWarning {
    /// The context.
    pub context: ProcessContext,
    /// What happened, in words.
    pub message: String,
}

/// A tensor that is being brought back, for [`Consolidator::reactivate_each`].
pub struct TensorStream<'s> {
    pub(crate) memory: ContentHash,
    pub(crate) tensor: &'s Tensor,
    pub(crate) frame: FrameReader<VerifiedReader>,
}

impl Consolidator {
    /// Brings a memory back into host memory, within its error bound (R7), several tensors at once.
    ///
    /// A context outside the memory's activation trace may recall it, becomes part of the trace, and is warned.
    ///
    /// # Errors
    /// If there is no such memory, if it is sealed, if it is damaged, or if the store cannot be read.
    pub fn reactivate(&self, content_hash: &ContentHash, context: &ProcessContext) -> Result<Reactivated> {
        let memory = self.recallable(content_hash)?;
        let tensors = lanes::each(&memory.tensors, |tensor| {
            self.restore(tensor).map_err(|error| error.of_memory(*content_hash, &tensor.name))
        })?;
        let warning = self.trace(&memory, context);
        self.testify(Event::Reactivated, Some(content_hash), Some(memory.summary.original_bytes));
        Ok(Reactivated { memory, tensors, warning })
    }

    /// Brings a memory back tensor by tensor, with a few MiB in memory whatever its size: for each tensor, `each` is
    /// given a stream to write wherever it should go.
    ///
    /// A damaged object is noticed at its end at the latest. If this returns an error, what was written is worthless.
    ///
    /// # Errors
    /// As [`Self::reactivate`], or whatever `each` returns.
    pub fn reactivate_each(
        &self,
        content_hash: &ContentHash,
        context: &ProcessContext,
        mut each: impl FnMut(TensorStream<'_>) -> Result<()>,
    ) -> Result<(Memory, Option<TraceWarning>)> {
        let memory = self.recallable(content_hash)?;
        for tensor in &memory.tensors {
            let stream = self.stream(*content_hash, tensor);
            each(stream.map_err(|error| error.of_memory(*content_hash, &tensor.name))?)?;
        }
        let warning = self.trace(&memory, context);
        self.testify(Event::Reactivated, Some(content_hash), Some(memory.summary.original_bytes));
        Ok((memory, warning))
    }

    /// The memory, unless it is sealed.
    fn recallable(&self, content_hash: &ContentHash) -> Result<Memory> {
        let memory = self.store.manifest(content_hash)?;
        if memory.summary.sealed {
            let trauma_score = memory.summary.trauma_score;
            return Err(Error::Sealed { content_hash: *content_hash, trauma_score });
        }
        Ok(memory)
    }

    /// Whole objects at once: fastest, and nothing is decoded before the object is known to be intact.
    fn restore(&self, tensor: &Tensor) -> Result<OwnedTensor> {
        let from_codec = |error| Error::from_codec(&tensor.name, error);
        let mut object = Vec::with_capacity(usize::try_from(tensor.object.bytes).unwrap_or_default());
        let mut reader = self.store.read_object(&tensor.object)?;
        reader.read_to_end(&mut object).map_err(|error| Error::from_io(&tensor.name, error))?;
        let frame = Frame::parse(object).map_err(from_codec)?;
        check_manifest(tensor, frame.header())?;
        let bytes = frame.decompress().map_err(from_codec)?;
        let FrameHeader { dtype, ref shape, max_abs_error, rel_l2_error, .. } = *frame.header();
        Ok(OwnedTensor {
            name: tensor.name.clone(),
            dtype,
            shape: shape.clone(),
            bytes,
            max_abs_error,
            rel_l2_error,
        })
    }

    pub(crate) fn stream<'s>(&self, memory: ContentHash, tensor: &'s Tensor) -> Result<TensorStream<'s>> {
        let frame = match FrameReader::new(self.store.read_object(&tensor.object)?) {
            Ok(frame) => frame,
            Err(error) => {
                // A flipped bit can make a header look like one of a newer version: the object's own hash tells.
                self.store.read_object(&tensor.object)?.verify_rest()?;
                return Err(Error::from_codec(&tensor.name, error));
            }
        };
        check_manifest(tensor, frame.header())?;
        Ok(TensorStream { memory, tensor, frame })
    }

    /// Records that `context` recalled the memory. The memory is back already, so a trace that cannot be recorded is said
    /// in the warning instead of taking it away again.
    fn trace(&self, memory: &Memory, context: &ProcessContext) -> Option<TraceWarning> {
        let content_hash = &memory.summary.content_hash;
        if memory.traces.iter().any(|trace| trace.context == context.as_str()) {
            return None;
        }
        let recorded = match self.store.record_trace(content_hash, context.as_str()) {
            Ok(_) => "it has been added".to_owned(),
            Err(error) => format!("it could not be added ({error})"),
        };
        let message = format!(
            "{:?} was not in the activation trace of memory {content_hash}; {recorded}",
            context.as_str()
        );
        Some(TraceWarning { context: context.clone(), message })
    }
}

impl TensorStream<'_> {
    /// What the frame says of the tensor: element type, shape, bound asked for, errors measured.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        self.frame.header()
    }

    /// Name of the tensor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.tensor.name
    }

    /// Writes all elements, row-major and little-endian, and makes sure that they are those that were stored.
    ///
    /// # Errors
    /// If writing fails or the tensor is damaged; what was written is then worthless.
    pub fn write_to(self, out: &mut impl Write) -> Result<()> {
        let Self { memory, tensor, frame } = self;
        let written = frame.decompress_to(out).map_err(|error| Error::from_codec(&tensor.name, error));
        written.map(drop).map_err(|error| error.of_memory(memory, &tensor.name))
    }
}

/// A frame that is whole, but not the one that the manifest describes, is damage too.
fn check_manifest(tensor: &Tensor, header: &FrameHeader) -> Result<()> {
    let same_shape = header.shape.iter().map(|&extent| extent as u64).eq(tensor.shape.iter().copied());
    if same_shape && header.dtype.name() == tensor.dtype {
        return Ok(());
    }
    let source = softhair_compress::Error::Damaged("type or shape differ from those in the catalogue");
    Err(Error::Codec { tensor: tensor.name.clone(), source })
}
