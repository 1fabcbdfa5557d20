//! `reactivate`: a memory becomes a file again, tensor by tensor, whole or not at all.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use omnimind_memory::{Consolidator, DType, Error, Memory, ProcessContext};
use serde::Serialize;

use crate::args::Reactivate;
use crate::failure::Failure;
use crate::output::{Bytes, Small, count};
use crate::record::MemoryRecord;
use crate::session::{Session, resolve};
use crate::tensor_file::{TensorFileError, TensorFileWriter, TensorSpec, WriteMode};

#[derive(Debug, Serialize)]
struct Answer<'a> {
    file: String,
    file_bytes: u64,
    /// Set if the context was not in the activation trace.
    warning: Option<String>,
    memory: &'a MemoryRecord,
}

pub(super) fn run(session: &Session, args: &Reactivate) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let hash = resolve(&consolidator, &args.memory.hash)?;
    let memory = consolidator.store().manifest(&hash).map_err(Error::Store)?;
    let mode = if args.force { WriteMode::Replace } else { WriteMode::CreateNew };
    let (file_bytes, warning) = write_memory(&consolidator, &memory, &args.context, &args.output, mode)?;
    if let Some(warning) = &warning {
        session.output.note(warning);
    }
    let record = MemoryRecord::from(memory);
    let answer =
        Answer { file: args.output.to_string_lossy().into_owned(), file_bytes, warning, memory: &record };
    session.output.result(&answer, |out| {
        writeln!(
            out,
            "{:?}: {}, {}; relative L2 error {}, absolute {} (bound {})",
            args.output,
            count(record.tensors.len() as u64, "tensor"),
            Bytes(file_bytes),
            Small(record.rel_l2_error),
            Small(record.max_abs_error),
            record.bound
        )
    })
}

/// Writes a memory to a file, and says how long that is, and whether the context was outside the trace.
pub(crate) fn write_memory(
    consolidator: &Consolidator,
    memory: &Memory,
    context: &ProcessContext,
    path: &Path,
    mode: WriteMode,
) -> Result<(u64, Option<String>), Failure> {
    let hash = &memory.summary.content_hash;
    if memory.summary.sealed {
        // The facade refuses, and says why.
        consolidator.reactivate_each(hash, context, |_| Ok(()))?;
    }
    let mut writer = TensorFileWriter::create(path, mode, &specs(memory)?, &file_metadata(memory))?;
    let mut refused = None;
    let answer = consolidator.reactivate_each(hash, context, |tensor| {
        let mut place = match writer.tensor(tensor.name()) {
            Ok(place) => place,
            Err(error) => return Err(stop(tensor.name(), refused.insert(error))),
        };
        let name = tensor.name().to_owned();
        let written = tensor.write_to(&mut place);
        if written.is_err() && !place.has_failed() {
            return written;
        }
        place.finish().map_err(|error| stop(&name, refused.insert(error)))
    });
    let warning = match (answer, refused) {
        (_, Some(error)) => return Err(error.into()),
        (Err(error), None) => return Err(error.into()),
        (Ok((_, warning)), None) => warning.map(|warning| warning.message),
    };
    Ok((writer.finish()?, warning))
}

/// Ends the reading; what is said to the user is the failure of the file itself.
fn stop(tensor: &str, error: &TensorFileError) -> Error {
    Error::Io { tensor: tensor.to_owned(), source: io::Error::other(error.to_string()) }
}

fn specs(memory: &Memory) -> Result<Vec<TensorSpec>, Failure> {
    let spec = |tensor: &omnimind_memory::Tensor| {
        let shape = tensor.shape.iter().map(|&extent| usize::try_from(extent).ok()).collect::<Option<_>>()?;
        Some(TensorSpec { name: tensor.name.clone(), dtype: DType::from_name(&tensor.dtype)?, shape })
    };
    memory
        .tensors
        .iter()
        .map(|tensor| {
            spec(tensor).ok_or_else(|| {
                Failure::Damaged(format!(
                    "tensor {:?} is of type {:?} and shape {:?}, which this version cannot write; update it, or run \
                     `omnimind verify`",
                    tensor.name, tensor.dtype, tensor.shape
                ))
            })
        })
        .collect()
}

/// What the file that the memory was made from said about itself.
fn file_metadata(memory: &Memory) -> BTreeMap<String, String> {
    let entries =
        memory.metadata.get("file_metadata").and_then(|entries| entries.as_object()).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
