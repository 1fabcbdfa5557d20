//! `keyholder disclose`: a sealed memory becomes a file again. Put down in the audit log before it is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use encrypted_unconscious::keyholder::{AuditLog, Caller, Deed};
use omnimind_memory::{ContentHash, Error};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::{Key, Named};
use crate::failure::Failure;
use crate::output::{Align, Bytes, Table, count};
use crate::session::{Session, resolve};
use crate::tensor_file::{TensorFileError, TensorFileWriter, TensorSpec, WriteMode};

#[derive(Debug, Serialize)]
struct Answer<'a> {
    content_hash: ContentHash,
    file: String,
    file_bytes: u64,
    tensors: usize,
    #[serde(rename = "type")]
    kind: &'a str,
    /// Everything that was sealed with the tensors.
    metadata: &'a Map<String, Value>,
    signature: &'a Option<Vec<f32>>,
}

pub(super) fn run(
    session: &Session,
    memory: &Named,
    key: &Key,
    output: &Path,
    force: bool,
) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let hash = resolve(&consolidator, &memory.hash)?;
    if !consolidator.store().manifest(&hash).map_err(Error::Store)?.summary.sealed {
        return Err(Error::NotSealed(hash).into());
    }
    // Nothing is opened, and nothing put down, for a file that cannot be.
    if !force && output.symlink_metadata().is_ok() {
        return Err(TensorFileError::Exists { path: output.to_owned() }.into());
    }
    let ring = key.load(session)?;
    AuditLog::append_deed(
        key.state(session),
        Caller::this_process(),
        Deed::Disclosed { memory: *hash.as_bytes() },
    )
    .map_err(Failure::from_custody)?;
    let disclosure = {
        let _progress = session.working("opening");
        consolidator.disclose(&hash, &ring).map_err(|error| not_opened(&hash, error))?
    };
    let specs: Vec<_> = disclosure
        .tensors
        .iter()
        .map(|(name, header)| TensorSpec {
            name: name.clone(),
            dtype: header.dtype,
            shape: header.shape.clone(),
        })
        .collect();
    let mode = if force { WriteMode::Replace } else { WriteMode::CreateNew };
    let mut writer = TensorFileWriter::create(output, mode, &specs, &file_metadata(&disclosure.metadata))?;
    let mut refused = None;
    let disclosed = consolidator.disclose_each(&hash, &ring, |tensor| {
        let name = tensor.name().to_owned();
        let mut stop = |error: TensorFileError| {
            let source = io::Error::other(error.to_string());
            refused = Some(error);
            Error::Io { tensor: name.clone(), source }
        };
        let mut place = writer.tensor(&name).map_err(&mut stop)?;
        let written = tensor.write_to(&mut place);
        if written.is_err() && !place.has_failed() {
            return written;
        }
        place.finish().map_err(stop)
    });
    if let Some(error) = refused {
        return Err(error.into());
    }
    disclosed.map_err(|error| not_opened(&hash, error))?;
    let answer = Answer {
        content_hash: hash,
        file: output.to_string_lossy().into_owned(),
        file_bytes: writer.finish()?,
        tensors: specs.len(),
        kind: &disclosure.kind,
        metadata: &disclosure.metadata,
        signature: &disclosure.signature,
    };
    session.output.result(&answer, |out| {
        writeln!(
            out,
            "{output:?}: {}, {}",
            count(answer.tensors as u64, "tensor"),
            Bytes(answer.file_bytes)
        )?;
        let mut table = Table::new([("", Align::Left), ("", Align::Left)]).indented(2);
        table.row(["type".to_owned(), answer.kind.to_owned()]);
        for (key, value) in answer.metadata {
            table.row([
                key.clone(),
                value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}")),
            ]);
        }
        table.write(out)
    })
}

/// What is wrong with a seal, said of opening it.
fn not_opened(hash: &ContentHash, error: Error) -> Failure {
    match error {
        Error::Seal { source, .. } if source.is_damage() => {
            Failure::Damaged(format!("memory {hash} is damaged: {source}"))
        }
        Error::Seal { source, .. } => Failure::Keyholder(format!("memory {hash} cannot be opened: {source}")),
        error => error.into(),
    }
}

/// What the file that the memory was made from said about itself.
fn file_metadata(metadata: &Map<String, Value>) -> BTreeMap<String, String> {
    let entries = metadata.get("file_metadata").and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
